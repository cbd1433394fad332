/** What a store promises to a cluster, for each adapter to run. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { datasetId, epoch, persistenceId, runId } from '../../../src/kernel/ids.ts';
import { CLUSTER_HOST, type HolderInfo, type RunStatus, type Store } from '../../../src/ports/store.ts';
import { collect, committing, holder, startRun, type UseStore } from './store-contract.ts';

const RUN = runId('run');
const DATASET = datasetId('dataset');
const stale = expect.objectContaining({ code: 'stale_epoch' });
const unknownRun = expect.objectContaining({
  code: 'resume',
  message: expect.stringContaining('There is no run nobody in this store'),
});

const node = (name: string): HolderInfo => ({ ...holder(7, CLUSTER_HOST), processKey: name });

/** Takes the run's lease from whoever has it, as a node does that has outlived it. */
async function takeOver(store: Store): Promise<ReturnType<typeof startRun>> {
  const taken = await store.acquireLease('run', holder(2), 1_000, () => false);
  if (taken.type !== 'granted') throw new Error('the lease was not granted');
  return taken.lease;
}

export function clusterContract(useStore: UseStore): void {
  describe('runs of a cluster', () => {
    it('keep what any node needs to lead them; a run of one process has none', () =>
      useStore(async (store) => {
        const lease = await startRun(store);
        expect(await store.runSpec(RUN)).toBeNull();
        expect(await store.runSpec(runId('nobody'))).toBeNull();
        const spec = { documents: ['a\0b', 'lone \ud800'], limits: { languages: [1, null] } };
        await store.saveRunSpec(RUN, lease, spec);
        expect(await store.runSpec(RUN)).toEqual(spec);
        await store.saveRunSpec(RUN, lease, { later: true });
        expect(await store.runSpec(RUN)).toEqual({ later: true });
        expect(await store.getRun(RUN)).not.toHaveProperty('spec');
        await expect(store.saveRunSpec(runId('nobody'), lease, {})).rejects.toEqual(unknownRun);
      }));

    it('H: a person says what is wanted, without a lease', () =>
      useStore(async (store) => {
        await startRun(store);
        expect(await store.runWanted(RUN)).toBe('run');
        for (const wanted of ['pause', 'cancel', 'run'] as const) {
          await store.setRunWanted(RUN, wanted);
          expect(await store.runWanted(RUN)).toBe(wanted);
        }
        await expect(store.setRunWanted(runId('nobody'), 'pause')).rejects.toEqual(unknownRun);
        await expect(store.runWanted(runId('nobody'))).rejects.toEqual(unknownRun);
      }));

    it('are active while they run or are paused', () =>
      useStore(async (store) => {
        const lease = await startRun(store);
        expect(await store.activeRuns()).toEqual([]);
        await store.saveRunSpec(RUN, lease, {});
        const second = runId('a second');
        await store.createRun({ id: second, datasetId: DATASET, config: {}, fingerprint: {}, plan: {} });
        await store.saveRunSpec(second, lease, {});
        await store.setRunWanted(second, 'pause');
        const active = (status: RunStatus) => ({ id: RUN, datasetId: DATASET, status, wanted: 'run' });
        const other = { id: second, datasetId: DATASET, status: 'running', wanted: 'pause' };
        expect(await store.activeRuns()).toEqual([other, active('running')]);
        for (const status of [
          'paused',
          'interrupted',
          'cancelled',
          'failed',
          'completed',
          'running',
        ] as const) {
          await store.setRunStatus(RUN, lease, status, null);
          expect((await store.getRun(RUN))?.status).toBe(status);
          const here = status === 'running' || status === 'paused';
          expect(await store.activeRuns()).toEqual(here ? [other, active(status)] : [other]);
        }
      }));

    it('I2: a leader that was replaced changes nothing', () =>
      useStore(async (store) => {
        const old = await startRun(store);
        await store.saveRunSpec(RUN, old, { by: 'old' });
        const current = await takeOver(store);
        const before = await store.getRun(RUN);
        await expect(store.setRunStatus(RUN, old, 'completed', null)).rejects.toEqual(stale);
        await expect(store.replaceRunSettings(RUN, old, { n: 1 }, {})).rejects.toEqual(stale);
        await expect(store.saveRunSpec(RUN, old, { by: 'ghost' })).rejects.toEqual(stale);
        await expect(store.commit(committing(old, 0, ['q']))).rejects.toEqual(stale);
        expect(await store.getRun(RUN)).toEqual(before);
        expect(await store.runSpec(RUN)).toEqual({ by: 'old' });
        expect(await collect(store.committed(DATASET, 0))).toEqual([]);
        await store.setRunStatus(RUN, current, 'completed', null);
        await store.releaseLease(current);
        await expect(store.setRunStatus(RUN, current, 'failed', null)).rejects.toEqual(stale);
        expect((await store.getRun(RUN))?.status).toBe('completed');
      }));
  });

  describe('epochs', () => {
    it('I2: are in every journalled event and every commit, and never fall', () =>
      useStore(async (store) => {
        let n = 0;
        const steps = fc.array(fc.constantFrom('recover', 'append', 'take over', 'commit'), {
          maxLength: 12,
        });
        const property = fc.asyncProperty(steps, async (taken) => {
          n += 1;
          const lease = n === 1 ? await startRun(store) : await takeOver(store);
          await writtenInOrder(store, n, lease, taken);
        });
        await fc.assert(property, { numRuns: 15 });
      }));

    it('tell under which hold each event was written, however it is read', () =>
      useStore(async ({ journal }) => {
        const id = persistenceId('moved');
        const first = await journal.recover(id);
        await journal.append(id, first.epoch, 0, [{ type: 'A' }]);
        const second = await journal.recover(id);
        await journal.append(id, second.epoch, 1, [{ type: 'B' }]);
        const expected = [first.epoch, second.epoch];
        expect((await journal.read(id)).map((event) => event.epoch)).toEqual(expected);
        expect((await journal.pick(id, [2, 1])).map((event) => event.epoch)).toEqual(expected.toReversed());
        expect((await journal.peek(id)).events.map((event) => event.epoch)).toEqual(expected);
        expect((await journal.recover(id)).events.map((event) => event.epoch)).toEqual(expected);
      }));
  });

  describe('leases of nodes', () => {
    it('are judged by who knows the nodes, and from outside by their silence', () =>
      useStore(async (store) => {
        await store.acquireLease('router', node('a'), 0, () => false);
        await new Promise((resolve) => setTimeout(resolve, 5));
        const asked: string[] = [];
        const isAlive = ({ processKey }: HolderInfo): boolean => {
          asked.push(processKey);
          return true;
        };
        expect(await store.acquireLease('router', node('b'), 0, isAlive)).toEqual({
          type: 'held',
          holder: node('a'),
        });
        expect(await store.leaseHolder('router', node('b'), 0, isAlive)).toEqual(node('a'));
        expect(asked).toEqual(['a', 'a']);
        const laptop = holder(3, 'a laptop');
        expect(await store.leaseHolder('router', laptop, 600_000, () => false)).toEqual(node('a'));
        expect(await store.leaseHolder('router', laptop, 0, () => true)).toBeNull();
        const lost = ({ processKey }: HolderInfo): boolean => processKey !== 'a';
        expect(await store.leaseHolder('router', node('b'), 600_000, lost)).toBeNull();
        expect(await store.acquireLease('router', node('b'), 600_000, lost)).toEqual({
          type: 'granted',
          lease: { name: 'router', epoch: 2 },
          previous: node('a'),
        });
      }));

    it('I2: have an epoch that rises with every grant, also over releases', () =>
      useStore(async (store) => {
        let last = 0;
        const step = fc.constantFrom('release', 'lose');
        const property = fc.asyncProperty(fc.array(step, { maxLength: 8 }), async (steps) => {
          for (const taken of [...steps, 'release']) {
            const result = await store.acquireLease('router', node('a'), 1_000, () => false);
            if (result.type !== 'granted') throw new Error('nobody has it');
            expect(result.lease.epoch).toBe(last + 1);
            last += 1;
            await store.renewLease(result.lease);
            if (taken === 'release') await store.releaseLease(result.lease);
          }
        });
        await fc.assert(property, { numRuns: 10 });
        await expect(store.renewLease({ name: 'router', epoch: epoch(last) })).rejects.toEqual(stale);
      }));
  });
}

/** Does the steps with one holder after another, then looks at the epochs that were left behind. */
async function writtenInOrder(
  store: Store,
  n: number,
  granted: Awaited<ReturnType<typeof startRun>>,
  steps: readonly string[],
): Promise<void> {
  const { journal } = store;
  const id = persistenceId(`epochs/${n}`);
  let lease = granted;
  let { epoch: held, lastSeq } = await journal.recover(id);
  let index = 100 * n;
  const appended: number[] = [];
  const committed: number[] = [];
  for (const step of steps) {
    if (step === 'recover') held = (await journal.recover(id)).epoch;
    if (step === 'take over') lease = await takeOver(store);
    if (step === 'append') {
      await journal.append(id, held, lastSeq, [{ type: 'A' }, { type: 'B' }]);
      lastSeq += 2;
      appended.push(held, held);
    }
    if (step === 'commit') {
      index += 1;
      await store.commit(committing(lease, index, [`q${index}`]));
      committed.push(lease.epoch);
    }
  }
  expect((await journal.read(id)).map((event) => event.epoch)).toEqual(appended);
  expect(isRising(appended)).toBe(true);
  const all = await collect(store.committed(DATASET, 0));
  expect(all.slice(all.length - committed.length).map((conversation) => conversation.epoch)).toEqual(
    committed,
  );
  expect(isRising(all.map((conversation) => conversation.epoch))).toBe(true);
}

const isRising = (numbers: readonly number[]): boolean =>
  numbers.every((number, i) => i === 0 || (numbers[i - 1] ?? 0) <= number);
