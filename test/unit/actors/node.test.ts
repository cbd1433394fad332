/** What a node answers about itself, over the wire. */
import { expect, test } from 'vitest';
import { nodeActor, type NodeMessage, nodeRef } from '../../../src/actors/node.ts';
import type { ActorRef, ReplyTo } from '../../../src/actors/runtime/types.ts';
import { createMemoryTransport } from '../../../src/transport/memory-transport.ts';
import { SimulatedClock } from '../../support/simulated-clock.ts';
import { joinBench } from './runtime/fixtures.ts';

test('a node tells of its actors and its status, and takes orders from elsewhere', async () => {
  const clock = new SimulatedClock();
  const transport = createMemoryTransport({ clock });
  const a = await joinBench(transport, { node: 'a', clock });
  const b = await joinBench(transport, { node: 'b', clock });
  const orders: string[] = [];
  b.system.spawn(
    'node',
    nodeActor({
      node: 'b',
      tree: () => b.system.tree(),
      status: () => ({ workers: 2 }),
      onDrain: () => void orders.push('drain'),
      onStop: () => {
        throw new Error('not now');
      },
    }),
  );
  const ask = <R>(type: NodeMessage['type']): Promise<R> =>
    a.system.ask<NodeMessage, R>(nodeRef('b'), (replyTo) => ({ type, replyTo }) as unknown as NodeMessage);
  expect(await ask('GetTree')).toMatchObject({
    node: 'b',
    omitted: 0,
    actors: [{ path: 'node', kind: 'node' }],
  });
  expect(await ask('GetNodeStatus')).toEqual({ node: 'b', status: { workers: 2 } });
  expect(await ask('Drain')).toEqual({ type: 'accepted' });
  expect(await ask('Stop')).toEqual({ type: 'refused', reason: 'not now' });
  expect(orders).toEqual(['drain']);
  const strange = (replyTo: ReplyTo<unknown>): unknown => ({ type: 'Execute', replyTo });
  await expect(a.system.ask(nodeRef('b') as ActorRef<unknown>, strange)).rejects.toMatchObject({
    code: 'refused',
  });
});
