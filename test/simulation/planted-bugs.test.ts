/** The simulation finds what it is there for: each mistake, made on purpose, breaks a promise within a few seeds. */
import { expect, test } from 'vitest';
import { isDlgforgeError } from '../../src/kernel/errors.ts';
import { type Clock, delay } from '../../src/kernel/clock.ts';
import type { Epoch } from '../../src/kernel/ids.ts';
import type { Journal, LeaseGrant, Store } from '../../src/ports/store.ts';
import type { Flaws } from '../support/cluster-world/cluster-world.ts';
import { simulate } from '../support/cluster-world/simulate.ts';
import { withPart } from '../support/failing.ts';

/** A mistake matters in a few seeds of a hundred; where the search begins only saves time. */
const SEEDS = 150;

/** The first promise that a cluster with these flaws breaks. */
async function firstBroken(flaws: Flaws, from = 1): Promise<string> {
  for (let seed = from; seed < from + SEEDS; seed += 1) {
    const { broken } = await simulate({ seed, flaws });
    if (broken[0] !== undefined) return broken[0];
  }
  return 'nothing';
}

/** An append of whoever had the journal before is written under the epoch of whoever has it now. */
function withoutAppendCheck(store: Store): Store {
  const epochs = new Map<string, Epoch>();
  const journal = withPart(
    withPart<Journal, 'recover'>(store.journal, 'recover', async (id) => {
      const recovered = await store.journal.recover(id);
      epochs.set(id, recovered.epoch);
      return recovered;
    }),
    'append',
    (id, epoch, afterSeq, events) => store.journal.append(id, epochs.get(id) ?? epoch, afterSeq, events),
  );
  return withPart(store, 'journal', journal);
}

/** A commit is taken whoever has the lease. */
function withoutLeaseCheck(store: Store): Store {
  const newest = new Map<string, LeaseGrant>();
  const current = (lease: LeaseGrant): LeaseGrant => newest.get(lease.name) ?? lease;
  const granting = withPart(store, 'acquireLease', async (name, ...rest) => {
    const result = await store.acquireLease(name, ...rest);
    if (result.type === 'granted') newest.set(name, result.lease);
    return result;
  });
  const renewing = withPart(granting, 'renewLease', (lease) => store.renewLease(current(lease)));
  return withPart(renewing, 'commit', (request) =>
    store.commit({ ...request, lease: current(request.lease) }),
  );
}

/** Says that an event is durable a moment before it is. */
function writtenLater(store: Store, clock: Clock): Store {
  const journal = withPart<Journal, 'append'>(store.journal, 'append', (...given) => {
    const writing = async (): Promise<void> => {
      await delay(clock, 100);
      await store.journal.append(...given);
    };
    writing().catch((error: unknown) => {
      if (!isDlgforgeError(error)) throw error;
    });
    return Promise.resolve();
  });
  return withPart(store, 'journal', journal);
}

/** Whoever asks for a conversation that another has is told that it may have it too. */
function grantedTwice(envelope: unknown): unknown {
  const { kind, body } = envelope as { kind: string; body: { type?: string } | null };
  if (kind !== 'reply' || body?.type !== 'held') return envelope;
  return { ...(envelope as object), body: { ...body, type: 'granted' } };
}

/** A new router hears from every node, and believes that it has nothing out. */
function nothingAdopted(envelope: unknown): unknown {
  const { body } = envelope as { body: { type?: string } | null };
  if (body?.type !== 'AdoptPermits') return envelope;
  return { ...(envelope as object), body: { ...body, permits: [] } };
}

test('I2: a store that skips the epoch check of an append is found', async () => {
  expect(await firstBroken({ store: withoutAppendCheck }, 38)).toMatch(/^I2: /);
});

test('I2: a store that takes commits of a former leader is found', async () => {
  expect(await firstBroken({ store: withoutLeaseCheck })).toMatch(/^I2: /);
});

test('I1: a journal that answers before it has written is found', async () => {
  expect(await firstBroken({ journaling: writtenLater })).toMatch(/^I1: /);
});

test('I7: a router that does not take over what is out is found', async () => {
  expect(await firstBroken({ arriving: nothingAdopted }, 79)).toMatch(/^I7: /);
});

test('a conversation that two workers are granted is found by what it costs', async () => {
  expect(await firstBroken({ arriving: grantedTwice }, 18)).toMatch(/^waste: /);
});
