/**
 * Takes over a run that 0.1.0 began: what it had written counts, what it had begun goes on.
 *
 * - L1 What stands in `conversations_index.jsonl` is not written again (B1 to B4). Dropped conversations
 *   there stay where they are and do not count (B9).
 * - L2 Every other conversation goes on in a journal, with its id, turn count, personas and turns.
 * - L3 Nothing is changed in the store before the run's record is made, except journals, and those are
 *   made whole: a take-over that was cut short is repeated and comes to the same.
 */
import { conversationPersistenceId } from '../actors/conversation.ts';
import type { EarlierCounts } from '../actors/earlier-counts.ts';
import type { ConversationEvent } from '../dialogue/conversation-state.ts';
import { conversationPath } from '../export/dataset-rows.ts';
import { type WrittenConversation, writtenConversations } from '../export/legacy-index.ts';
import { languageIndexOf, type LegacyRun, legacyStates } from '../export/legacy-run.ts';
import type { LegacyConversation } from '../export/legacy-run-state.ts';
import { DlgforgeError } from '../kernel/errors.ts';
import { canonicalJson } from '../kernel/hash.ts';
import type { Journal } from '../ports/store.ts';
import { legacyEvents } from './legacy-events.ts';
import { type LegacyQuestions, readLegacyQuestions } from './legacy-questions.ts';

export interface ImportedConversation {
  readonly languageIndex: number;
  readonly index: number;
  readonly conversationId: string;
  readonly events: readonly ConversationEvent[];
}

export interface LegacyImport {
  readonly runId: string;
  /** States that were found; without any there is nothing to resume, only files to go on from. */
  readonly stateCount: number;
  readonly earlier: readonly EarlierCounts[];
  readonly conversations: readonly ImportedConversation[];
  /** Keys of questions that are asked, but not yet in the dataset (B8). */
  readonly unfinishedQuestions: ReadonlySet<string>;
  /** What is taken over, in one line. */
  readonly summary: string;
  /** What cannot be, or counts otherwise than before. */
  readonly notices: readonly string[];
}

/** A conversation that is to go on. */
interface Unfinished {
  readonly conversation: LegacyConversation;
  readonly conversationId: string;
}

/** One language while the states are read. */
interface Lane {
  readonly languageIndex: number;
  /** Ids of further conversations are this and a number. */
  readonly prefix: string;
  committed: number;
  turns: number;
  dropped: number;
  droppedInFiles: number;
  readonly dropReasons: Record<string, number>;
  readonly unfinished: Unfinished[];
  /** The largest number that follows `prefix` in an id. */
  highest: number;
}

export interface LegacyImportOptions {
  readonly outputDir: string;
  readonly run: LegacyRun;
  /** Names and tags, in the order of the configuration. */
  readonly languages: readonly { readonly name: string; readonly tag: string }[];
}

/**
 * Null when 0.1.0 left nothing of this run.
 * @throws DlgforgeError `resume` for a damaged state (B14) or one of a language that is not configured.
 */
export async function readLegacyImport({
  outputDir,
  run,
  languages,
}: LegacyImportOptions): Promise<LegacyImport | null> {
  const names = languages.map((language) => language.name);
  const written = await writtenConversations(outputDir, run, names);
  const stateCount = run.waves.reduce((sum, wave) => sum + wave.ids.length, 0);
  if (stateCount === 0 && ![...written.values()].some((row) => row.owned)) return null;

  const lanes = languages.map(({ tag }, languageIndex) =>
    emptyLane(languageIndex, languages.length > 1 ? `${run.baseId}-${tag}` : run.baseId),
  );
  const unclaimed = new Map([...written].map(([id, { lines }]) => [id, lines]));
  const taken = new Set(written.keys());
  let updatedAt = '';
  for await (const from of legacyStates(outputDir, run)) {
    if (from.state.updatedAt > updatedAt) updatedAt = from.state.updatedAt;
    for (const conversation of from.state.conversations) {
      const lane = lanes[languageIndexOf(conversation, from, run, names)] as Lane;
      takeOver(lane, conversation, unclaimed, taken);
    }
  }
  for (const [id, row] of written)
    if (unclaimed.get(id) === row.lines) countWithoutState(lanes, row, languages);

  const unfinishedCount = lanes.reduce((sum, lane) => sum + lane.unfinished.length, 0);
  const stateIds = new Set(run.waves.flatMap((wave) => wave.ids));
  const questions = await readLegacyQuestions(outputDir, { updatedAt, stateIds, unfinishedCount });
  return assemble({ outputDir, run, stateCount, lanes, names, questions });
}

const emptyLane = (languageIndex: number, prefix: string): Lane => ({
  languageIndex,
  prefix,
  committed: 0,
  turns: 0,
  dropped: 0,
  droppedInFiles: 0,
  dropReasons: {},
  unfinished: [],
  highest: -1,
});

function takeOver(
  lane: Lane,
  conversation: LegacyConversation,
  unclaimed: Map<string, number>,
  taken: Set<string>,
): void {
  const { conversationId, status, turns } = conversation;
  noteNumber(lane, conversationId);
  const lines = unclaimed.get(conversationId) ?? 0;
  if (lines > 0) unclaimed.set(conversationId, lines - 1);
  if (status === 'dropped') {
    const reason = conversation.dropReason || 'dedup_exhausted';
    lane.dropped += 1;
    lane.dropReasons[reason] = (lane.dropReasons[reason] ?? 0) + 1;
    if (lines > 0) lane.droppedInFiles += 1;
  } else if (lines > 0) {
    lane.committed += 1;
    lane.turns += turns.length;
  } else {
    lane.unfinished.push({ conversation, conversationId: freeId(conversationId, taken) });
  }
}

/** Ids of slots and of waves share one name space in 0.1.0, so two conversations can have the same. */
function freeId(wanted: string, taken: Set<string>): string {
  let id = wanted;
  for (let n = 2; taken.has(id); n += 1) id = `${wanted}-${n}`;
  taken.add(id);
  return id;
}

function noteNumber(lane: Lane, conversationId: string): void {
  const rest = conversationId.startsWith(`${lane.prefix}-`)
    ? conversationId.slice(lane.prefix.length + 1)
    : '';
  if (/^\d{4,15}$/.test(rest)) lane.highest = Math.max(lane.highest, Number(rest));
}

/** Written, but its state is gone: it counts all the same. */
function countWithoutState(
  lanes: readonly Lane[],
  row: WrittenConversation,
  languages: LegacyImportOptions['languages'],
): void {
  const lane =
    lanes.find(({ languageIndex }) => languages[languageIndex]?.name === row.language) ??
    lanes.find(({ prefix }) => prefix === row.seed);
  if (lane === undefined) return;
  noteNumber(lane, row.conversationId);
  if (!row.owned) return;
  lane.committed += 1;
  lane.turns += row.turns;
}

interface Parts {
  readonly outputDir: string;
  readonly run: LegacyRun;
  readonly stateCount: number;
  readonly lanes: readonly Lane[];
  readonly names: readonly string[];
  readonly questions: LegacyQuestions;
}

function assemble({ outputDir, run, stateCount, lanes, names, questions }: Parts): LegacyImport {
  const conversations: ImportedConversation[] = [];
  const notices: string[] = [];
  const asked = new Map<string, number>();
  let turns = 0;
  for (const lane of lanes) {
    const first = firstIndex(lane);
    for (const [position, { conversation, conversationId }] of lane.unfinished.entries()) {
      conversationPath(outputDir, conversationId);
      const { events, questionKeys, cutOff } = legacyEvents(conversation, conversationId, questions.has);
      for (const key of questionKeys) asked.set(key, (asked.get(key) ?? 0) + 1);
      turns += questionKeys.length;
      conversations.push({
        languageIndex: lane.languageIndex,
        index: first + position,
        conversationId,
        events,
      });
      if (cutOff !== null) {
        notices.push(
          `${conversationId}: turn ${cutOff.turn} of ${conversation.turns.length} is not usable (${cutOff.reason}); from there on it is generated anew`,
        );
      }
    }
    if (lane.droppedInFiles > 0) {
      notices.push(
        `${names[lane.languageIndex]}: ${lane.droppedInFiles} conversations in the files were dropped by 0.1.0 before their end; they stay there and do not count towards run.total_samples`,
      );
    }
  }
  const parts = lanes.map(
    (lane) =>
      `${names[lane.languageIndex]} ${lane.committed} written, ${lane.unfinished.length} to be finished`,
  );
  return {
    runId: run.baseId,
    stateCount,
    earlier: lanes.map(earlierCounts),
    conversations,
    unfinishedQuestions: questions.unfinished(asked),
    summary: `the run ${run.baseId} of 0.1.0 goes on: ${parts.join('; ')}; finished turns that are kept: ${turns}`,
    notices,
  };
}

/** Settled conversations come first, and numbers of further ids are above those that are taken. */
function firstIndex(lane: Lane): number {
  return Math.max(lane.committed + lane.dropped, lane.highest + 1 - lane.unfinished.length);
}

function earlierCounts(lane: Lane): EarlierCounts {
  const { languageIndex, committed, dropped, turns, dropReasons } = lane;
  return { languageIndex, committed, dropped, nextIndex: firstIndex(lane), turns, dropReasons };
}

/**
 * L3: a journal is appended whole, and one that is there must say the same.
 * @throws DlgforgeError `resume` when the files have changed since a take-over that was cut short.
 */
export async function journalImport(journal: Journal, { runId, conversations }: LegacyImport): Promise<void> {
  for (const { languageIndex, index, conversationId, events } of conversations) {
    const id = conversationPersistenceId(runId, languageIndex, index);
    const recovered = await journal.recover(id);
    if (recovered.lastSeq === 0) await journal.append(id, recovered.epoch, 0, events);
    else if (canonicalJson(recovered.events.map(({ event }) => event)) !== canonicalJson(events)) {
      throw new DlgforgeError(
        'resume',
        `the run ${runId} was being taken over from 0.1.0 when that was cut short, and its files have changed since: ${conversationId} is not what it was. ` +
          'Put the files back as they were, or start a new run with another run.run_id.',
        { details: { runId, conversationId } },
      );
    }
  }
}
