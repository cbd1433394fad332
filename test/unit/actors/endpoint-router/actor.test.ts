import { expect, onTestFinished, test } from 'vitest';
import { createRouterClient, endpointRouter } from '../../../../src/actors/endpoint-router/actor.ts';
import type { EndpointStats } from '../../../../src/actors/endpoint-router/endpoint-state.ts';
import {
  decodeRouterMessage,
  type RouterMessage,
  type RouterReply,
} from '../../../../src/actors/endpoint-router/router-messages.ts';
import type { PermitWish } from '../../../../src/actors/endpoint-router/router.ts';
import { createActorSystem } from '../../../../src/actors/runtime/actor-system.ts';
import type { ActorDefinition, ActorSystem, ReplyTo } from '../../../../src/actors/runtime/types.ts';
import { ROLES } from '../../../../src/dialogue/chat.ts';
import { silentLogger } from '../../../../src/kernel/logger.ts';
import { never } from '../../llm/fixtures.ts';

const wish: PermitWish = {
  role: 'user',
  conversation: 'c',
  priority: 0,
  avoid: null,
  waitMs: 5_000,
  leaseMs: 60_000,
};

function startRouter(maxInFlight: number) {
  const system: ActorSystem = createActorSystem({ node: 'a', logger: silentLogger, strictMessages: true });
  onTestFinished(() => system.stop());
  const router = system.spawn(
    'router',
    endpointRouter({
      runs: [{ runId: 'R', endpoints: [{ name: 'one', roles: ROLES, weight: 1, maxInFlight }] }],
    }),
  );
  return { system, router, client: createRouterClient({ messenger: system, router, runId: 'R', name: 'k' }) };
}

test('permits go out and come back through messages', async () => {
  const { client } = startRouter(1);
  const first = await client.acquire(wish, never);
  expect(first).toEqual({
    type: 'granted',
    ticket: 'k-1',
    endpoint: 'one',
    identity: 'one',
    epoch: 0,
  });
  const second = client.acquire(wish, never);
  client.release('k-1', { type: 'answered' });
  expect(await second).toMatchObject({ type: 'granted', ticket: 'k-2' });
  expect(await client.stats()).toMatchObject([{ endpoint: 'one', inFlight: 1, answered: 1 }]);
});

test('a wait ends at its deadline and at its cancellation, and leaves nothing behind', async () => {
  const { client } = startRouter(1);
  await client.acquire(wish, never);
  expect(await client.acquire({ ...wish, waitMs: 20 }, never)).toMatchObject({
    type: 'rejected',
    rejection: { type: 'deadline' },
  });
  const abort = new AbortController();
  const waiting = client.acquire(wish, abort.signal);
  abort.abort();
  await expect(waiting).rejects.toMatchObject({ code: 'cancelled' });
  client.release('k-1', { type: 'answered' });
  expect(await client.stats()).toMatchObject([{ inFlight: 0 }]);
});

test('permits of a holder that ends come back', async () => {
  const { system, router, client } = startRouter(1);
  const holder: ActorDefinition<never> = {
    kind: 'holder',
    start: (context) => ({ receive: () => context.stopSelf() }),
  };
  const ref = system.spawn('holder', holder);
  const held = createRouterClient({ messenger: system, router, runId: 'R', name: 'h', holder: ref });
  expect(await held.acquire(wish, never)).toMatchObject({ type: 'granted' });
  const next = client.acquire(wish, never);
  system.tell(ref, {} as never);
  expect(await next).toMatchObject({ type: 'granted', ticket: 'k-1' });
});

test('a permit that nobody gives back comes back at the end of its lease', async () => {
  const { client } = startRouter(1);
  await client.acquire({ ...wish, leaseMs: 20 }, never);
  expect(await client.acquire(wish, never)).toMatchObject({ type: 'granted', ticket: 'k-2' });
});

test('a router that does not exist is an outcome, not an exception', async () => {
  const { system, router } = startRouter(1);
  const lost = createRouterClient({
    messenger: system,
    router: { ...router, path: 'nowhere' },
    runId: 'R',
    name: 'k',
  });
  expect(await lost.acquire(wish, never)).toMatchObject({
    type: 'rejected',
    rejection: { type: 'unreachable' },
  });
});

test('what was meant for another router is neither granted nor adopted', async () => {
  const { system, router } = startRouter(1);
  const asked = system.ask(
    router,
    (replyTo: ReplyTo<RouterReply>): RouterMessage => ({
      type: 'Acquire',
      ticket: 't',
      runId: 'R',
      wish,
      holder: null,
      epoch: 7,
      replyTo,
    }),
  );
  expect(await asked).toEqual({ type: 'moved' });
  const reported = system.ask(
    router,
    (replyTo: ReplyTo<'done'>): RouterMessage => ({
      type: 'AdoptPermits',
      node: 'b',
      holder: { node: 'b', path: 'h', incarnation: 1 },
      permits: [{ ticket: 'u', runId: 'R', endpoint: 'one', identity: 'one', role: 'user', leaseMs: 1_000 }],
      isComplete: true,
      epoch: 7,
      replyTo,
    }),
    { timeoutMs: 50 },
  );
  await expect(reported).rejects.toMatchObject({ code: 'timeout' });
  const stats = (replyTo: ReplyTo<readonly EndpointStats[]>): RouterMessage => ({
    type: 'GetStats',
    replyTo,
  });
  expect(await system.ask(router, stats)).toMatchObject([{ inFlight: 0, waiting: 0 }]);
});

test('I10 what comes over the wire is checked at the door', () => {
  const replyTo = { node: 'a', correlation: '1' };
  const ask = { type: 'Acquire', ticket: 't', runId: 'R', holder: null, epoch: 0, replyTo };
  expect(decodeRouterMessage({ ...ask, wish })).toMatchObject({
    ticket: 't',
  });
  for (const bad of [
    { type: 'Wake' },
    { type: 'HolderEnded', holder: 'x' },
    { ...ask, wish: { ...wish, role: 'root' } },
    7,
  ]) {
    expect(() => decodeRouterMessage(bad)).toThrow();
  }
});
