import { expect, test } from 'vitest';
import { createActorSystem } from '../../../../src/actors/runtime/actor-system.ts';
import type { ActorDefinition, ReplyTo } from '../../../../src/actors/runtime/types.ts';
import { silentLogger } from '../../../../src/kernel/logger.ts';

type CounterMessage =
  | { readonly type: 'Add'; readonly amount: number }
  | { readonly type: 'Read'; readonly replyTo: ReplyTo<number> };

const counter: ActorDefinition<CounterMessage> = {
  kind: 'counter',
  start(context) {
    let sum = 0;
    return {
      receive(message) {
        if (message.type === 'Add') sum += message.amount;
        else context.reply(message.replyTo, sum);
      },
    };
  },
};

test('an actor handles what it is told, in order, and answers', async () => {
  const system = createActorSystem({ node: 'a', logger: silentLogger, strictMessages: true });
  const ref = system.spawn('counter', counter);
  for (let amount = 1; amount <= 10; amount += 1) system.tell(ref, { type: 'Add', amount });
  expect(await system.ask(ref, (replyTo: ReplyTo<number>) => ({ type: 'Read', replyTo }))).toBe(55);
  await system.stop();
  expect(system.tree()).toEqual([]);
});
