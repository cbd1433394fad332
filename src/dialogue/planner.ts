/**
 * The plan of a run: turn counts, personas, seeds and passages of every conversation, each a function
 * of (seed, ordinal, language, index, turn, attempt) and of the ledger as it stood at the start (I5).
 *
 * Owns nothing but caches. Seeds and passages are dealt from one sequence per language; where a turn
 * stands in it is the number of dealt turns before it, which a cache of prefix counts gives quickly.
 */
import { below, type RandomKey, uniform } from '../kernel/random.ts';
import { createDealOrder, type DealGroup } from './deal.ts';
import { drawFromDeck, type QuestionMode, sampleQuestionMode, sampleTurnCount } from './sampling.ts';
import { conversationIdOf, type DialogueSettings, OFFERED_PASSAGES, type PersonaText } from './settings.ts';

export interface ConversationPlan {
  readonly conversationId: string;
  readonly turnCount: number;
  readonly userPersona: PersonaText;
  readonly assistantPersona: PersonaText;
}

export interface SeedDraw {
  readonly topic: string;
  readonly question: string;
}

/** What is decided about a question before anything is known of the conversation. */
export interface TurnPlan {
  readonly mode: QuestionMode;
  readonly seed: SeedDraw | null;
  /** Passage to ask about first; null when the mode takes its evidence from a search. */
  readonly focus: string | null;
  /** Passages that fill up the offer, best first. */
  readonly fill: readonly string[];
}

export interface LanguageSources {
  /** Topics and their questions, with earlier uses. */
  readonly seeds: readonly DealGroup[];
  /** Documents and their passages, with earlier uses in this language. */
  readonly documents: readonly DealGroup[];
}

export interface Planner {
  conversation(languageIndex: number, index: number): ConversationPlan;
  /** `avoid`: documents of the questions that were rejected in this turn. */
  turn(
    languageIndex: number,
    index: number,
    turn: number,
    attempt: number,
    avoid: ReadonlySet<string>,
  ): TurnPlan;
  sourceOf(passageId: string): string | null;
}

interface PrefixCounts {
  readonly dealt: number;
  readonly seeded: number;
}

/** Conversations whose prefix counts are computed and kept together. */
const BLOCK = 64;
const CACHED_BLOCKS = 32;
const NO_PERSONA: PersonaText = { id: '', text: '' };

export function createPlanner(settings: DialogueSettings, sources: readonly LanguageSources[]): Planner {
  const root: RandomKey = ['dlgforge', settings.seed, settings.ordinal, settings.question];
  const languages = sources.map((source, languageIndex) =>
    createLanguagePlan(settings, source, [...root, languageIndex]),
  );
  const sourceByPassage = new Map<string, string>();
  for (const group of sources[0]?.documents ?? [])
    for (const item of group.items) sourceByPassage.set(item.id, group.id);

  const at = (languageIndex: number): LanguagePlan => {
    const plan = languages[languageIndex];
    if (plan === undefined) throw new RangeError(`no language ${languageIndex} in this run`);
    return plan;
  };
  return {
    conversation(languageIndex, index) {
      const rank = index * settings.languages.length + languageIndex;
      return {
        conversationId: conversationIdOf(settings, languageIndex, index),
        turnCount: at(languageIndex).turnCount(index),
        userPersona: drawFromDeck([...root, 'user-persona'], settings.userPersonas, rank) ?? NO_PERSONA,
        assistantPersona:
          drawFromDeck([...root, 'assistant-persona'], settings.assistantPersonas, rank) ?? NO_PERSONA,
      };
    },
    turn: (languageIndex, index, turn, attempt, avoid) => at(languageIndex).turn(index, turn, attempt, avoid),
    sourceOf: (passageId) => sourceByPassage.get(passageId) ?? null,
  };
}

interface LanguagePlan {
  turnCount(index: number): number;
  turn(index: number, turn: number, attempt: number, avoid: ReadonlySet<string>): TurnPlan;
}

function createLanguagePlan(
  settings: DialogueSettings,
  source: LanguageSources,
  root: RandomKey,
): LanguagePlan {
  const passages = createDealOrder([...root, 'passages'], source.documents);
  const seeds = createDealOrder([...root, 'seeds'], source.seeds);
  const seedCount = source.seeds.reduce((sum, group) => sum + group.items.length, 0);
  const passageCount = source.documents.reduce((sum, group) => sum + group.items.length, 0);

  const keyOf = (index: number, turn: number, attempt = 0): RandomKey => [...root, index, turn, attempt];
  const turnCount = (index: number): number => sampleTurnCount([...root, index], settings.turns);
  const drawsSeed = (index: number): boolean =>
    settings.question === '' &&
    seedCount > 0 &&
    uniform([...root, index, 'seed-roll']) < settings.seedProbability;
  const isFree = (key: RandomKey): boolean =>
    settings.coverage.mode === 'off' || uniform([...key, 'free-choice']) < settings.coverage.epsilon;

  /** The mode of a first attempt. */
  const modeOf = (index: number, turn: number): QuestionMode => {
    if (turn > 1) return sampleQuestionMode(keyOf(index, turn), turn);
    return settings.question !== '' || drawsSeed(index) ? 'seeded' : 'fresh';
  };
  const isDealt = (index: number, turn: number): boolean => {
    const mode = modeOf(index, turn);
    return (mode === 'fresh' || mode === 'off_topic') && !isFree(keyOf(index, turn));
  };

  const counts = createPrefixCounts((index) => {
    let dealt = 0;
    for (let turn = 1; turn <= turnCount(index); turn += 1) if (isDealt(index, turn)) dealt += 1;
    return { dealt, seeded: drawsSeed(index) ? 1 : 0 };
  });

  const dealtPosition = (index: number, turn: number): number => {
    let position = counts(index).dealt;
    for (let earlier = 1; earlier < turn; earlier += 1) if (isDealt(index, earlier)) position += 1;
    return position;
  };

  /** A passage for a turn that is not in the dealt sequence; documents to avoid are passed over if others exist. */
  const freePassage = (key: RandomKey, avoid: ReadonlySet<string>): string | null => {
    for (let draw = 0; draw < 16; draw += 1) {
      const choice = passages.at(below([...key, 'free-passage', draw], passageCount));
      if (choice !== null && !avoid.has(choice.group)) return choice.item;
    }
    return passages.at(below([...key, 'free-passage'], passageCount))?.item ?? null;
  };

  /** Further passages: the ones that are next to be dealt are the least used ones. */
  const fillFrom = (key: RandomKey, position: number, focus: string | null): string[] => {
    const share =
      settings.coverage.mode === 'off' ? 1 : Math.min(1, Math.max(0.05, settings.coverage.fraction));
    const pool = Math.max(OFFERED_PASSAGES, Math.floor(passageCount * share));
    const chosen = new Set<string>();
    for (let draw = 0; draw < 4 * OFFERED_PASSAGES && chosen.size < OFFERED_PASSAGES; draw += 1) {
      const choice = passages.at(position + 1 + below([...key, 'fill', draw], pool));
      if (choice !== null && choice.item !== focus) chosen.add(choice.item);
    }
    return [...chosen];
  };

  const seedFor = (index: number): SeedDraw | null => {
    if (settings.question !== '') return { topic: '', question: settings.question };
    if (!drawsSeed(index)) return null;
    const choice = seeds.at(counts(index).seeded);
    return choice === null ? null : { topic: choice.group, question: choice.item };
  };

  return {
    turnCount,
    turn(index, turn, attempt, avoid) {
      const key = keyOf(index, turn, attempt);
      const mode = attempt > 0 ? 'fresh' : modeOf(index, turn);
      const position = passageCount === 0 ? 0 : dealtPosition(index, turn);
      if (mode === 'followup' || mode === 'adjacent' || mode === 'seeded') {
        const seed = mode === 'seeded' ? seedFor(index) : null;
        return { mode, seed, focus: null, fill: fillFrom(key, position, null) };
      }
      const dealt = attempt === 0 && isDealt(index, turn);
      const focus = dealt ? (passages.at(position)?.item ?? null) : freePassage(key, avoid);
      return { mode, seed: null, focus, fill: fillFrom(key, position, focus) };
    },
  };
}

/** Sums of `countsOf` over all indexes below one, computed in blocks that are remembered. */
function createPrefixCounts(countsOf: (index: number) => PrefixCounts): (index: number) => PrefixCounts {
  const blockStarts: PrefixCounts[] = [{ dealt: 0, seeded: 0 }];
  const blocks = new Map<number, PrefixCounts[]>();

  const blockAt = (block: number): PrefixCounts[] => {
    const known = blocks.get(block);
    if (known !== undefined) return known;
    let running = blockStarts[block] as PrefixCounts;
    const sums: PrefixCounts[] = [];
    for (let offset = 0; offset < BLOCK; offset += 1) {
      sums.push(running);
      const own = countsOf(block * BLOCK + offset);
      running = { dealt: running.dealt + own.dealt, seeded: running.seeded + own.seeded };
    }
    blockStarts[block + 1] = running;
    blocks.set(block, sums);
    if (blocks.size > CACHED_BLOCKS) blocks.delete(blocks.keys().next().value as number);
    return sums;
  };

  return (index) => {
    const block = Math.floor(index / BLOCK);
    for (let earlier = blockStarts.length - 1; earlier < block; earlier += 1) blockAt(earlier);
    return blockAt(block)[index % BLOCK] as PrefixCounts;
  };
}
