import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decide, type DialogueContext, effectsOf } from '../../../src/dialogue/conversation.ts';
import { type ConversationState, initialConversation } from '../../../src/dialogue/conversation-state.ts';
import { evolve } from '../../../src/dialogue/evolve-conversation.ts';
import { coverageOf } from '../../../src/dialogue/evidence.ts';
import { createPlanner, type LanguageSources, type TurnPlan } from '../../../src/dialogue/planner.ts';
import { OFFERED_PASSAGES } from '../../../src/dialogue/settings.ts';
import { shuffled } from '../../../src/kernel/random.ts';
import { dialogueOf } from '../../support/dialogue-context.ts';
import { seaPassages } from '../../support/memory-retriever.ts';
import { answerOf, type Script } from '../../support/scripted-dialogue.ts';

const { settings } = dialogueOf({});
const personas = (prefix: string) =>
  Array.from({ length: 7 }, (_, i) => ({ id: `${prefix}${i}`, text: `${prefix} ${i}` }));
const rich = {
  ...settings,
  userPersonas: personas('u'),
  assistantPersonas: personas('a'),
  turns: { min: 1, max: 5, distribution: 'uniform' as const, mean: null },
};

const documents = (
  sizes: readonly number[],
  uses: (passage: number) => number = () => 0,
): LanguageSources['documents'] =>
  sizes.map((size, document) => ({
    id: `d${document}`,
    items: Array.from({ length: size }, (_, i) => ({
      id: `d${document}-${i}`,
      uses: uses(document * 100 + i),
    })),
  }));
const seedsOf = (
  sizes: readonly number[],
  uses: (question: string) => number = () => 0,
): LanguageSources['seeds'] =>
  sizes.map((size, topic) => ({
    id: `t${topic}`,
    items: Array.from({ length: size }, (_, i) => `Seed ${topic}.${i}?`).map((id) => ({
      id,
      uses: uses(id),
    })),
  }));
const sourcesFor = (documentSizes: readonly number[], seedSizes: readonly number[] = []): LanguageSources[] =>
  [0, 1].map(() => ({ documents: documents(documentSizes), seeds: seedsOf(seedSizes) }));

const NOTHING: ReadonlySet<string> = new Set();

test('a plan depends on its arguments and on nothing else: not on who asked what before, nor how often', () => {
  const call = fc.record({
    languageIndex: fc.nat({ max: 1 }),
    index: fc.nat({ max: 300 }),
    turn: fc.integer({ min: 1, max: 5 }),
    attempt: fc.nat({ max: 3 }),
    avoid: fc.subarray(['d0', 'd1', 'd2']),
  });
  fc.assert(
    fc.property(
      fc.array(call, { minLength: 1, maxLength: 30 }),
      fc.nat(),
      fc.nat({ max: 50 }),
      (calls, order, seed) => {
        const given = { ...rich, seed, seedProbability: 0.5 };
        const sources = sourcesFor([5, 9, 1], [3, 2]);
        const ask = (
          planner: ReturnType<typeof createPlanner>,
          { languageIndex, index, turn, attempt, avoid }: (typeof calls)[number],
        ) => [
          planner.conversation(languageIndex, index),
          planner.turn(languageIndex, index, turn, attempt, new Set(avoid)),
        ];
        const one = createPlanner(given, sources);
        const other = createPlanner(given, sources);
        const answers = new Map(calls.map((each) => [each, ask(one, each)]));
        for (const each of shuffled([order], calls)) expect(ask(other, each)).toEqual(answers.get(each));
      },
    ),
    { numRuns: 60 },
  );
});

test('C10: the same seed gives the same plan; another seed, or the next run of the dataset, gives another', () => {
  const sources = sourcesFor([8, 8, 8], [4]);
  const planOf = (changes: Partial<typeof rich>) => {
    const planner = createPlanner({ ...rich, seedProbability: 0.5, ...changes }, sources);
    return Array.from({ length: 30 }, (_, index) => [
      planner.conversation(0, index),
      ...[1, 2, 3].map((turn) => planner.turn(0, index, turn, 0, NOTHING)),
    ]);
  };
  expect(planOf({})).toEqual(planOf({}));
  expect(planOf({ seed: 8 })).not.toEqual(planOf({}));
  expect(planOf({ ordinal: 1 })).not.toEqual(planOf({}));
});

test('D8, D9: seeds and passages are gone through when a run is planned, not for each question', () => {
  let reads = 0;
  const counted = (groups: LanguageSources['seeds']): LanguageSources['seeds'] =>
    groups.map((group) => ({
      id: group.id,
      get items() {
        reads += 1;
        return group.items;
      },
    }));
  const sources = sourcesFor([50, 50, 50], [20]).map((source) => ({
    documents: counted(source.documents),
    seeds: counted(source.seeds),
  }));
  const planner = createPlanner({ ...rich, seedProbability: 0.5 }, sources);
  expect(reads).toBeGreaterThan(0);
  const whenPlanned = reads;
  for (let index = 0; index < 200; index += 1)
    for (const turn of [1, 2, 3]) planner.turn(index % 2, index, turn, 0, NOTHING);
  expect(reads).toBe(whenPlanned);
});

describe('seeds', () => {
  test('C7: no seed is drawn twice while another is unused, in whatever order conversations are opened', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 4 }),
        fc.nat(),
        fc.constantFrom(0.4, 1),
        (sizes, seed, seedProbability) => {
          const planner = createPlanner({ ...rich, seed, seedProbability }, sourcesFor([4, 4], sizes));
          const total = sizes.reduce((sum, size) => sum + size, 0);
          const indexes = Array.from({ length: 4 * total }, (_, index) => index);
          const drawn = new Map(
            shuffled([seed], indexes).map((index) => [
              index,
              planner.turn(0, index, 1, 0, NOTHING).seed?.question,
            ]),
          );
          const inOrder = indexes.flatMap((index) => drawn.get(index) ?? []);
          for (let start = 0; start + total <= inOrder.length; start += total) {
            expect(new Set(inOrder.slice(start, start + total)).size).toBe(total);
          }
          const counts = [...new Set(inOrder)].map(
            (question) => inOrder.filter((known) => known === question).length,
          );
          if (inOrder.length >= total)
            expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
        },
      ),
      { numRuns: 40 },
    );
  });

  test('C7: what earlier runs used is drawn last', () => {
    const used = new Set(['Seed 0.0?', 'Seed 1.1?']);
    const sources = [
      { documents: documents([4]), seeds: seedsOf([2, 3], (question) => (used.has(question) ? 1 : 0)) },
    ];
    const planner = createPlanner(
      { ...rich, languages: rich.languages.slice(0, 1), seedProbability: 1 },
      sources,
    );
    const drawn = [0, 1, 2, 3, 4].map((index) => planner.turn(0, index, 1, 0, NOTHING).seed?.question);
    expect(new Set(drawn.slice(0, 3))).toEqual(new Set(['Seed 0.1?', 'Seed 1.0?', 'Seed 1.2?']));
  });

  test('a seed opens a conversation, and only its first attempt', () => {
    const planner = createPlanner({ ...rich, seedProbability: 1 }, sourcesFor([4, 4], [3]));
    expect(planner.turn(0, 0, 1, 0, NOTHING)).toMatchObject({ mode: 'seeded' });
    expect(planner.turn(0, 0, 1, 1, NOTHING)).toMatchObject({ mode: 'fresh', seed: null });
    for (let turn = 2; turn < 6; turn += 1) expect(planner.turn(0, 0, turn, 0, NOTHING).seed).toBeNull();
  });
});

describe('coverage', () => {
  /** The passages that were dealt to the fresh questions of a language, in rank order. */
  const dealt = (
    planner: ReturnType<typeof createPlanner>,
    conversations: number,
    languageIndex = 0,
  ): string[] =>
    Array.from({ length: conversations }, (_, index) => index).flatMap((index) => {
      const { turnCount } = planner.conversation(languageIndex, index);
      return Array.from({ length: turnCount }, (_, turn) =>
        planner.turn(languageIndex, index, turn + 1, 0, NOTHING),
      ).flatMap((plan) => (plan.focus === null ? [] : [plan.focus]));
    });
  const strict = { ...rich, coverage: { ...rich.coverage, epsilon: 0 } };

  test('C4: within a run passages are used evenly, and documents by their size', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 5 }),
        fc.nat(),
        fc.integer({ min: 5, max: 60 }),
        (sizes, seed, conversations) => {
          const planner = createPlanner({ ...strict, seed }, sourcesFor(sizes));
          const focused = dealt(planner, conversations);
          const total = sizes.reduce((sum, size) => sum + size, 0);
          const uses = documents(sizes).flatMap((group) =>
            group.items.map(({ id }) => focused.filter((known) => known === id).length),
          );
          expect(Math.max(...uses) - Math.min(...uses)).toBeLessThanOrEqual(1);
          const inCycle = focused.length % total;
          for (const [document, size] of sizes.entries()) {
            const own = focused
              .slice(focused.length - inCycle)
              .filter((id) => id.startsWith(`d${document}-`)).length;
            expect(Math.abs(own - (inCycle * size) / total)).toBeLessThan(1);
          }
        },
      ),
      { numRuns: 40 },
    );
  });

  test('C3: what earlier runs used, however long ago, comes after what they did not', () => {
    const sources = [{ seeds: [], documents: documents([6, 6], (passage) => (passage % 2 === 0 ? 2 : 0)) }];
    const planner = createPlanner({ ...strict, languages: strict.languages.slice(0, 1) }, sources);
    const first = dealt(planner, 40).slice(0, 12);
    expect(first.every((id) => Number(id.slice(-1)) % 2 === 1)).toBe(true);
  });

  test('C2: what one language used says nothing about another', () => {
    const unused = { seeds: [], documents: documents([6, 6]) };
    const used = { seeds: [], documents: documents([6, 6], (passage) => passage % 5) };
    const alone = createPlanner(strict, [unused, unused]);
    const beside = createPlanner(strict, [used, unused]);
    expect(dealt(beside, 20, 1)).toEqual(dealt(alone, 20, 1));
    expect(dealt(beside, 20, 0)).not.toEqual(dealt(alone, 20, 0));
  });

  test('a second attempt looks elsewhere when there is an elsewhere', () => {
    const planner = createPlanner(strict, sourcesFor([5, 5]));
    for (let index = 0; index < 30; index += 1) {
      expect(planner.turn(0, index, 1, 1, new Set(['d0'])).focus).toMatch(/^d1-/);
      expect(planner.turn(0, index, 1, 1, new Set(['d0', 'd1'])).focus).toMatch(/^d/);
    }
  });
});

describe('evidence', () => {
  /** Every state in which evidence is asked for, with what was offered, in some conversations. */
  function gatherings(context: DialogueContext, script: Partial<Script>, conversations = 12) {
    const full: Script = { question: ({ key }, turn) => `Question ${key.index}.${turn}?`, ...script };
    const seen: {
      readonly state: ConversationState;
      readonly plan: TurnPlan;
      readonly query: string | null;
      readonly offered: readonly string[];
    }[] = [];
    for (let index = 0; index < conversations; index += 1) {
      let state = initialConversation({ runId: 'R', languageIndex: index % 2, index });
      let commands = decide(state, { type: 'StartConversation' }, context);
      for (
        state = commands.reduce(evolve, state);
        state.stage.type !== 'ready';
        state = commands.reduce(evolve, state)
      ) {
        const [effect] = effectsOf(state, context);
        if (effect === undefined) throw new Error(`nothing to do while ${state.stage.type}`);
        const command =
          effect.type === 'CheckQuestion'
            ? ({ type: 'TakeQuestionCheck', step: effect.step, finding: 'new' } as const)
            : answerOf(state, effect, full, []);
        if (
          effect.type === 'GatherEvidence' &&
          command.type === 'TakeEvidence' &&
          state.stage.type === 'gathering'
        ) {
          const plan = state.stage.attempts.at(-1)?.plan as TurnPlan;
          seen.push({
            state,
            plan,
            query: effect.evidence.query,
            offered: command.passages.map((passage) => passage.id),
          });
        }
        commands = decide(state, command, context);
      }
    }
    return seen;
  }

  test.each([1, 2, 3, 7, 40])(
    'C1: no question without evidence, with %i passages, also when searches find nothing',
    (count) => {
      const context = dialogueOf({
        passages: seaPassages().slice(0, count),
        settings: { judge: null, turns: { min: 6, max: 8, distribution: 'uniform', mean: null } },
      });
      const seen = gatherings(context, { hits: () => [] }, 30);
      expect(new Set(seen.map(({ plan }) => plan.mode)).size).toBeGreaterThanOrEqual(3);
      for (const { offered } of seen) expect(offered.length).toBeGreaterThanOrEqual(1);
      for (const { offered } of seen) expect(offered.length).toBeLessThanOrEqual(OFFERED_PASSAGES);
    },
  );

  test('C14: a follow-up is offered the passage under discussion first; an adjacent question is not offered it', () => {
    const seen = gatherings(
      dialogueOf({
        settings: { judge: null, turns: { min: 6, max: 8, distribution: 'uniform', mean: null } },
      }),
      {},
    );
    const modes = { followup: 0, adjacent: 0 };
    for (const { state, plan, offered } of seen) {
      const discussed = coverageOf(state.turns.at(-1)?.attempts.at(-1))?.id;
      if (plan.mode === 'followup') expect(offered[0]).toBe(discussed);
      if (plan.mode === 'adjacent') expect(offered).not.toContain(discussed);
      if (plan.mode === 'followup' || plan.mode === 'adjacent') modes[plan.mode] += 1;
    }
    expect(Math.min(modes.followup, modes.adjacent)).toBeGreaterThan(0);
  });

  test('C8: a drawn seed drives the search for its turn', () => {
    const given = dialogueOf({});
    const { documents: groups } = sourcesOf(given);
    const context = dialogueOf({
      sources: [0, 1].map(() => ({ seeds: seedsOf([4, 4]), documents: groups })),
      settings: { judge: null, seedProbability: 1 },
    });
    const queried: string[] = [];
    const seen = gatherings(context, {
      hits: (query) => {
        queried.push(query);
        return ['p-3-3', 'p-4-4'];
      },
    });
    const seeded = seen.filter(({ plan }) => plan.mode === 'seeded');
    expect(seeded.length).toBe(12);
    for (const { plan, query, offered } of seeded) {
      expect(query).toBe(plan.seed?.question);
      expect(queried).toContain(query);
      expect(offered.slice(0, 2)).toEqual(['p-3-3', 'p-4-4']);
    }
  });

  test('C9: a configured question opens every conversation, and still none is like another', () => {
    const context = dialogueOf({
      settings: {
        judge: null,
        question: 'When is high water?',
        turns: { min: 3, max: 6, distribution: 'uniform', mean: null },
      },
    });
    const seen = gatherings(context, {});
    const openings = seen.filter(({ state }) => state.turns.length === 0);
    expect(
      openings.every(({ plan, query }) => plan.mode === 'seeded' && query === 'When is high water?'),
    ).toBe(true);
    const inOneLanguage = openings.filter(({ state }) => state.key.languageIndex === 0);
    expect(new Set(inOneLanguage.map(({ offered }) => offered.join())).size).toBe(inOneLanguage.length);
    const course = (index: number): string =>
      seen
        .filter(({ state }) => state.key.index === index)
        .map(({ plan }) => `${plan.mode}${plan.fill.join()}`)
        .join(' ');
    expect(new Set(openings.map(({ state }) => course(state.key.index))).size).toBe(openings.length);
  });

  function sourcesOf(context: DialogueContext): { readonly documents: LanguageSources['documents'] } {
    const byDocument = Map.groupBy(seaPassages(), (passage) => passage.source);
    expect(context.planner.sourceOf('p-0-0')).toBe('tides.md');
    return {
      documents: [...byDocument].map(([id, passages]) => ({
        id,
        items: passages.map((passage) => ({ id: passage.id, uses: 0 })),
      })),
    };
  }
});
