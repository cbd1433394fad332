import { expect, test, vi } from 'vitest';
import { createActorSystem } from '../../../../src/actors/runtime/actor-system.ts';
import {
  actorRef,
  type ActorDefinition,
  type ActorSystem,
  type ReplyTo,
} from '../../../../src/actors/runtime/types.ts';
import { actorSource } from '../../../../src/bootstrap/metrics/sources.ts';
import { DlgforgeError } from '../../../../src/kernel/errors.ts';
import { silentLogger } from '../../../../src/kernel/logger.ts';
import { serve, type Served } from './scrape.ts';

type Message =
  | { readonly type: 'Note' }
  | { readonly type: 'Wait'; readonly ms: number }
  | { readonly type: 'Hold'; readonly until: Promise<void> }
  | { readonly type: 'Fail'; readonly error: unknown }
  | { readonly type: 'Question'; readonly replyTo: ReplyTo<number> };

const echo: ActorDefinition<Message> = {
  kind: 'echo',
  restart: { backoffMinMs: 1, maxRestarts: 2 },
  mailbox: { capacity: 5 },
  start: (context) => ({
    receive(message) {
      if (message.type === 'Fail') throw message.error;
      if (message.type === 'Hold') return message.until;
      if (message.type === 'Wait') return new Promise((resolve) => setTimeout(resolve, message.ms));
      if (message.type === 'Question') context.reply(message.replyTo, 1);
    },
  }),
};

async function observed(): Promise<Served & { readonly system: ActorSystem }> {
  const served = await serve();
  const { metrics } = served.node;
  const system = createActorSystem({ node: 'a', logger: silentLogger, metrics });
  metrics.source(actorSource(system));
  return { ...served, system };
}

test('handlers are timed by kind, asynchronous ones to their end', async () => {
  const { system, scrape } = await observed();
  const ref = system.spawn<Message>('one', echo);
  for (let n = 0; n < 3; n += 1) system.tell(ref, { type: 'Note' });
  system.tell(ref, { type: 'Wait', ms: 30 });
  await system.ask<Message, number>(ref, (replyTo) => ({ type: 'Question', replyTo }));
  await vi.waitFor(async () =>
    expect((await scrape()).value('dlgforge_handler_seconds_count', { kind: 'echo' })).toBe(5),
  );
  const { value } = await scrape();
  expect(value('dlgforge_handler_seconds_sum', { kind: 'echo' })).toBeGreaterThan(0.025);
  expect(value('dlgforge_handler_seconds_bucket', { kind: 'echo', le: '0.01' })).toBe(4);
  await system.stop();
});

test('mailboxes, restarts, actors given up and dead letters are counted', async () => {
  const { system, scrape } = await observed();
  const held = Promise.withResolvers<void>();
  const ref = system.spawn<Message>('one', echo);
  system.spawn<Message>('two', echo);
  system.tell(ref, { type: 'Hold', until: held.promise });
  await vi.waitFor(() => expect(system.tree()[0]?.handlingSinceMs).not.toBeNull());
  for (let n = 0; n < 7; n += 1) system.tell(ref, { type: 'Note' });
  const full = await scrape();
  expect(full.value('dlgforge_actors', { kind: 'echo' })).toBe(2);
  expect(full.value('dlgforge_mailbox_depth', { kind: 'echo' })).toBe(5);
  expect(full.value('dlgforge_mailbox_depth_max', { kind: 'echo' })).toBe(5);
  expect(full.value('dlgforge_dead_letters_total', { reason: 'overloaded' })).toBe(2);
  held.resolve();
  await vi.waitFor(() => expect(system.tree()[0]?.mailboxLength).toBe(0));

  system.tell(ref, { type: 'Fail', error: new DlgforgeError('store', 'away') });
  system.tell(ref, { type: 'Fail', error: new Error('a mistake') });
  system.tell(ref, { type: 'Fail', error: new DlgforgeError('stale_epoch', 'taken over') });
  await vi.waitFor(() => expect(system.tree().length).toBe(1));
  system.tell(ref, { type: 'Note' });
  const { value } = await scrape();
  expect(value('dlgforge_actor_restarts_total', { kind: 'echo', reason: 'store' })).toBe(1);
  expect(value('dlgforge_actor_restarts_total', { kind: 'echo', reason: 'other' })).toBe(1);
  expect(value('dlgforge_actors_given_up_total', { kind: 'echo', reason: 'stale_epoch' })).toBe(1);
  expect(value('dlgforge_dead_letters_total', { reason: 'no_such_actor' })).toBe(1);
  expect(value('dlgforge_actors', { kind: 'echo' })).toBe(1);
  await system.stop();
});

test('asks that nobody answers are counted, and those that wait', async () => {
  const { system, scrape } = await observed();
  const silent = system.spawn<Message>('silent', { ...echo, start: () => ({ receive: () => undefined }) });
  const asked = system.ask<Message, number>(silent, (replyTo) => ({ type: 'Question', replyTo }), {
    timeoutMs: 200,
  });
  expect((await scrape()).value('dlgforge_asks_pending')).toBe(1);
  await expect(asked).rejects.toMatchObject({ code: 'timeout' });
  await expect(
    system.ask<Message, number>(actorRef('a', 'nobody'), (replyTo) => ({ type: 'Question', replyTo })),
  ).rejects.toMatchObject({ code: 'receiver_gone' });
  const { value } = await scrape();
  expect(value('dlgforge_asks_pending')).toBe(0);
  expect(value('dlgforge_asks_timed_out_total')).toBe(1);
  await system.stop();
});
