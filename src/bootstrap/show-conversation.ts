/** `dlgforge show`: one conversation with everything that is known of it; reads only. */
import { conversationPersistenceId } from '../actors/conversation.ts';
import { type AskedConversation, askedRequests } from '../dialogue/asked-requests.ts';
import type { ConversationPayload, JsonObject } from '../dialogue/conversation-record.ts';
import type { ConversationEvent } from '../dialogue/conversation-state.ts';
import type { Passage } from '../dialogue/passage.ts';
import { payloadOf as payloadOfState } from '../dialogue/payload.ts';
import { parsePythonJson, pythonJsonIndented } from '../dialogue/python-json.ts';
import { namedToolRounds } from '../dialogue/record-messages.ts';
import { conversationFile } from '../dialogue/records.ts';
import { recordSource } from '../export/dataset-rows.ts';
import { legacyRecord } from '../export/legacy-record.ts';
import { shownVerdicts } from '../export/shown-verdicts.ts';
import { DlgforgeError } from '../kernel/errors.ts';
import type { CommitKey, Store } from '../ports/store.ts';
import { decodeConversationEvent } from '../protocol/stored-events.ts';
import type { OpenedStore } from './cluster/runs-store.ts';
import { inputsBase } from './dialogue-settings.ts';
import { answersOf } from './files.ts';
import { findConversation, type FoundConversation, type StoredConversation } from './find-conversation.ts';
import { configOf } from './runs.ts';

export interface ShownConversation {
  readonly status: 'committed' | 'dropped' | 'open' | 'file';
  /** Where it was found. */
  readonly place: string;
  /** Null in files of 0.1.0. */
  readonly runId: string | null;
  readonly datasetId: string | null;
  /** When it was committed; as its file says for one of 0.1.0; '' while it is open. */
  readonly timestamp: string;
  readonly dropReason: string | null;
  readonly dropDetail: string | null;
  /** Under the verdicts that the files show. */
  readonly payload: ConversationPayload;
  /** What each turn's question rests on, as far as it is known; by turn. */
  readonly passages: ReadonlyMap<number, Passage>;
  /** As it stands in `conversations/<id>.json`; null when there is nothing to be recorded. */
  readonly record: object | null;
}

/** @throws DlgforgeError when there is none of this id. */
export async function showConversation(
  opened: Pick<OpenedStore, 'store' | 'project'>,
  id: string,
): Promise<ShownConversation> {
  const found = await findConversation(opened, id);
  if (found.type === 'file') return shownFile(found, id);
  return found.type === 'open' ? await shownOpen(found) : await shownStored(found.store, found.conversation);
}

async function shownStored(store: Store, conversation: StoredConversation): Promise<ShownConversation> {
  const { asked, drop } = await readJournal(store, conversation);
  const common = {
    status: conversation.status,
    place: store.description,
    runId: conversation.runId,
    datasetId: conversation.datasetId,
    timestamp: new Date(conversation.committedAtMs).toISOString(),
    dropReason: conversation.reason,
    dropDetail: drop?.detail ?? null,
    passages: passagesOf(asked),
  };
  if (conversation.payload === null) return { ...common, payload: nothingLeft(conversation), record: null };
  const source = await recordSource(conversation, {
    verdicts: await shownVerdicts(store, conversation.datasetId),
    journalAnswers: answersOf(store),
  });
  return { ...common, payload: source.payload, record: conversationFile(source) };
}

/** A conversation whose actor was given up left no payload. */
const nothingLeft = ({ conversationId, language, runId, languageIndex, index }: StoredConversation) =>
  ({
    version: 1,
    runId,
    conversationId,
    language,
    languageIndex,
    index,
    targetTurns: 0,
    seedQuestion: '',
    personas: { user: '', assistant: '', userId: '', assistantId: '' },
    agents: { user: '', assistant: '' },
    rehearsal: false,
    turns: [],
    conversationJudge: null,
    conversationJudgeAnswerSeq: null,
  }) as unknown as ConversationPayload;

async function shownOpen({
  store,
  key,
  run,
}: Extract<FoundConversation, { type: 'open' }>): Promise<ShownConversation> {
  const { asked } = await readJournal(store, key);
  const config = configOf(run);
  const languages = config.run.target_languages.map((name) => ({ name, tag: '' }));
  const settings = { languages, question: config.run.data.seeding.question, judge: null };
  return {
    status: 'open',
    place: store.description,
    runId: run.id,
    datasetId: run.datasetId,
    timestamp: '',
    dropReason: null,
    dropDetail: null,
    passages: passagesOf(asked),
    payload: payloadOfState(asked.state, settings, inputsBase(config)),
    record: null,
  };
}

function shownFile(
  { path, text }: Extract<FoundConversation, { type: 'file' }>,
  id: string,
): ShownConversation {
  const read = legacyRecord(text, id);
  if (read.type === 'unusable')
    throw new DlgforgeError('output', `${path} cannot be shown: ${read.reason}. Restore the file.`);
  const record = parsePythonJson(text.replace(/^\uFEFF/, '')) as JsonObject;
  const turns = record['turns'] as readonly JsonObject[];
  const whole = record['conversation_judge'];
  return {
    status: 'file',
    place: path,
    runId: null,
    datasetId: null,
    timestamp: read.timestamp,
    dropReason: null,
    dropDetail: null,
    passages: new Map(),
    payload: {
      ...read.payload,
      turns: read.payload.turns.map((turn, index) => ({
        ...turn,
        verdict: verdictIn(turns[index]?.['qa_judge']),
      })),
      conversationJudge: verdictIn(whole),
    },
    record,
  };
}

/** 0.1.0 wrote an empty object where there is no verdict. */
function verdictIn(value: unknown): JsonObject | null {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return null;
  return Object.keys(value).length === 0 ? null : (value as JsonObject);
}

interface ReadJournal {
  readonly asked: AskedConversation;
  readonly drop: Extract<ConversationEvent, { type: 'ConversationDropped' }> | null;
}

export async function readJournal(
  store: Store,
  { runId, languageIndex, index }: CommitKey,
): Promise<ReadJournal> {
  const record = await store.getRun(runId);
  const stored = await store.journal.read(conversationPersistenceId(runId, languageIndex, index));
  const events = stored.map(({ event }) => decodeConversationEvent(event));
  const reasons = record === null ? [] : configOf(record).judge.reasons;
  return {
    asked: askedRequests({ runId, languageIndex, index }, events, reasons),
    drop: events.findLast((event) => event.type === 'ConversationDropped') ?? null,
  };
}

/** The one that each accepted question named, of those that it was offered. */
function passagesOf({ offered, state }: AskedConversation): Map<number, Passage> {
  const used = new Map<number, Passage>();
  for (const { turn, attempts } of state.turns) {
    const target = attempts.at(-1)?.question?.coverage_target ?? '';
    const passages = offered.findLast(
      (known) => known.turn === turn && known.attempt === attempts.at(-1)?.attempt,
    );
    const passage = passages?.passages.find(({ id }) => id === target);
    if (passage !== undefined) used.set(turn, passage);
  }
  return used;
}

/** For programs: the record as its file has it, and around it what it does not say. */
export const conversationJson = (shown: ShownConversation): string => pythonJsonIndented(jsonOf(shown));

const jsonOf = (shown: ShownConversation): object => ({
  conversation_id: shown.payload.conversationId,
  status: shown.status,
  drop_reason: shown.dropReason,
  drop_detail: shown.dropDetail,
  run_id: shown.runId,
  dataset_id: shown.datasetId,
  place: shown.place,
  passages: [...shown.passages].map(([turn, { id, source, descriptor, index, charStart, charEnd }]) => ({
    turn,
    id,
    source,
    descriptor,
    chunk_index: index,
    char_start: charStart,
    char_end: charEnd,
  })),
  record: shown.record ?? openRecord(shown.payload),
});

/** What is not in a file yet. */
const openRecord = (payload: ConversationPayload): object => ({
  conversation_id: payload.conversationId,
  language: payload.language,
  personas: payload.personas,
  turns: payload.turns.map((turn) => ({
    turn_index: turn.turn,
    qa_generation: turn.question,
    kb_answer: turn.answer,
    qa_judge: turn.verdict ?? {},
    question_mode: turn.mode,
    tool_events: namedToolRounds(turn).flatMap((round) => round.calls),
  })),
});
