/** What every store promises (`src/ports/store.ts`), for each adapter to run. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { datasetId, epoch, persistenceId, runId } from '../../../src/kernel/ids.ts';
import {
  type CommitRequest,
  type HolderInfo,
  type LeaseGrant,
  type LedgerEntry,
  runPrefix,
  type Store,
} from '../../../src/ports/store.ts';

export type UseStore = <T>(use: (store: Store) => Promise<T>) => Promise<T>;

/** Strings that files, databases and parsers stumble over. */
export const ODD_STRINGS = [
  '',
  'a\0b',
  '\0',
  '\u0001plain',
  'lone \ud800 high',
  '\udfff low',
  'line\u2028separators\u2029\u0085',
  'emoji 👩🏽‍🔬 and "quotes" and \\ back',
  '\ufeffmark',
  'x'.repeat(1_048_576),
];

const DATASET = datasetId('dataset');
const RUN = runId('run');

export const holder = (pid: number, host = 'here'): HolderInfo => ({
  host,
  pid,
  processKey: `key ${pid}`,
  command: 'dlgforge run config.yaml',
  sinceMs: 1,
});

const ledgerEntry = (question: string, passageId = 'p1'): LedgerEntry => ({
  turn: 1,
  passageId,
  source: 'a.md',
  question,
  questionHash: 'hash',
  questionMode: 'fresh',
  seedTopic: '',
  seedQuestion: '',
  seedQuestionHash: '',
});

const hex = (text: string): string => Buffer.from(text).toString('hex');

export function committing(lease: LeaseGrant, index: number, questions: readonly string[]): CommitRequest {
  return {
    runId: RUN,
    languageIndex: 0,
    index,
    datasetId: DATASET,
    lease,
    language: 'en',
    conversationId: `run-${index}`,
    turns: questions.length,
    outcome: {
      type: 'committed',
      payload: { index, questions },
      questionKeys: questions.map(hex),
      ledger: questions.map((question) => ledgerEntry(question)),
    },
  };
}

function dropping(lease: LeaseGrant, index: number, reason: string): CommitRequest {
  return { ...committing(lease, index, []), outcome: { type: 'dropped', reason, payload: { index } } };
}

/** A dataset with a run that is driven under a lease. */
export async function startRun(store: Store): Promise<LeaseGrant> {
  await store.openDataset(DATASET, '/data/out');
  await store.createRun({ id: RUN, datasetId: DATASET, config: {}, fingerprint: {}, plan: {} });
  return await grant(store, 'run', holder(1));
}

async function grant(store: Store, name: string, who: HolderInfo): Promise<LeaseGrant> {
  const result = await store.acquireLease(name, who, 1_000, () => false);
  if (result.type !== 'granted') throw new Error('the lease was not granted');
  return result.lease;
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

const stale = expect.objectContaining({ code: 'stale_epoch' });

export function storeContract(useStore: UseStore): void {
  describe('journal', () => {
    it('gives events back in order, with the snapshot they follow', () =>
      useStore(async ({ journal }) => {
        const id = persistenceId('one');
        const first = await journal.recover(id);
        expect(first).toEqual({ epoch: 1, snapshot: null, events: [], lastSeq: 0 });
        await journal.append(id, first.epoch, 0, [{ type: 'A' }, { type: 'B' }]);
        await journal.append(id, first.epoch, 2, [{ type: 'C' }]);
        await journal.saveSnapshot(id, first.epoch, 2, { seen: 2 });
        await journal.saveSnapshot(id, first.epoch, 1, { seen: 1 });
        const again = await journal.recover(id);
        expect(again).toMatchObject({ epoch: 2, snapshot: { seq: 2, state: { seen: 2 } }, lastSeq: 3 });
        expect(again.events).toMatchObject([{ seq: 3, event: { type: 'C' } }]);
        expect(Math.abs((again.events[0]?.atMs ?? 0) - Date.now())).toBeLessThan(60_000);
        expect((await journal.read(id)).map(({ seq }) => seq)).toEqual([1, 2, 3]);
        expect((await journal.read(id, 1)).map(({ seq }) => seq)).toEqual([2, 3]);
        expect((await journal.pick(id, [3, 1, 9, 3])).map(({ seq }) => seq)).toEqual([3, 1, 3]);
        expect(await journal.peek(id)).toMatchObject({ snapshot: { seq: 2 }, lastSeq: 3 });
        expect(await journal.peek(persistenceId('none'))).toEqual({ snapshot: null, events: [], lastSeq: 0 });
        expect((await journal.recover(id)).epoch).toBe(3);
      }));

    it('lists ids by prefix, in order', () =>
      useStore(async ({ journal }) => {
        for (const id of ['b', 'a/2', 'a/10', 'a%', 'A/1', 'a/é', 'a/😀', 'a/\uffff']) {
          const { epoch } = await journal.recover(persistenceId(id));
          await journal.append(persistenceId(id), epoch, 0, [{ type: 'A' }]);
        }
        expect((await journal.list('a/')).map(({ id }) => id)).toEqual([
          'a/10',
          'a/2',
          'a/é',
          'a/\uffff',
          'a/😀',
        ]);
        expect(await journal.list('a%')).toEqual([{ id: 'a%', lastSeq: 1 }]);
        expect(await journal.list('_')).toEqual([]);
      }));

    it('I2: refuses a stale epoch and a position that is taken or leaves a gap', () =>
      useStore(async ({ journal }) => {
        const id = persistenceId('fenced');
        const old = await journal.recover(id);
        const current = await journal.recover(id);
        await expect(journal.append(id, old.epoch, 0, [{ type: 'Old' }])).rejects.toEqual(stale);
        await expect(journal.saveSnapshot(id, old.epoch, 0, {})).rejects.toEqual(stale);
        await journal.append(id, current.epoch, 0, [{ type: 'A' }, { type: 'B' }]);
        await expect(journal.append(id, current.epoch, 1, [{ type: 'Taken' }])).rejects.toEqual(stale);
        // An append of nothing only asks.
        await expect(journal.append(id, old.epoch, 2, [])).rejects.toEqual(stale);
        await expect(journal.append(id, current.epoch, 1, [])).rejects.toEqual(stale);
        await journal.append(id, current.epoch, 2, []);
        await expect(journal.append(id, current.epoch, 3, [{ type: 'Gap' }])).rejects.toEqual(stale);
        await expect(
          journal.append(persistenceId('never held'), epoch(1), 0, [{ type: 'A' }]),
        ).rejects.toEqual(stale);
        expect((await journal.read(id)).map(({ event }) => event)).toEqual([{ type: 'A' }, { type: 'B' }]);
      }));

    it('I2: whoever comes back takes the hold only from itself', () =>
      useStore(async ({ journal }) => {
        const id = persistenceId('restarted');
        const first = await journal.recover(id);
        await journal.append(id, first.epoch, 0, [{ type: 'A' }]);
        const restarted = await journal.recover(id, { ifEpoch: first.epoch });
        expect(restarted).toMatchObject({ epoch: first.epoch + 1, lastSeq: 1 });
        const other = await journal.recover(id);
        await expect(journal.recover(id, { ifEpoch: restarted.epoch })).rejects.toEqual(stale);
        await journal.append(id, other.epoch, 1, [{ type: 'B' }]);
      }));

    it('I2: with two holders at once there is never a gap, never two writers, never half an append', () =>
      useStore(async (store) => {
        let n = 0;
        const step = fc.constantFrom('recover 0', 'recover 1', 'append 0', 'append 1', 'both');
        const property = fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
          n += 1;
          await twoHolders(store, persistenceId(`race/${n}`), steps);
        });
        await fc.assert(property, { numRuns: 25 });
      }));

    it('carries many appends at once, each for itself', () =>
      useStore(async ({ journal }) => {
        const ids = Array.from({ length: 200 }, (_, i) => persistenceId(`many/${i}`));
        const held = await Promise.all(ids.map((id) => journal.recover(id)));
        const results = await Promise.allSettled(
          ids.flatMap((id, i) => {
            const current = held[i]?.epoch ?? epoch(0);
            // Every third one is stale; each id also asks for its next append before the first is done.
            const used = i % 3 === 0 ? epoch(current - 1) : current;
            return [
              journal.append(id, used, 0, [{ type: 'First', i }]),
              journal.append(id, used, 1, [{ type: 'Second' }, { type: 'Third' }]),
            ];
          }),
        );
        const written = results.map(({ status }) => status === 'fulfilled');
        expect(written).toEqual(ids.flatMap((_, i) => [i % 3 !== 0, i % 3 !== 0]));
        const last = await journal.list('many/');
        expect(new Map(last.map(({ id, lastSeq }) => [id, lastSeq]))).toEqual(
          new Map(ids.map((id, i) => [id, i % 3 === 0 ? 0 : 3])),
        );
      }));

    it('A6: keeps every string as it was', () =>
      useStore(async ({ journal }) => {
        const id = persistenceId('odd');
        const { epoch } = await journal.recover(id);
        await journal.append(
          id,
          epoch,
          0,
          ODD_STRINGS.map((text) => ({ type: 'Said', text, [text.slice(0, 20)]: 1 })),
        );
        await journal.saveSnapshot(id, epoch, 1, ODD_STRINGS);
        const events = await journal.read(id);
        expect(events.map(({ event }) => (event as { text: string }).text)).toEqual(ODD_STRINGS);
        expect((await journal.peek(id)).snapshot?.state).toEqual(ODD_STRINGS);
        const any = persistenceId('any');
        const utf16 = fc.string({
          unit: fc.integer({ min: 0, max: 0xffff }).map((code) => String.fromCharCode(code)),
        });
        const held = await journal.recover(any);
        let seq = 0;
        const property = fc.asyncProperty(fc.string({ unit: 'binary' }), utf16, async (a, b) => {
          await journal.append(any, held.epoch, seq, [{ type: 'Said', a, b }]);
          seq += 1;
          expect((await journal.pick(any, [seq]))[0]?.event).toEqual({ type: 'Said', a, b });
        });
        await fc.assert(property, { numRuns: 50 });
      }));

    it('sums what was paid for, by role, endpoint and model', () =>
      useStore(async (store) => {
        const answer = (model: string, promptTokens: number): unknown => ({
          content: 'x',
          usage: { promptTokens, cachedTokens: 1, completionTokens: 2 },
          endpoint: 'main',
          model,
          latencyMs: 10.4,
          rehearsal: false,
        });
        const id = persistenceId(`${runPrefix(RUN)}0/0`);
        const { epoch } = await store.journal.recover(id);
        await store.journal.append(id, epoch, 0, [
          { type: 'ModelAnswered', purpose: 'question', answer: answer('m', 5) },
          { type: 'AnswerGiven', answer: { text: 'no paid one' } },
          { type: 'ModelAnswered', purpose: 'verdict', answer: answer('j', 1) },
          { type: 'ModelAnswered', purpose: 'conversation_verdict', answer: answer('j', 2) },
        ]);
        const other = persistenceId(`${runPrefix(runId('run2'))}0/0`);
        const held = await store.journal.recover(other);
        await store.journal.append(other, held.epoch, 0, [
          { type: 'ModelAnswered', role: 'user', answer: answer('m', 9) },
        ]);
        const common = { endpoint: 'main', rehearsal: false };
        expect(await store.callTotals(RUN)).toEqual([
          {
            ...common,
            role: 'user',
            model: 'm',
            calls: 1,
            promptTokens: 5,
            cachedTokens: 1,
            completionTokens: 2,
            latencyMs: 10,
          },
          {
            ...common,
            role: 'judge',
            model: 'j',
            calls: 2,
            promptTokens: 3,
            cachedTokens: 2,
            completionTokens: 4,
            latencyMs: 20,
          },
        ]);
      }));
  });

  describe('commits', () => {
    it('I3: writes a conversation with its keys and ledger, once', () =>
      useStore(async (store) => {
        const lease = await startRun(store);
        expect(await store.commit(committing(lease, 0, ['q0', 'q1']))).toEqual({
          type: 'committed',
          commitSeq: 1,
        });
        expect(await store.commit(committing(lease, 0, ['q0', 'q1']))).toEqual({
          type: 'committed',
          commitSeq: 1,
        });
        expect(await store.commit(dropping(lease, 1, 'dedup_exhausted'))).toEqual({
          type: 'committed',
          commitSeq: 2,
        });
        expect(await store.commit(dropping(lease, 2, 'odd \0 \ud800'))).toEqual({
          type: 'committed',
          commitSeq: 3,
        });
        const all = await collect(store.committed(DATASET, 0));
        expect(all.map(({ commitSeq, status, reason }) => [commitSeq, status, reason])).toEqual([
          [1, 'committed', null],
          [2, 'dropped', 'dedup_exhausted'],
          [3, 'dropped', 'odd \0 \ud800'],
        ]);
        expect(all[0]).toMatchObject({
          payload: { index: 0 },
          ledger: [ledgerEntry('q0'), ledgerEntry('q1')],
        });
        expect(await store.runCounts(RUN)).toEqual([
          {
            languageIndex: 0,
            committed: 1,
            dropped: 2,
            consecutiveDrops: 2,
            nextIndex: 3,
            turns: 2,
            dropReasons: { dedup_exhausted: 1, 'odd \0 \ud800': 1 },
          },
        ]);
        expect(await collect(store.committed(DATASET, 2))).toHaveLength(1);
        expect(await collect(store.committed(DATASET, 0, { runId: runId('other') }))).toEqual([]);
      }));

    it('finds a conversation by its id, dropped ones too', () =>
      useStore(async (store) => {
        const lease = await startRun(store);
        await store.commit(committing(lease, 0, ['q0', 'q1']));
        await store.commit(dropping(lease, 1, 'dedup_exhausted'));
        const all = await collect(store.committed(DATASET, 0));
        for (const conversation of all)
          expect(await store.findConversations(conversation.conversationId)).toEqual([
            { ...conversation, datasetId: DATASET },
          ]);
        for (const odd of ODD_STRINGS) expect(await store.findConversations(`${odd}?`)).toEqual([]);
      }));

    it('I4: refuses a question that the dataset has, and writes nothing then', () =>
      useStore(async (store) => {
        const lease = await startRun(store);
        await store.commit(committing(lease, 0, ['q0']));
        const refused = await store.commit(committing(lease, 1, ['q1', 'q0']));
        expect(refused).toEqual({ type: 'duplicate', keys: [hex('q0')] });
        expect(await store.knownQuestions(DATASET, [hex('q0'), hex('q1')])).toEqual(new Set([hex('q0')]));
        expect(await store.commit(committing(lease, 1, ['q1']))).toEqual({ type: 'committed', commitSeq: 2 });
        const [counts] = await store.runCounts(RUN);
        expect(counts).toMatchObject({ committed: 2, turns: 2, nextIndex: 2, consecutiveDrops: 0 });
      }));

    it('I4: of conversations with the same question that commit at once exactly one wins', () =>
      useStore(async (store) => {
        const lease = await startRun(store);
        const results = await Promise.all(
          Array.from({ length: 12 }, (_, i) => store.commit(committing(lease, i, [`own ${i}`, 'shared']))),
        );
        expect(results.filter(({ type }) => type === 'committed')).toEqual([
          { type: 'committed', commitSeq: 1 },
        ]);
        expect(await collect(store.committed(DATASET, 0))).toHaveLength(1);
      }));

    it('I3: the same commit asked for many times at once is written once', () =>
      useStore(async (store) => {
        const lease = await startRun(store);
        const results = await Promise.all(
          Array.from({ length: 8 }, () => store.commit(committing(lease, 0, ['q']))),
        );
        expect(new Set(results.map((result) => JSON.stringify(result)))).toEqual(
          new Set([JSON.stringify({ type: 'committed', commitSeq: 1 })]),
        );
        expect((await store.runCounts(RUN))[0]?.committed).toBe(1);
      }));

    it('I3: commit numbers have no gap, whatever is committed, refused and repeated', () =>
      useStore(async (store) => {
        const lease = await startRun(store);
        let base = 0;
        const questions = fc.uniqueArray(fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'), {
          maxLength: 3,
        });
        await fc.assert(
          fc.asyncProperty(fc.array(fc.tuple(fc.nat(5), questions), { maxLength: 6 }), async (commits) => {
            base += 10;
            await Promise.all(
              commits.map(([index, asked]) => store.commit(committing(lease, base + index, asked))),
            );
            const all = await collect(store.committed(DATASET, 0));
            expect(all.map(({ commitSeq }) => commitSeq)).toEqual(all.map((_, i) => i + 1));
            const keys = all.flatMap(({ ledger }) => ledger.map(({ question }) => question));
            expect(new Set(keys).size).toBe(keys.length);
          }),
          { numRuns: 15 },
        );
      }));

    it('I2: a lease that has moved on commits nothing', () =>
      useStore(async (store) => {
        const old = await startRun(store);
        const current = await grant(store, 'run', holder(2));
        await expect(store.commit(committing(old, 0, ['q']))).rejects.toEqual(stale);
        await expect(store.setRunStatus(RUN, old, 'failed', null)).rejects.toEqual(stale);
        await expect(store.replaceRunSettings(RUN, old, {}, {})).rejects.toEqual(stale);
        expect(await collect(store.committed(DATASET, 0))).toEqual([]);
        await store.releaseLease(current);
        await expect(store.commit(committing(current, 0, ['q']))).rejects.toEqual(stale);
      }));

    it('reads more conversations than a page has, also while more are committed', () =>
      useStore(async (store) => {
        const lease = await startRun(store);
        for (let i = 0; i < 150; i += 1) await store.commit(committing(lease, i, [`q${i}`]));
        const seen: number[] = [];
        for await (const { commitSeq, ledger } of store.committed(DATASET, 10, { runId: RUN })) {
          seen.push(commitSeq);
          expect(ledger).toHaveLength(1);
        }
        expect(seen).toEqual(Array.from({ length: 140 }, (_, i) => i + 11));
      }));

    it('B2: the next index is the smallest that is not settled', () =>
      useStore(async (store) => {
        const lease = await startRun(store);
        await store.commit(committing(lease, 1, ['q1']));
        expect((await store.runCounts(RUN))[0]?.nextIndex).toBe(0);
        await store.commit(committing(lease, 0, ['q0']));
        await store.commit(committing(lease, 3, ['q3']));
        expect((await store.runCounts(RUN))[0]?.nextIndex).toBe(2);
      }));
  });

  describe('datasets and runs', () => {
    it('remembers a dataset by its id, and finds it by its folder', () =>
      useStore(async (store) => {
        expect(await store.findDataset('/out')).toBeNull();
        const made = { id: DATASET, outputDir: '/out', runCount: 0, adopted: false };
        expect(await store.openDataset(DATASET, '/out')).toEqual(made);
        expect(await store.openDataset(DATASET, '/moved')).toEqual({ ...made, outputDir: '/moved' });
        expect(await store.findDataset('/out')).toBeNull();
        const second = datasetId('second');
        await store.openDataset(second, '/moved');
        expect((await store.findDataset('/moved'))?.id).toBe(second);
      }));

    it('C3: takes over old questions once, and remembers all of them', () =>
      useStore(async (store) => {
        const lease = await startRun(store);
        const entries = Array.from({ length: 2_500 }, (_, i) => ({
          ...ledgerEntry(`old ${i}`, `p${i % 3}`),
          seedQuestionHash: i === 0 ? 'seed' : '',
          key: hex(`old ${i}`),
          line: i === 1 ? null : `{"n":${i},"s":"\u2028"}`,
        }));
        await store.adopt(DATASET, [...entries, { ...entries[0]!, line: null }]);
        await store.adopt(DATASET, [{ ...ledgerEntry('late'), key: hex('late'), line: 'late' }]);
        expect((await store.openDataset(DATASET, '/data/out')).adopted).toBe(true);
        expect(await collect(store.adoptedLines(DATASET))).toEqual(
          entries.flatMap(({ line }) => (line === null ? [] : [line])),
        );
        expect(await store.commit(committing(lease, 0, ['old 7']))).toMatchObject({ type: 'duplicate' });
        await store.commit(committing(lease, 0, ['new']));
        const memory = await store.memory(DATASET, 3);
        expect(memory.recentQuestions).toEqual(['old 2499', 'old 0', 'new']);
        expect(memory.seedUses).toEqual([{ seedQuestionHash: 'seed', uses: 2 }]);
        expect(memory.passageUses).toEqual([
          { language: null, passageId: 'p0', source: 'a.md', uses: 835 },
          { language: null, passageId: 'p1', source: 'a.md', uses: 833 },
          { language: null, passageId: 'p2', source: 'a.md', uses: 833 },
          { language: 'en', passageId: 'p1', source: 'a.md', uses: 1 },
        ]);
      }));

    it('B8: an adopted question without a key covers its passage, but can still be asked', () =>
      useStore(async (store) => {
        const lease = await startRun(store);
        await store.adopt(DATASET, [{ ...ledgerEntry('open', 'p1'), key: null, line: 'open' }]);
        expect(await store.knownQuestions(DATASET, [hex('open')])).toEqual(new Set());
        expect(await store.commit(committing(lease, 0, ['open']))).toMatchObject({ type: 'committed' });
        expect(await collect(store.adoptedLines(DATASET))).toEqual(['open']);
        expect((await store.memory(DATASET, 3)).passageUses).toContainEqual({
          language: null,
          passageId: 'p1',
          source: 'a.md',
          uses: 1,
        });
      }));

    it('creates a run once, counts it in its dataset, and keeps what it was given', () =>
      useStore(async (store) => {
        const lease = await startRun(store);
        const config = { text: ODD_STRINGS[4], list: [1, null], nested: { a: true } };
        const second = {
          id: runId('second'),
          datasetId: DATASET,
          config,
          fingerprint: { a: 'b' },
          plan: [1],
        };
        const created = await store.createRun(second);
        expect(created).toMatchObject({ ...second, ordinal: 1, status: 'running', error: null });
        expect(await store.getRun(runId('second'))).toEqual(created);
        await expect(store.createRun(second)).rejects.toMatchObject({ code: 'resume' });
        expect((await store.openDataset(DATASET, '/data/out')).runCount).toBe(2);
        expect((await store.listRuns()).map(({ id }) => id)).toEqual(['second', 'run']);
        await store.setRunStatus(RUN, lease, 'failed', 'because \0');
        await store.replaceRunSettings(RUN, lease, { n: 2 }, { c: 'd' });
        expect(await store.getRun(RUN)).toMatchObject({
          status: 'failed',
          error: 'because \0',
          config: { n: 2 },
          fingerprint: { c: 'd' },
        });
        expect(await store.getRun(runId('none'))).toBeNull();
        expect(await store.runCounts(runId('none'))).toEqual([]);
        await expect(store.setRunStatus(runId('none'), lease, 'failed', null)).rejects.toMatchObject({
          code: 'resume',
        });
      }));

    it('remembers what endpoints can do', () =>
      useStore(async ({ capabilities }) => {
        await capabilities.remember('http://a m', 'json_object');
        await capabilities.remember('http://a m', 'text');
        await capabilities.remember('http://b m', 'json_schema');
        expect(await capabilities.load()).toEqual(
          new Map([
            ['http://a m', 'text'],
            ['http://b m', 'json_schema'],
          ]),
        );
      }));
  });

  describe('leases', () => {
    it('refuses while the holder lives, naming it, and takes over from the dead', () =>
      useStore(async (store) => {
        const first = await store.acquireLease('run/x', holder(1), 1_000, () => true);
        expect(first).toEqual({ type: 'granted', lease: { name: 'run/x', epoch: 1 }, previous: null });
        expect(await store.acquireLease('run/x', holder(2), 1_000, () => true)).toEqual({
          type: 'held',
          holder: holder(1),
        });
        const taken = await store.acquireLease('run/x', holder(2), 1_000, ({ pid }) => pid !== 1);
        expect(taken).toEqual({ type: 'granted', lease: { name: 'run/x', epoch: 2 }, previous: holder(1) });
        await expect(store.renewLease({ name: 'run/x', epoch: epoch(1) })).rejects.toEqual(stale);
        await store.releaseLease({ name: 'run/x', epoch: epoch(1) });
        await store.renewLease({ name: 'run/x', epoch: epoch(2) });
        await store.releaseLease({ name: 'run/x', epoch: epoch(2) });
        await expect(store.renewLease({ name: 'run/x', epoch: epoch(2) })).rejects.toEqual(stale);
        const next = await store.acquireLease('run/x', holder(3), 1_000, () => true);
        expect(next).toEqual({ type: 'granted', lease: { name: 'run/x', epoch: 3 }, previous: null });
      }));

    it('tells who holds a lease without taking it', () =>
      useStore(async (store) => {
        const look = (alive: boolean) => store.leaseHolder('run/w', holder(2), 1_000, () => alive);
        expect(await look(true)).toBeNull();
        const lease = await grant(store, 'run/w', holder(1));
        expect(await look(true)).toEqual(holder(1));
        expect(await look(false)).toBeNull();
        await store.renewLease(lease);
        await store.releaseLease(lease);
        expect(await look(true)).toBeNull();
      }));

    it('judges a holder on another host by its silence', () =>
      useStore(async (store) => {
        await store.acquireLease('run/y', holder(1, 'elsewhere'), 1_000, () => false);
        const alive = (): boolean => {
          throw new Error('a process on another host cannot be looked at');
        };
        expect(await store.acquireLease('run/y', holder(2), 60_000, alive)).toMatchObject({ type: 'held' });
        await new Promise((resolve) => setTimeout(resolve, 5));
        expect(await store.acquireLease('run/y', holder(2), 1, alive)).toMatchObject({ type: 'granted' });
      }));

    it('grants to one of many who ask at once', () =>
      useStore(async (store) => {
        const asked = Array.from({ length: 8 }, (_, i) =>
          store.acquireLease('run/z', holder(i), 1_000, () => true),
        );
        const granted = (await Promise.all(asked)).filter(({ type }) => type === 'granted');
        expect(granted).toHaveLength(1);
      }));
  });
}

/** Two holders that recover and append as `steps` say; their appends of one step are under way together. */
async function twoHolders(
  store: Store,
  id: ReturnType<typeof persistenceId>,
  steps: readonly string[],
): Promise<void> {
  const { journal } = store;
  const held = [await journal.recover(id), await journal.recover(id)].map(({ epoch, lastSeq }) => ({
    epoch,
    lastSeq,
  }));
  const accepted: string[] = [];
  let n = 0;
  const append = async (who: number): Promise<void> => {
    const mine = held[who]!;
    n += 1;
    const names = [`${n}a`, `${n}b`];
    const events = names.map((name) => ({ type: 'Written', who, name }));
    try {
      await journal.append(id, mine.epoch, mine.lastSeq, events);
    } catch (error) {
      expect(error).toEqual(stale);
      return;
    }
    mine.lastSeq += 2;
    accepted.push(...names);
  };
  for (const step of steps) {
    const who = Number(step.at(-1));
    if (step === 'both') await Promise.all([append(0), append(1), append(1)]);
    else if (step.startsWith('append')) await append(who);
    else held[who] = await journal.recover(id);
  }
  const events = await journal.read(id);
  expect(events.map(({ seq }) => seq)).toEqual(events.map((_, i) => i + 1));
  expect(events.map(({ event }) => (event as { name: string }).name)).toEqual(accepted);
}
