import { expect, test } from 'vitest';
import { Pool } from '../../../../src/actors/endpoint-router/pool.ts';
import { createLocalRouter } from '../../../../src/actors/endpoint-router/router.ts';
import { SimulatedClock } from '../../../support/simulated-clock.ts';

const NOBODY = new AbortController().signal;
const WISH = {
  role: 'user',
  conversation: 'c',
  priority: 0,
  avoid: null,
  waitMs: 60_000,
  leaseMs: 60_000,
} as const;

/** A clock that moves on a little whenever it is read, as real ones do. */
class RestlessClock extends SimulatedClock {
  override now(): number {
    const seen = super.now();
    this.advance(1);
    return seen;
  }
}

test('a pause that ends while the router decides does not leave the waiting call behind', async () => {
  const clock = new RestlessClock();
  const pool = new Pool({
    runs: [{ runId: 'R', endpoints: [{ name: 'one', roles: ['user'], weight: 1, maxInFlight: 1 }] }],
  });
  const router = createLocalRouter(pool, clock, 'R');
  const first = await router.acquire(WISH, NOBODY);
  if (first.type !== 'granted') throw new Error('the first call is granted');
  router.release(first.ticket, { type: 'rate_limited', retryAfterMs: 3 });
  const second = router.acquire(WISH, NOBODY);
  await clock.runUntil(() => pool.stats(0)[0]?.inFlight === 1, { limitMs: 1_000 });
  expect((await second).type).toBe('granted');
  router.close();
});
