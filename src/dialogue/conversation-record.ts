/**
 * What is committed for one conversation, and all that its records are built from (`records.ts`).
 * Times are not in it (the store says when a commit was made) and neither are response bodies: those
 * stand once, in the journal, and a turn says at which sequence numbers.
 */

export type JsonValue = string | number | boolean | null | readonly JsonValue[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: JsonValue;
}

/** What every conversation of a run has in common in its `inputs` (docs/outputs.md). */
export interface InputsBase {
  readonly question: string;
  readonly target_languages: readonly string[];
  readonly question_seed: string;
  readonly total_samples: number;
  readonly min_turns: number;
  readonly max_turns: number;
  readonly turn_count_distribution: string;
  /** 0 when no mean is set. */
  readonly turn_count_mean: number;
  /** As the configuration names it, never an absolute path of this machine (I11 of the contract). */
  readonly seed_topics_path: string;
  readonly seed_topics_variant: string;
  readonly seed_topics_probability: number;
  readonly seed_topics_enabled: boolean;
  readonly retrieval_default_k: number;
  readonly judge_enabled: boolean;
  readonly judge_granularity: 'turn' | 'conversation';
  readonly judge_reasons: readonly string[];
}

export interface PayloadPersonas {
  /** Prompt texts; empty when personas are off. */
  readonly user: string;
  readonly assistant: string;
  readonly userId: string;
  readonly assistantId: string;
}

export interface PayloadToolCall {
  /** As the model gave it; may be empty, `records.ts` fills it in. */
  readonly id: string;
  readonly name: string;
  readonly arguments: JsonObject;
  readonly result: JsonObject;
}

/** One answer of the model that asked for tools, and what the tools said. */
export interface PayloadToolRound {
  /** The text that the model wrote beside its calls; often empty. */
  readonly content: string;
  readonly calls: readonly PayloadToolCall[];
}

export interface PayloadTurn {
  /** From 1. */
  readonly turn: number;
  /** From 0: how many candidate questions were rejected before this one. */
  readonly attempt: number;
  readonly mode: string;
  readonly seedTopic: string;
  readonly seedQuestion: string;
  /** The validated output of the user role (as in 0.1.0). */
  readonly question: JsonObject;
  /** The validated output of the assistant role (section 10.2), `did_web_search` set. */
  readonly answer: JsonObject;
  /** The validated verdict (section 10.3); null when there is none. */
  readonly verdict: JsonObject | null;
  readonly toolRounds: readonly PayloadToolRound[];
  /** Journal sequence numbers of the answers that were kept for this turn, in order. */
  readonly answerSeqs: {
    readonly question: readonly number[];
    readonly answer: readonly number[];
    readonly judge: readonly number[];
  };
  readonly coverage: { readonly passageId: string; readonly source: string };
}

export interface ConversationPayload {
  readonly version: 1;
  readonly runId: string;
  readonly conversationId: string;
  readonly language: string;
  readonly languageIndex: number;
  /** Position in its wave, from 0. */
  readonly index: number;
  /** Turns that were planned; a dropped conversation has fewer. */
  readonly targetTurns: number;
  /** The configured question, the same for all conversations. */
  readonly seedQuestion: string;
  readonly personas: PayloadPersonas;
  readonly inputs: InputsBase;
  /** The names that records give the models (as in 0.1.0). */
  readonly agents: { readonly user: string; readonly assistant: string };
  /** True when any answer came from the rehearsal backend. */
  readonly rehearsal: boolean;
  readonly turns: readonly PayloadTurn[];
  readonly conversationJudge: JsonObject | null;
  readonly conversationJudgeAnswerSeq: number | null;
  /** The pass (`judge-pass.ts`) that the verdicts belong to; absent when the run did not judge. */
  readonly judgePass?: string;
}
