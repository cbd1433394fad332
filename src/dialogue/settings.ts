/** What the dialogue rules need to know of a run. Made once by the bootstrap; plain data. */

export type TurnDistribution = 'uniform' | 'poisson' | 'exponential';

export interface TurnSettings {
  readonly min: number;
  readonly max: number;
  readonly distribution: TurnDistribution;
  /** Mean of the distribution before it is cut to [min, max]; null means the midpoint. */
  readonly mean: number | null;
}

export interface LanguageSettings {
  /** As configured; goes into prompts verbatim. */
  readonly name: string;
  /** Part of conversation ids; unique in a run even when two names would give the same one (B11). */
  readonly tag: string;
}

/** A persona as prompts show it, and its id for the records. */
export interface PersonaText {
  readonly id: string;
  readonly text: string;
}

export interface CoverageSettings {
  readonly mode: 'balanced' | 'off';
  /** Share of fresh questions whose document is drawn freely instead of dealt. */
  readonly epsilon: number;
  /** Share of the passages, least used first, that the further snippets of a fresh question come from. */
  readonly fraction: number;
  /** Further questions after a duplicate; attempts = value + 1. */
  readonly dedupRetries: number;
}

export interface DialogueSettings {
  readonly runId: string;
  /** Position of the run in its dataset: part of every random key, so that a second run asks anew. */
  readonly ordinal: number;
  readonly seed: number;
  readonly languages: readonly LanguageSettings[];
  readonly turns: TurnSettings;
  /** `run.data.seeding.question`: opens every conversation when it is not empty. */
  readonly question: string;
  /** Probability that a conversation opens with a seed question. */
  readonly seedProbability: number;
  readonly coverage: CoverageSettings;
  /** The latest questions of the ledger as it stood when the run began, oldest first. */
  readonly recentQuestions: readonly string[];
  readonly userPersonas: readonly PersonaText[];
  readonly assistantPersonas: readonly PersonaText[];
  readonly judge: {
    readonly granularity: 'turn' | 'conversation';
    readonly reasons: readonly string[];
    /** Id of the pass that the verdicts of the run belong to. */
    readonly pass?: string;
  } | null;
  /** Passages per search when the model does not say. */
  readonly topK: number;
  readonly webSearch: boolean;
  /** Tries for one step whose answers cannot be used; each try may be repaired once. */
  readonly maxAttempts: number;
}

/** Passages offered with a question. */
export const OFFERED_PASSAGES = 6;
/** Hits asked for when a question is grounded by a query. */
export const EVIDENCE_HITS = 12;
/** Rounds in which the assistant may call tools; after that it must answer. */
export const TOOL_ROUNDS_MAX = 8;
/** The most passages that one tool call gets, whatever it asks for (E14). */
export const TOOL_HITS_MAX = 20;
/** Tool calls taken from one answer; the others are left out. */
export const TOOL_CALLS_PER_ROUND_MAX = 8;

/** `<run>-<index>` or, with several languages, `<run>-<tag>-<index>`. */
export function conversationIdOf(settings: DialogueSettings, languageIndex: number, index: number): string {
  const number = String(index).padStart(4, '0');
  const tag = settings.languages[languageIndex]?.tag ?? '';
  return settings.languages.length > 1 ? `${settings.runId}-${tag}-${number}` : `${settings.runId}-${number}`;
}

/** 0.1.0's tag (lower case, everything but letters and digits becomes one `-`), made unique by a number. */
export function languageTags(names: readonly string[]): LanguageSettings[] {
  const taken = new Set<string>();
  return names.map((name) => {
    const base =
      name
        .toLowerCase()
        .replace(/[^\p{L}\p{N}]+/gu, '-')
        .replace(/^-|-$/g, '') || 'lang';
    let tag = base;
    for (let n = 2; taken.has(tag); n += 1) tag = `${base}-${n}`;
    taken.add(tag);
    return { name, tag };
  });
}
