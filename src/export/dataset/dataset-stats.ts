/**
 * The statistics of a dataset, each number from one source: the average of the turn scores is
 * `judge.avg_score` and nothing else, a conversation's own score feeds its own figures only (fault I3).
 * Rows go by once; memory grows with languages and distinct values, not with rows.
 */
import { Float, pythonJsonIndented } from '../../dialogue/python-json.ts';
import { scoreOf } from '../../dialogue/score.ts';
import { type Distribution, NameTally, rounded, ScoreTally, type Share, Tally } from './distributions.ts';
import type { ExportRow } from './schema.ts';
import { type QuestionFigures, QuestionVariety, tokensOf, WordVariety, wordsOf } from './text-measures.ts';

/** As it is written to the statistics file: `statsFile`. Numbers are rounded to 4 digits. */
export interface DatasetStats {
  readonly source_file: string;
  readonly records: number;
  readonly languages: Readonly<Record<string, number>>;
  readonly turn_count: {
    readonly min: number | null;
    readonly max: number | null;
    readonly avg: number | null;
    readonly distribution: Distribution;
  };
  readonly judge: {
    readonly conversations_with_scores: number;
    readonly avg_score_mean: number | null;
    readonly avg_score_distribution: Distribution;
    readonly per_turn_score_mean: number | null;
    readonly per_turn_score_distribution: Distribution;
    readonly conversation_score_mean: number | null;
    readonly conversation_score_distribution: Distribution;
  };
  readonly text: {
    readonly avg_words_per_conversation: number | null;
    readonly avg_tokens_per_conversation_estimate: number | null;
    readonly avg_words_per_message: number | null;
    readonly avg_tokens_per_message_estimate: number | null;
    readonly word_count_distribution: Distribution;
    readonly token_estimate_distribution: Distribution;
  };
  readonly question_modes: Readonly<Record<string, Share>>;
  /** Of questions. */
  readonly difficulties: Readonly<Record<string, Share>>;
  readonly questions: QuestionFigures;
  readonly by_language: Readonly<Record<string, LanguageStats>>;
  /** Null when neither a ledger nor an index is at hand. */
  readonly coverage: CoverageStats | null;
  /** Null when the store does not know the runs. */
  readonly usage: UsageStats | null;
}

export interface LanguageStats {
  readonly records: number;
  readonly turns: number;
  readonly avg_turns: number | null;
  /** Different passages that its questions name as what they rest on. */
  readonly passages_used: number;
  /** Means over this language of what `judge` has over all. */
  readonly avg_score_mean: number | null;
  readonly per_turn_score_mean: number | null;
  readonly conversation_score_mean: number | null;
  /** By `judge.avg_score`. */
  readonly avg_score_distribution: Distribution;
  readonly avg_words_per_message: number | null;
  readonly unique_question_share: number | null;
  readonly distinct_1: number | null;
  readonly distinct_2: number | null;
  /** Words that the two rest on; at most `DISTINCT_WORDS_MAX`. */
  readonly distinct_words_compared: number;
}

/** How much of the documents the questions rest on. */
export interface CoverageStats {
  readonly passages_used: number;
  /** Null, like the shares, when the index is not at hand. */
  readonly passages_known: number | null;
  /** Of the known passages, those that a question rests on. */
  readonly passage_share: number | null;
  readonly documents_used: number;
  readonly documents_known: number | null;
  readonly document_share: number | null;
}

/** What the model calls of all runs of the dataset, and of judging it later, came to. */
export interface UsageStats {
  readonly runs: number;
  readonly calls: number;
  readonly prompt_tokens: number;
  /** Of the prompt tokens. */
  readonly cached_tokens: number;
  readonly completion_tokens: number;
  readonly models: readonly ModelUsage[];
  /** In the currency of `saving.export.prices`; null unless every model has a price there. */
  readonly cost: number | null;
}

export interface ModelUsage {
  readonly model: string;
  readonly role: string;
  readonly calls: number;
  readonly prompt_tokens: number;
  readonly cached_tokens: number;
  readonly completion_tokens: number;
  readonly cost: number | null;
}

/** What rows do not say. */
export interface BesideRows {
  readonly sourceFile: string;
  readonly coverage: CoverageStats | null;
  readonly usage: UsageStats | null;
}

/** Languages that have figures of their own; more come from a file that holds something else. */
const LANGUAGES_MAX = 200;

export class StatsCollector {
  readonly #languages = new NameTally();
  readonly #turns = new Tally();
  readonly #scores = new Scores();
  readonly #conversationWords = new Tally();
  readonly #conversationTokens = new Tally();
  readonly #messageWords = new Tally();
  readonly #messageTokens = new Tally();
  readonly #modes = new NameTally();
  readonly #difficulties = new NameTally();
  readonly #questions = new QuestionVariety();
  readonly #byLanguage = new Map<string, LanguageCollector>();
  #records = 0;

  add(row: ExportRow): void {
    const language = row.metadata.language.trim();
    const part = language === '' ? null : this.#partOf(language);
    const turns = turnCountOf(row);
    this.#records += 1;
    if (language !== '') this.#languages.add(language);
    this.#turns.add(turns);
    this.#scores.add(row.judge);
    part?.addConversation(turns, row.judge);
    for (const target of row.metadata.coverage_targets) part?.addPassage(target);
    for (const mode of row.metadata.question_modes) this.#modes.add(mode);
    for (const difficulty of row.metadata.difficulty_sequence) this.#difficulties.add(difficulty);
    this.#addTexts(row, part);
  }

  stats({ sourceFile, coverage, usage }: BesideRows): DatasetStats {
    return {
      source_file: sourceFile,
      records: this.#records,
      languages: this.#languages.counts(),
      turn_count: {
        min: this.#turns.min,
        max: this.#turns.max,
        avg: this.#turns.mean,
        distribution: this.#turns.distribution(),
      },
      judge: this.#scores.figures,
      text: {
        avg_words_per_conversation: this.#conversationWords.mean,
        avg_tokens_per_conversation_estimate: this.#conversationTokens.mean,
        avg_words_per_message: this.#messageWords.mean,
        avg_tokens_per_message_estimate: this.#messageTokens.mean,
        word_count_distribution: this.#conversationWords.histogram(),
        token_estimate_distribution: this.#conversationTokens.histogram(),
      },
      question_modes: this.#modes.shares(),
      difficulties: this.#difficulties.shares(),
      questions: this.#questions.figures,
      by_language: Object.fromEntries(
        [...this.#byLanguage]
          .toSorted(([a], [b]) => (a < b ? -1 : 1))
          .map(([language, part]) => [language, part.figures]),
      ),
      coverage,
      usage,
    };
  }

  #addTexts(row: ExportRow, part: LanguageCollector | null): void {
    let [words, tokens] = [0, 0];
    for (const { role, content } of row.messages) {
      const ofMessage = wordsOf(content);
      const tokensOfMessage = tokensOf(content);
      this.#messageWords.add(ofMessage.length);
      this.#messageTokens.add(tokensOfMessage);
      words += ofMessage.length;
      tokens += tokensOfMessage;
      part?.addMessage(ofMessage);
      if (role !== 'user') continue;
      this.#questions.add(content);
      part?.questions.add(content);
    }
    if (words > 0) this.#conversationWords.add(words);
    if (tokens > 0) this.#conversationTokens.add(tokens);
  }

  #partOf(language: string): LanguageCollector | null {
    const known = this.#byLanguage.get(language);
    if (known !== undefined || this.#byLanguage.size >= LANGUAGES_MAX) return known ?? null;
    const made = new LanguageCollector();
    this.#byLanguage.set(language, made);
    return made;
  }
}

class LanguageCollector {
  readonly questions = new QuestionVariety();
  readonly #turns = new Tally();
  readonly #scores = new Scores();
  readonly #words = new Tally();
  readonly #variety = new WordVariety();
  readonly #passages = new Set<string>();

  addPassage(id: string): void {
    if (id.trim() !== '') this.#passages.add(id);
  }

  addConversation(turns: number, judge: ExportRow['judge']): void {
    this.#turns.add(turns);
    this.#scores.add(judge);
  }

  addMessage(words: readonly string[]): void {
    this.#words.add(words.length);
    this.#variety.add(words);
  }

  get figures(): LanguageStats {
    const scores = this.#scores.figures;
    return {
      records: this.#turns.count,
      turns: this.#turns.sum,
      avg_turns: this.#turns.mean,
      passages_used: this.#passages.size,
      avg_score_mean: scores.avg_score_mean,
      per_turn_score_mean: scores.per_turn_score_mean,
      conversation_score_mean: scores.conversation_score_mean,
      avg_score_distribution: scores.avg_score_distribution,
      avg_words_per_message: this.#words.mean,
      unique_question_share: this.questions.figures.unique_share,
      distinct_1: this.#variety.distinct1,
      distinct_2: this.#variety.distinct2,
      distinct_words_compared: this.#variety.words,
    };
  }
}

class Scores {
  readonly #average = new ScoreTally();
  readonly #turn = new ScoreTally();
  readonly #conversation = new ScoreTally();
  #scored = 0;

  add({ avg_score, per_turn, conversation }: ExportRow['judge']): void {
    const found = [
      taken(this.#average, avg_score),
      ...per_turn.map(({ score }) => taken(this.#turn, score)),
      taken(this.#conversation, conversation.score),
    ];
    if (found.includes(true)) this.#scored += 1;
  }

  get figures(): DatasetStats['judge'] {
    return {
      conversations_with_scores: this.#scored,
      avg_score_mean: this.#average.mean,
      avg_score_distribution: this.#average.distribution(),
      per_turn_score_mean: this.#turn.mean,
      per_turn_score_distribution: this.#turn.distribution(),
      conversation_score_mean: this.#conversation.mean,
      conversation_score_distribution: this.#conversation.distribution(),
    };
  }
}

function taken(tally: ScoreTally, value: number | null): boolean {
  const score = scoreOf(value);
  if (score !== null) tally.add(score);
  return score !== null;
}

/** What the record says; else what was judged; else the questions. */
export function turnCountOf({ metadata, judge, messages }: ExportRow): number {
  if (metadata.n_turns !== null) return metadata.n_turns;
  if (judge.per_turn.length > 0) return judge.per_turn.length;
  return messages.filter(({ role }) => role === 'user').length;
}

export function coverageStats(
  used: { readonly passages: ReadonlySet<string>; readonly documents: ReadonlySet<string> },
  known: readonly { readonly source: string; readonly passageIds: readonly string[] }[] | null,
): CoverageStats {
  const usedOnly = { passages_used: used.passages.size, documents_used: used.documents.size };
  if (known === null) {
    return {
      ...usedOnly,
      passages_known: null,
      passage_share: null,
      documents_known: null,
      document_share: null,
    };
  }
  const passageIds = known.flatMap((document) => document.passageIds);
  const share = (found: number, of: number): number | null => (of === 0 ? null : rounded(found / of));
  return {
    ...usedOnly,
    passages_known: passageIds.length,
    passage_share: share(passageIds.filter((id) => used.passages.has(id)).length, passageIds.length),
    documents_known: known.length,
    document_share: share(
      known.filter(
        ({ source, passageIds: ids }) =>
          used.documents.has(source) || ids.some((id) => used.passages.has(id)),
      ).length,
      known.length,
    ),
  };
}

/** The text of the statistics file. */
export function statsFile(stats: DatasetStats): string {
  return pythonJsonIndented(withFloats(stats));
}

const FRACTIONS = /(?:^|_)(?:avg|mean|share|cost)(?:_|$)|^distinct_[12]$/;

/** Means and shares are fractions also when they are whole, as in the files of 0.1.0. */
function withFloats(value: unknown, name = ''): unknown {
  if (typeof value === 'number') return FRACTIONS.test(name) ? new Float(value) : value;
  if (Array.isArray(value)) return value.map((item) => withFloats(item));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, withFloats(inner, key)]));
}
