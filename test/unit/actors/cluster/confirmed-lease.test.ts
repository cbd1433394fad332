import { beforeEach, expect, test } from 'vitest';
import { confirmedLease } from '../../../../src/actors/cluster/confirmed-lease.ts';
import { DlgforgeError } from '../../../../src/kernel/errors.ts';
import { CLUSTER_HOST, type LeaseGrant, type Store } from '../../../../src/ports/store.ts';
import { MemoryStore } from '../../../../src/store/memory-store.ts';
import { failing } from '../../../support/failing.ts';
import { until } from '../../../support/simulation.ts';

let store: MemoryStore;
let lease: LeaseGrant;
let contacts: number;
let isWarm: boolean;
let lost: number;
beforeEach(async () => {
  store = new MemoryStore();
  lease = await taken('a');
  [contacts, isWarm, lost] = [1, true, 0];
});

async function taken(by: string): Promise<LeaseGrant> {
  const holder = { host: CLUSTER_HOST, pid: 1, processKey: by, command: 'test', sinceMs: 0 };
  const result = await store.acquireLease('router', holder, 1_000, () => false);
  if (result.type !== 'granted') throw new Error('it is held');
  return result.lease;
}

const check = (through: Pick<Store, 'renewLease'> = store): (() => boolean) =>
  confirmedLease({
    membership: { contacts: () => contacts, isWarm: () => isWarm },
    store: through,
    lease,
    onLost: () => {
      lost += 1;
    },
  });

test('a leader that never lost contact is the leader, and one out of contact is not', () => {
  const isLeader = check();
  expect(isLeader()).toBe(true);
  isWarm = false;
  expect(isLeader()).toBe(false);
});

test('I7: after a loss of contact the store is asked first, once', async () => {
  let asked = 0;
  const counting = failing(store, 'renewLease', () => {
    asked += 1;
    return false;
  });
  const isLeader = check(counting.target);
  contacts = 2;
  expect(isLeader()).toBe(false);
  await until(isLeader, 'the confirmation');
  expect([asked, lost]).toEqual([1, 0]);
});

test('I7: who was replaced meanwhile hears it, also when the successor is gone', async () => {
  const isLeader = check();
  await store.releaseLease(await taken('b'));
  contacts = 2;
  expect(isLeader()).toBe(false);
  await until(() => lost === 1, 'the loss');
  expect(isLeader()).toBe(false);
});

test('a store that is away says nothing: it is asked again', async () => {
  const away = new DlgforgeError('store', 'away', { retryable: true });
  const { target, fired } = failing(
    store,
    'renewLease',
    (call) => call <= 2,
    () => away,
  );
  const isLeader = check(target);
  contacts = 2;
  await until(isLeader, 'the confirmation');
  expect(fired()).toBe(2);
  expect(lost).toBe(0);
});

test('contact that is lost while the store is asked counts as lost', async () => {
  const isLeader = check();
  contacts = 2;
  isLeader();
  contacts = 3;
  await new Promise((resolve) => setImmediate(resolve));
  expect(isLeader()).toBe(false);
  await until(isLeader, 'the confirmation');
});
