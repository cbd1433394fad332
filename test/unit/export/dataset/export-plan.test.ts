import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type ExportFilter, planExport, splitCounts } from '../../../../src/export/dataset/export-plan.ts';
import { sanitiseRow } from '../../../../src/export/dataset/sanitise.ts';
import type { SourceRow } from '../../../../src/export/dataset/source-rows.ts';

const ALL: ExportFilter = {
  minScore: null,
  keepUnjudged: false,
  languages: [],
  turnsMin: null,
  turnsMax: null,
};

const sourceOf = (rows: readonly object[]) => ({
  rows: async function* (): AsyncGenerator<SourceRow> {
    for (const [position, known] of rows.entries())
      yield { ...sanitiseRow({ known, unknown: {} }), position };
  },
});

const conversation = (id: string, language = 'en', judge: object = {}, turns = 1): object => ({
  messages: [{ role: 'user', content: 'q' }],
  metadata: { conversation_id: id, language, n_turns: turns },
  judge,
});

const planOf = (rows: readonly object[], sizes = { validation: 0, test: 0 }, filter = ALL, seed = 0) =>
  planExport(sourceOf(rows), filter, sizes, seed);

describe('splits', () => {
  test('each is its exact share by the largest remainder; what is left goes to train first', () => {
    expect(splitCounts(10, { validation: 0.1, test: 0.1 })).toEqual({ train: 8, validation: 1, test: 1 });
    expect(splitCounts(7, { validation: 0.25, test: 0.25 })).toEqual({ train: 3, validation: 2, test: 2 });
    expect(splitCounts(1, { validation: 0.1, test: 0.1 })).toEqual({ train: 1, validation: 0, test: 0 });
    expect(splitCounts(30, { validation: 0.1, test: 0.2 })).toEqual({ train: 21, validation: 3, test: 6 });
    expect(splitCounts(0, { validation: 0.1, test: 0.1 })).toEqual({ train: 0, validation: 0, test: 0 });
  });

  test('every conversation is in one, each language has its share, whatever order they come in', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(fc.tuple(fc.nat(500), fc.constantFrom('en', 'fr', 'ar')), {
          selector: ([id]) => id,
          maxLength: 60,
        }),
        fc.integer({ min: 0, max: 40 }),
        fc.integer({ min: 0, max: 40 }),
        fc.nat(5),
        async (facts, validation, test, seed) => {
          const sizes = { validation: validation / 100, test: test / 100 };
          const splitsOf = async (list: typeof facts) => {
            const plan = await planOf(
              list.map(([id, language]) => conversation(`c${id}`, language)),
              sizes,
              ALL,
              seed,
            );
            return new Map(list.map(([id], position) => [id, plan.splitOf(position)]));
          };
          const splits = await splitsOf(facts);
          expect(new Map([...(await splitsOf(facts.toReversed()))].toReversed())).toEqual(splits);
          for (const language of ['en', 'fr', 'ar']) {
            const own = facts.filter(([, other]) => other === language).map(([id]) => splits.get(id));
            const wanted = splitCounts(own.length, sizes);
            for (const split of ['train', 'validation', 'test'] as const)
              expect(own.filter((other) => other === split)).toHaveLength(wanted[split]);
          }
        },
      ),
      { numRuns: 60 },
    );
  });

  test('another seed gives another division', async () => {
    const rows = Array.from({ length: 40 }, (_, i) => conversation(`c${i}`));
    const sizes = { validation: 0.25, test: 0.25 };
    const [one, again, other] = [
      await planOf(rows, sizes, ALL, 1),
      await planOf(rows, sizes, ALL, 1),
      await planOf(rows, sizes, ALL, 2),
    ];
    const all = (plan: typeof one) => rows.map((_, position) => plan.splitOf(position));
    expect(all(again)).toEqual(all(one));
    expect(all(other)).not.toEqual(all(one));
    expect([...one.splits]).toEqual([
      ['train', 20],
      ['validation', 10],
      ['test', 10],
    ]);
  });

  test('conversations with one id are told apart by their position', async () => {
    const plan = await planOf(
      Array.from({ length: 10 }, () => conversation('')),
      { validation: 0, test: 0.5 },
    );
    expect(
      Array.from({ length: 10 }, (_, position) => plan.splitOf(position)).filter((split) => split === 'test'),
    ).toHaveLength(5);
  });
});

describe('filters', () => {
  const rows = [
    conversation('high', 'en', { avg_score: 8, conversation: { score: 1 } }),
    conversation('low', 'fr', { avg_score: 3 }, 4),
    conversation('whole', 'fr', { conversation: { score: 9 } }),
    conversation('none', 'ar', {}, 2),
  ];
  const kept = async (filter: Partial<ExportFilter>) => {
    const plan = await planOf(rows, undefined, { ...ALL, ...filter });
    const ids = ['high', 'low', 'whole', 'none'].filter((_, position) => plan.splitOf(position) !== null);
    return { ids, leftOut: plan.leftOut };
  };

  test('by score: the mean of the turns, else that of the conversation; without one only when asked for', async () => {
    expect(await kept({ minScore: 5 })).toEqual({
      ids: ['high', 'whole'],
      leftOut: { language: 0, turns: 0, score: 1, unjudged: 1 },
    });
    expect((await kept({ minScore: 5, keepUnjudged: true })).ids).toEqual(['high', 'whole', 'none']);
    expect((await kept({ minScore: 8 })).ids).toContain('high');
  });

  test('by language and turns', async () => {
    expect((await kept({ languages: ['FR', ' ar '] })).ids).toEqual(['low', 'whole', 'none']);
    expect((await kept({ turnsMin: 2 })).ids).toEqual(['low', 'none']);
    expect((await kept({ turnsMax: 2, turnsMin: 2 })).ids).toEqual(['none']);
    expect((await kept({})).ids).toHaveLength(4);
  });

  test('facts are of what is kept', async () => {
    const plan = await planOf(
      [
        { ...conversation('a'), judge: undefined },
        { ...conversation('b', 'fr'), metadata: { language: 'fr', rehearsal: true } },
      ],
      undefined,
      { ...ALL, languages: ['en'] },
    );
    expect(plan).toMatchObject({ records: 1, sourceRows: 2, hasJudge: false, rehearsal: false });
    expect([...plan.languages]).toEqual([['en', 1]]);
  });
});
