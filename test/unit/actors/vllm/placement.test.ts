/** Where replicas go, and what becomes of what hosts report. */
import {
  assert,
  constant,
  constantFrom,
  integer,
  nat,
  property,
  record,
  tuple,
  uniqueArray,
} from 'fast-check';
import { expect, test } from 'vitest';
import type { HostReport, ReplicaReport } from '../../../../src/actors/vllm/host-messages.ts';
import { place, roomFor } from '../../../../src/actors/vllm/placement.ts';
import { endpointChanges, reconcile } from '../../../../src/actors/vllm/reconcile.ts';
import { runId } from '../../../../src/kernel/ids.ts';
import type { RunEndpoint } from '../../../../src/ports/store.ts';

const RUN = runId('run-1');

const rooms = uniqueArray(constantFrom('a', 'b', 'c', 'd', 'e'), { maxLength: 5 }).chain((nodes) =>
  tuple(
    ...nodes.map((node) =>
      record({ node: constant(node), freeGpus: nat(8), replicas: nat(3), kept: nat(2) }),
    ),
  ),
);

test('whole GPUs of one node, none twice, as many as there is room for', () => {
  assert(
    property(rooms, nat(12), integer({ min: 0, max: 4 }), (given, count, gpus) => {
      const indexes = Array.from({ length: count }, (_, index) => index);
      const places = place(indexes, gpus, given);
      expect(new Set(places.map(({ index }) => index)).size).toBe(places.length);
      for (const { node, freeGpus, kept } of given) {
        const here = places.filter((each) => each.node === node).length;
        expect(Math.max(0, here - kept) * gpus).toBeLessThanOrEqual(freeGpus);
      }
      expect(places.length).toBe(Math.min(count, roomFor(gpus, given)));
    }),
  );
});

test('they are spread over the nodes', () => {
  assert(
    property(rooms, nat(12), (given, count) => {
      const even = given.map((room) => ({ ...room, freeGpus: 20, replicas: 0, kept: 0 }));
      const indexes = Array.from({ length: count }, (_, index) => index);
      const places = place(indexes, 1, even);
      const per = even.map(({ node }) => places.filter((each) => each.node === node).length);
      if (per.length > 0) expect(Math.max(...per) - Math.min(...per)).toBeLessThanOrEqual(1);
    }),
  );
});

const replica = (
  index: number,
  state: ReplicaReport['state'],
  baseUrl: string | null = null,
): ReplicaReport => ({
  runId: RUN,
  index,
  state,
  text: state,
  gpus: [],
  baseUrl,
  keyVariable: null,
});

const host = (node: string, gpus: number, replicas: readonly ReplicaReport[] = []): HostReport => ({
  node,
  gpus: Array.from({ length: gpus }, (_, index) => ({
    index,
    freeMb: null,
    totalMb: null,
    usedBy: index < replicas.length ? 'a replica' : null,
  })),
  gpuTrouble: null,
  isLeaving: false,
  replicas: [...replicas],
  kept: [],
});

const WANTED = { runId: RUN, count: 2, gpusPerReplica: 1, orderHash: 'same' };

test('what is missing is started where there is room, once', () => {
  const first = reconcile(WANTED, [host('a', 1), host('b', 1)], []);
  expect(first.start).toEqual([
    { node: 'a', index: 0 },
    { node: 'b', index: 1 },
  ]);
  const second = reconcile(WANTED, [host('a', 1, [replica(0, 'starting')]), host('b', 1)], []);
  expect(second.start).toEqual([{ node: 'b', index: 1 }]);
  const lost = reconcile(WANTED, [host('a', 1, [replica(0, 'serving', 'http://a:1/v1')])], []);
  expect(lost.start).toEqual([]);
  expect(lost.standings[1]).toMatchObject({ state: 'missing', text: 'no node has a free GPU' });
});

test('a kept server is taken up before a new one is started, whoever holds its GPU', () => {
  const holder = { ...host('b', 1), kept: [{ orderHash: 'same', gpus: [0] }] };
  const held = { ...holder, gpus: holder.gpus.map((gpu) => ({ ...gpu, usedBy: 'kept server' })) };
  expect(reconcile(WANTED, [host('a', 1), held], []).start).toEqual([
    { node: 'b', index: 0 },
    { node: 'a', index: 1 },
  ]);
  const other = { ...held, kept: [{ orderHash: 'other', gpus: [0] }] };
  expect(reconcile(WANTED, [host('a', 1), other], []).start).toEqual([{ node: 'a', index: 0 }]);
});

test('while a node that may have a replica is silent nothing is started', () => {
  const { start, standings } = reconcile(WANTED, [host('a', 4)], ['b']);
  expect(start).toEqual([]);
  expect(standings[0]?.text).toContain('waiting for an answer of b');
});

test('of two that are the same the better stays, and what is too much goes', () => {
  const { stop, standings } = reconcile(
    WANTED,
    [
      host('a', 2, [replica(0, 'starting'), replica(5, 'serving')]),
      host('b', 2, [replica(0, 'serving', 'http://b:1/v1')]),
    ],
    [],
  );
  expect(stop).toEqual([
    { node: 'a', index: 5 },
    { node: 'a', index: 0 },
  ]);
  expect(standings[0]).toMatchObject({ node: 'b', state: 'serving' });
});

test('a node that cannot run it is not asked again; when there is no other that is said', () => {
  const unable = host('a', 1, [{ ...replica(0, 'unable'), text: 'no vllm here' }]);
  expect(reconcile(WANTED, [unable, host('b', 2)], []).start).toEqual([
    { node: 'b', index: 0 },
    { node: 'b', index: 1 },
  ]);
  const { start, standings } = reconcile(WANTED, [unable], []);
  expect(start).toEqual([]);
  expect(standings.map(({ state }) => state)).toEqual(['unable', 'unable']);
  expect(standings[0]?.text).toBe('no node can run it\na: no vllm here');
});

test('a node that leaves is given nothing', () => {
  expect(reconcile(WANTED, [{ ...host('a', 4), isLeaving: true }], []).start).toEqual([]);
});

test('endpoint rows follow the replicas: used, drained, removed, and written only when they change', () => {
  const shape = { model: 'm', maxInFlight: 64, roles: ['user' as const] };
  const at = (index: number, state: ReplicaReport['state'] | 'missing', baseUrl: string | null) => ({
    index,
    node: 'a',
    state,
    text: '',
    endpoint: baseUrl === null ? null : { baseUrl, keyVariable: null },
  });
  const [row] = endpointChanges([at(0, 'serving', 'http://a:1/v1')], shape, []);
  expect(row).toMatchObject({
    name: 'managed-vllm-0',
    wanted: 'use',
    source: 'managed',
    baseUrl: 'http://a:1/v1',
  });
  const stored = [row as RunEndpoint];
  expect(endpointChanges([at(0, 'serving', 'http://a:1/v1')], shape, stored)).toEqual([]);
  expect(endpointChanges([at(0, 'serving', 'http://a:2/v1')], shape, stored)).toMatchObject([
    { baseUrl: 'http://a:2/v1', wanted: 'use' },
  ]);
  expect(endpointChanges([at(0, 'restarting', null)], shape, stored)).toMatchObject([{ wanted: 'drain' }]);
  expect(endpointChanges([at(0, 'given_up', null)], shape, stored)).toMatchObject([{ wanted: 'remove' }]);
  expect(endpointChanges([], shape, stored)).toMatchObject([{ wanted: 'remove' }]);
  expect(endpointChanges([at(0, 'starting', null)], shape, [])).toEqual([]);
  const own = { ...(row as RunEndpoint), name: 'mine', source: 'added' as const };
  expect(endpointChanges([], shape, [own])).toEqual([]);
});
