/**
 * Throughput when one replica is slow: a closed system in simulated time. So many conversations are open, each
 * makes one call after the other, and the next begins when one has ended; replicas have slots and answer as
 * fast as they do, whatever the load.
 */
import { expect, test } from 'vitest';
import type { Strategy } from '../../../../src/actors/endpoint-router/choose.ts';
import type { Decision } from '../../../../src/actors/endpoint-router/permits.ts';
import { Pool } from '../../../../src/actors/endpoint-router/pool.ts';
import { ROLES, type Role } from '../../../../src/dialogue/chat.ts';
import { uniform } from '../../../../src/kernel/random.ts';

interface System {
  /** Mean answer times. */
  readonly replicaMs: readonly number[];
  readonly slots: number;
  readonly open: number;
  readonly conversations: number;
  readonly seed: number;
}

/** Six turns of question, answer and verdict. */
const CALLS: readonly Role[] = Array.from({ length: 6 }, () => ROLES).flat();

interface Outcome {
  /** Until the last conversation has ended. */
  readonly totalMs: number;
  /** Calls that went where the call of the same role before them went. */
  readonly stayed: number;
}

function carryOut({ replicaMs, slots, open, conversations, seed }: System, strategy: Strategy): Outcome {
  const endpoints = replicaMs.map((_, index) => ({
    name: `r${index}`,
    roles: ROLES,
    weight: 1,
    maxInFlight: slots,
  }));
  const pool = new Pool({ runs: [{ runId: 'R', endpoints, strategy }] });
  const ends: { readonly atMs: number; readonly conversation: number; readonly call: number }[] = [];
  const lastAt = new Map<string, string>();
  let [nowMs, begun, stayed] = [0, 0, 0];
  const started = (decisions: readonly Decision[]): void => {
    for (const decision of decisions) {
      if (decision.type !== 'granted') throw new Error(`not granted: ${JSON.stringify(decision)}`);
      const [conversation = 0, call = 0] = decision.ticket.split('/').map(Number);
      const key = `${conversation} ${CALLS[call]}`;
      if (lastAt.get(key) === decision.endpoint) stayed += 1;
      lastAt.set(key, decision.endpoint);
      // Answers differ by a factor of up to three.
      const mean = replicaMs[Number(decision.endpoint.slice(1))] ?? 0;
      const tookMs = mean * (0.5 + uniform([seed, conversation, call]));
      const at = ends.findIndex(({ atMs }) => atMs > nowMs + tookMs);
      ends.splice(at < 0 ? ends.length : at, 0, { atMs: nowMs + tookMs, conversation, call });
    }
  };
  const ask = (conversation: number, call: number): void => {
    const ticket = `${conversation}/${call}`;
    const wish = { ticket, runId: 'R', role: CALLS[call] as Role, conversation: `c${conversation}` };
    const times = { priority: conversation, deadlineAtMs: 1e12, leaseMs: 1e12, avoid: null };
    started(pool.acquire({ ...wish, ...times }, nowMs));
  };
  for (; begun < open; begun += 1) ask(begun, 0);
  for (let end = ends.shift(); end !== undefined; end = ends.shift()) {
    nowMs = end.atMs;
    started(pool.release(`${end.conversation}/${end.call}`, { type: 'answered' }, nowMs));
    if (end.call + 1 < CALLS.length) ask(end.conversation, end.call + 1);
    else if (begun < conversations) {
      ask(begun, 0);
      begun += 1;
    }
  }
  return { totalMs: nowMs, stayed: stayed / (conversations * (CALLS.length - ROLES.length)) };
}

const SYSTEMS: readonly (readonly [string, Omit<System, 'seed'>])[] = [
  ['two replicas with room', { replicaMs: [1_000, 10_000], slots: 64, open: 24, conversations: 120 }],
  ['two that are full', { replicaMs: [1_000, 10_000], slots: 8, open: 32, conversations: 120 }],
  [
    'the first of four',
    { replicaMs: [10_000, 1_000, 1_000, 1_000], slots: 16, open: 48, conversations: 200 },
  ],
  ['quick answers', { replicaMs: [20, 200], slots: 64, open: 16, conversations: 80 }],
  ['few conversations', { replicaMs: [1_000, 10_000], slots: 64, open: 4, conversations: 24 }],
];

test.for(SYSTEMS)(
  'one replica slowed ten times costs affinity at most 10 % of throughput: %s',
  ([name, system]) => {
    for (const seed of [1, 2, 3]) {
      const affinity = carryOut({ ...system, seed }, 'prefix_affinity');
      const least = carryOut({ ...system, seed }, 'weighted_least_inflight');
      const ratio = least.totalMs / affinity.totalMs;
      process.stdout.write(
        `${name}, seed ${seed}: throughput ${ratio.toFixed(2)} of least-in-flight; ${(100 * affinity.stayed).toFixed(0)} % of calls stayed (${(100 * least.stayed).toFixed(0)} %)\n`,
      );
      expect(ratio).toBeGreaterThanOrEqual(0.9);
    }
  },
);

test('with equal replicas affinity costs next to nothing, and calls stay', () => {
  for (const seed of [1, 2, 3]) {
    const system = { replicaMs: [1_000, 1_000], slots: 16, open: 24, conversations: 120, seed };
    const affinity = carryOut(system, 'prefix_affinity');
    const least = carryOut(system, 'weighted_least_inflight');
    expect(least.totalMs / affinity.totalMs).toBeGreaterThanOrEqual(0.95);
    expect(affinity.stayed).toBeGreaterThan(0.9);
    expect(carryOut(system, 'round_robin').stayed).toBeLessThan(0.7);
  }
});
