/** What of the conversations is to be judged now. */
import type { ConversationPayload, JsonObject } from '../../dialogue/conversation-record.ts';
import type { JudgePass } from '../../dialogue/judge-pass.ts';
import { WHOLE } from '../../dialogue/judge-requests.ts';
import { scoreOf } from '../../dialogue/score.ts';
import type { DatasetId } from '../../kernel/ids.ts';
import type { StoredVerdict, Verdicts } from '../../ports/verdicts.ts';
import type { JudgeUnit } from '../../actors/judging/judge-unit.ts';
import type { Candidate } from './judged-conversations.ts';

export interface Selection {
  readonly verdicts: Pick<Verdicts, 'of'>;
  readonly datasetId: DatasetId | null;
  readonly pass: JudgePass;
  /** The round in which everything is judged anew; null to judge only what has no verdict. */
  readonly rejudgeRound: number | null;
  /** As given; none selects all. */
  readonly languages: readonly string[];
  /** Conversations with anything to judge; null for all. */
  readonly limit: number | null;
}

/** A conversation, what is missing of it, and what it has. */
export interface Planned {
  readonly candidate: Candidate;
  readonly missing: readonly Pick<JudgeUnit, 'turn' | 'round' | 'tries'>[];
  readonly verdicts: readonly JsonObject[];
  /** False for one that is left for another time (`limit`). */
  readonly selected: boolean;
}

/** Conversations whose verdicts are asked for together. */
const GROUP = 32;

/** Every conversation of the languages, in order. Reads as far as it is asked. */
export async function* planned(
  conversations: AsyncIterable<Candidate>,
  selection: Selection,
): AsyncGenerator<Planned> {
  const { limit, languages } = selection;
  const wanted = new Set(languages.map(languageKey));
  let chosen = 0;
  for await (const group of inGroups(conversations, GROUP)) {
    const matching = group.filter(
      ({ payload }) => wanted.size === 0 || wanted.has(languageKey(payload.language)),
    );
    const stored = await storedVerdicts(matching, selection);
    for (const candidate of matching) {
      const plan = planOf(candidate, stored.get(candidate.payload.conversationId) ?? [], selection);
      const selected = plan.missing.length > 0 && (limit === null || chosen < limit);
      if (selected) chosen += 1;
      yield { ...plan, selected };
    }
  }
}

export const languageKey = (language: string): string => language.trim().toLowerCase();

async function storedVerdicts(
  group: readonly Candidate[],
  { verdicts, datasetId, pass }: Selection,
): Promise<ReadonlyMap<string, StoredVerdict[]>> {
  if (datasetId === null || group.length === 0) return new Map();
  const ids = group.map(({ payload }) => payload.conversationId);
  return Map.groupBy(await verdicts.of(datasetId, pass.id, ids), ({ conversationId }) => conversationId);
}

function planOf(
  candidate: Candidate,
  stored: readonly StoredVerdict[],
  { pass, rejudgeRound }: Selection,
): Omit<Planned, 'selected'> {
  const { payload } = candidate;
  const turns = pass.granularity === 'conversation' ? [WHOLE] : payload.turns.map(({ turn }) => turn);
  const byTurn = new Map(stored.map((verdict) => [verdict.turn, verdict]));
  const missing: Planned['missing'][number][] = [];
  const verdicts: JsonObject[] = [];
  for (const turn of turns) {
    const later = byTurn.get(turn);
    const verdict = later === undefined ? ownVerdict(payload, turn, pass) : later.verdict;
    const isDone =
      rejudgeRound === null ? verdict !== null : later !== undefined && later.round >= rejudgeRound;
    if (isDone) {
      if (verdict !== null) verdicts.push(verdict);
      continue;
    }
    const round = rejudgeRound ?? later?.round ?? 0;
    missing.push({ turn, round, tries: later?.round === round ? later.tries : 0 });
  }
  return { candidate, missing, verdicts };
}

/** A verdict that the run gave itself counts when it is of the same pass. */
function ownVerdict(payload: ConversationPayload, turn: number, pass: JudgePass): JsonObject | null {
  if (payload.judgePass !== pass.id) return null;
  return turn === WHOLE
    ? payload.conversationJudge
    : (payload.turns.find((each) => each.turn === turn)?.verdict ?? null);
}

async function* inGroups<T>(items: AsyncIterable<T>, size: number): AsyncGenerator<readonly T[]> {
  let group: T[] = [];
  for await (const item of items) {
    group.push(item);
    if (group.length < size) continue;
    yield group;
    group = [];
  }
  if (group.length > 0) yield group;
}

/** Scores of verdicts; those that are missing are in none of it. */
export class ScoreTally {
  readonly #distribution = Array.from({ length: 11 }, () => 0);
  #count = 0;
  #sum = 0;

  add(verdict: JsonObject): void {
    const score = scoreOf(verdict['score']);
    if (score === null) return;
    const bucket = Math.round(score);
    this.#distribution[bucket] = (this.#distribution[bucket] ?? 0) + 1;
    this.#count += 1;
    this.#sum += score;
  }

  read(): {
    readonly verdicts: number;
    readonly mean: number | null;
    readonly distribution: readonly number[];
  } {
    return {
      verdicts: this.#count,
      mean: this.#count === 0 ? null : this.#sum / this.#count,
      distribution: [...this.#distribution],
    };
  }
}

/** What there is and what is to be done, by language in the order of `first` and then as it comes. */
export interface Survey {
  /** Of all languages, whatever was selected. */
  readonly conversations: number;
  readonly selected: number;
  /** With something missing, but left for another time. */
  readonly left: number;
  /** Verdicts that will be asked for. */
  readonly missing: number;
  readonly languages: readonly { readonly language: string; readonly target: number }[];
}

export async function survey(
  plans: AsyncIterable<Planned>,
  first: readonly string[],
  tally: ScoreTally,
): Promise<Omit<Survey, 'conversations'>> {
  const targets = new Map(first.map((language) => [language, 0]));
  let missing = 0;
  let selected = 0;
  let left = 0;
  for await (const plan of plans) {
    const { language } = plan.candidate.payload;
    targets.set(language, (targets.get(language) ?? 0) + (plan.selected ? 1 : 0));
    for (const verdict of plan.verdicts) tally.add(verdict);
    if (plan.selected) {
      selected += 1;
      missing += plan.missing.length;
    } else if (plan.missing.length > 0) left += 1;
  }
  const languages = [...targets]
    .filter(([, target]) => target > 0)
    .map(([language, target]) => ({ language, target }));
  return { selected, left, missing, languages };
}

/** The units of what was selected; a conversation is read when its turn comes. */
export async function* unitsOf(plans: AsyncIterable<Planned>): AsyncGenerator<JudgeUnit> {
  for await (const { candidate, missing, selected } of plans) {
    if (!selected) continue;
    const conversation = await candidate.load();
    for (const unit of missing) yield { conversation, ...unit };
  }
}
