/** What every store promises about verdicts that are given later (`src/ports/verdicts.ts`). */
import { describe, expect, it } from 'vitest';
import type { JudgePass } from '../../../src/dialogue/judge-pass.ts';
import { datasetId, persistenceId } from '../../../src/kernel/ids.ts';
import type { LeaseGrant, Store } from '../../../src/ports/store.ts';
import { judgePrefix, type StoredVerdict } from '../../../src/ports/verdicts.ts';
import { holder, ODD_STRINGS, type UseStore } from './store-contract.ts';

const DATASET = datasetId('judged');
const PASS: JudgePass = { id: 'p1', granularity: 'turn', model: 'm', promptVersion: 'v', reasons: ['vague'] };
const OTHER: JudgePass = { ...PASS, id: 'p2', granularity: 'conversation' };

const verdictOn = (
  conversationId: string,
  turn: number,
  over: Partial<StoredVerdict> = {},
): StoredVerdict => ({
  conversationId,
  turn,
  round: 0,
  tries: 1,
  verdict: { score: 7.5, reasons: ['vague'], notes: 'n', question_ok: true, answer_ok: false },
  reason: null,
  raw: { model: 'm', object: null, choices: [] },
  rehearsal: false,
  ...over,
});

async function opened(store: Store): Promise<LeaseGrant> {
  await store.openDataset(DATASET, '/data/judged');
  const result = await store.acquireLease('dataset/judged', holder(1), 1_000, () => false);
  if (result.type !== 'granted') throw new Error('the lease was not granted');
  return result.lease;
}

export function verdictContract(useStore: UseStore): void {
  describe('verdicts', () => {
    it('gives back what was recorded, by pass, conversation and turn, whatever texts are in it', () =>
      useStore(async (store) => {
        const lease = await opened(store);
        const { verdicts } = store;
        await verdicts.begin(lease, DATASET, PASS, null);
        await verdicts.begin(lease, DATASET, OTHER, null);
        const odd = ODD_STRINGS.filter((text) => text.length < 1_000);
        for (const text of odd)
          await verdicts.record(lease, DATASET, PASS.id, verdictOn(text, 1, { verdict: { notes: text } }));
        await verdicts.record(lease, DATASET, PASS.id, verdictOn('a', 2));
        const none = verdictOn('a', 1, { verdict: null, reason: 'no JSON', raw: null });
        await verdicts.record(lease, DATASET, PASS.id, none);
        await verdicts.record(lease, DATASET, OTHER.id, verdictOn('a', 0));
        expect(await verdicts.of(DATASET, PASS.id, ['a'])).toEqual([none, verdictOn('a', 2)]);
        expect(await verdicts.of(DATASET, OTHER.id, ['a', 'b'])).toEqual([verdictOn('a', 0)]);
        expect(await verdicts.of(DATASET, 'p3', ['a'])).toEqual([]);
        for (const text of odd)
          expect(await verdicts.of(DATASET, PASS.id, [text])).toEqual([
            verdictOn(text, 1, { verdict: { notes: text } }),
          ]);
      }));

    it('B13 a pass is shown whole, once it is published, and every change of what is shown is told', () =>
      useStore(async (store) => {
        const lease = await opened(store);
        const { verdicts } = store;
        expect(await verdicts.shown(DATASET)).toBeNull();
        await verdicts.begin(lease, DATASET, PASS, null);
        expect(await verdicts.shown(DATASET)).toBeNull();
        await verdicts.publish(lease, DATASET, PASS.id, false);
        const first = await verdicts.shown(DATASET);
        expect(first?.pass).toEqual(PASS);
        await verdicts.begin(lease, DATASET, OTHER, null);
        expect(await verdicts.shown(DATASET)).toEqual(first);
        await verdicts.begin(lease, DATASET, PASS, null);
        const touched = await verdicts.shown(DATASET);
        expect(touched?.revision).toBeGreaterThan(first?.revision ?? 0);
        await verdicts.publish(lease, DATASET, OTHER.id, false);
        const last = await verdicts.shown(DATASET);
        expect(last?.pass).toEqual(OTHER);
        expect(last?.revision).toBeGreaterThan(touched?.revision ?? 0);
        await expect(verdicts.publish(lease, DATASET, 'p3', false)).rejects.toMatchObject({ code: 'store' });
        await expect(verdicts.record(lease, DATASET, 'p3', verdictOn('a', 1))).rejects.toMatchObject({
          code: 'store',
        });
      }));

    it('rejudging is one round until it is ended, and another one for another selection', () =>
      useStore(async (store) => {
        const lease = await opened(store);
        const { verdicts } = store;
        const round = async (rejudge: string | null) =>
          (await verdicts.begin(lease, DATASET, PASS, rejudge)).round;
        expect(await round(null)).toBe(0);
        expect(await round('all')).toBe(1);
        expect(await round('all')).toBe(1);
        expect(await round(null)).toBe(1);
        expect(await round('all')).toBe(1);
        expect(await round('french')).toBe(2);
        await verdicts.publish(lease, DATASET, PASS.id, false);
        expect(await round('french')).toBe(2);
        await verdicts.publish(lease, DATASET, PASS.id, true);
        expect(await round('french')).toBe(3);
        expect((await verdicts.begin(lease, DATASET, OTHER, 'all')).round).toBe(1);
      }));

    it('I2 refuses every write of a lease that has moved on', () =>
      useStore(async (store) => {
        const old = await opened(store);
        await store.verdicts.begin(old, DATASET, PASS, null);
        const lease = await opened(store);
        const stale = expect.objectContaining({ code: 'stale_epoch' });
        const { verdicts } = store;
        await expect(verdicts.begin(old, DATASET, PASS, null)).rejects.toEqual(stale);
        await expect(verdicts.record(old, DATASET, PASS.id, verdictOn('a', 1))).rejects.toEqual(stale);
        await expect(verdicts.publish(old, DATASET, PASS.id, false)).rejects.toEqual(stale);
        await verdicts.record(lease, DATASET, PASS.id, verdictOn('a', 1));
        expect(await verdicts.of(DATASET, PASS.id, ['a'])).toHaveLength(1);
        expect(await verdicts.shown(DATASET)).toBeNull();
      }));

    it('sums what verdicts have cost, by pass and over all', () =>
      useStore(async ({ journal, verdicts }) => {
        const answer = {
          usage: { promptTokens: 10, cachedTokens: 4, completionTokens: 2 },
          endpoint: 'e',
          model: 'm',
          latencyMs: 5,
          rehearsal: false,
        };
        for (const pass of ['p1', 'p2', 'p22']) {
          const id = persistenceId(`${judgePrefix(DATASET, pass)}0/a/1`);
          const { epoch } = await journal.recover(id);
          await journal.append(id, epoch, 0, [{ type: 'ModelAnswered', purpose: 'verdict', answer }]);
        }
        expect(await verdicts.callTotals(DATASET, 'p2')).toMatchObject([
          { role: 'judge', endpoint: 'e', calls: 1, promptTokens: 10, cachedTokens: 4, completionTokens: 2 },
        ]);
        expect(await verdicts.callTotals(DATASET)).toMatchObject([{ calls: 3, promptTokens: 30 }]);
        expect(await verdicts.callTotals(datasetId('other'))).toEqual([]);
      }));
  });
}
