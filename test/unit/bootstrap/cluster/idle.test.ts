/** When a head that was started for a run may end. Time is the test's. */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { type IdleWatch, watchIdle } from '../../../../src/bootstrap/cluster/idle.ts';
import type { Member, NodeKind } from '../../../../src/ports/membership.ts';

const member = (node: string, kind: NodeKind): Member => ({
  card: {
    node,
    kind,
    parent: kind === 'worker' ? 'head' : null,
    host: 'h',
    pid: 1,
    startedAtMs: 0,
    protocol: 1,
    build: 'b',
    labels: {},
    leads: [],
    status: {},
  },
  lastHeardMs: 0,
});

let others: Member[];
let busy: boolean;
let inContact: boolean;
let seen: string[];
let watch: IdleWatch;

beforeEach(() => {
  vi.useFakeTimers();
  others = [];
  busy = false;
  inContact = true;
  seen = [];
  watch = watchIdle({
    membership: {
      node: 'head',
      members: () => [member('head', 'agent'), member('head.w0', 'worker'), ...others],
      inContact: () => inContact,
    },
    isBusy: () => busy,
    door: {
      open: () => Promise.resolve(void seen.push('open')),
      close: () => Promise.resolve(void seen.push('close')),
    },
    onError: (error) => seen.push(String(error)),
    onIdle: () => seen.push('end'),
  });
});
afterEach(() => {
  watch.stop();
  vi.useRealTimers();
});

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

describe('ends', () => {
  test('some seconds after its last run: first out of sight, then really', async () => {
    busy = true;
    await pass(10_000);
    busy = false;
    await pass(2_500);
    expect(seen).toEqual([]);
    await pass(1_000);
    expect(seen).toEqual(['close']);
    await pass(60_000);
    expect(seen).toEqual(['close', 'end']);
  });

  test('a minute after its start when no run comes, and soon when it is told that none will', async () => {
    await pass(50_000);
    expect(seen).toEqual([]);
    watch.unwanted();
    await pass(2_500);
    expect(seen).toEqual(['close', 'end']);
  });
});

describe('does not end', () => {
  test('while the run that it was started for publishes its index, however long', async () => {
    others = [member('run', 'run')];
    await pass(600_000);
    expect(seen).toEqual([]);
    others = [];
    await pass(5_500);
    expect(seen, 'it is gone without a run').toEqual(['close', 'end']);
  });

  test.each(['run', 'agent', 'client'] as const)('while a %s of somebody else is there', async (kind) => {
    busy = true;
    await pass(1_000);
    busy = false;
    others = [member('other', kind)];
    await pass(600_000);
    expect(seen).toEqual([]);
    others = [];
    await pass(2_500);
    expect(seen, 'its time counts from when they left').toEqual([]);
  });

  test('under one who was on the way when it went out of sight', async () => {
    watch.unwanted();
    await pass(500);
    expect(seen).toEqual(['close']);
    others = [member('second', 'run')];
    await pass(600_000);
    expect(seen).toEqual(['close', 'open']);
  });

  test('while it cannot know who is there', async () => {
    inContact = false;
    await pass(600_000);
    expect(seen).toEqual([]);
  });
});
