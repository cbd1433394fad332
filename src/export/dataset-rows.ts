/** Which line goes into which file, for one committed conversation. */
import { relative, isAbsolute, join, sep } from 'node:path';
import type { ConversationPayload } from '../dialogue/conversation-record.ts';
import { jsonString } from '../dialogue/python-json.ts';
import { quotedAnswers } from '../dialogue/raw-results.ts';
import type { RecordSource } from '../dialogue/record-parts.ts';
import { conversationFile, indexRow, ledgerRow, syntheticQaRow, turnRows } from '../dialogue/records.ts';
import { judgeColumn, type OutputColumns, sharegptRow } from '../dialogue/sharegpt-record.ts';
import { underPass } from '../dialogue/verdict-overlay.ts';
import { DlgforgeError } from '../kernel/errors.ts';
import type { CommittedConversation } from '../ports/store.ts';
import type { JournalAnswers } from './journal-answers.ts';
import { JsonBytes } from './json-bytes.ts';
import type { ShownVerdicts } from './shown-verdicts.ts';

export const LEDGER_FILE = 'coverage_ledger.jsonl';
/** The line files, in the order in which a conversation's lines go into them. */
export const LINE_FILES = [
  'synthetic_qa.jsonl',
  'conversations_index.jsonl',
  'conversations_sharegpt.jsonl',
  'conversations_sharegpt_judged.jsonl',
  'turns.jsonl',
  LEDGER_FILE,
] as const;
export type LineFile = (typeof LINE_FILES)[number];

export const CONVERSATIONS_FOLDER = 'conversations';
export const RUN_STATE_FOLDER = 'run_state';

/** What one conversation adds to an output folder, in UTF-8. */
export interface ConversationRows {
  readonly conversationId: string;
  /** `conversations/<id>.json`. */
  readonly file: Uint8Array;
  /** Whole lines, `\n` included, in pieces; none when the conversation adds none to that file. */
  readonly lines: Readonly<Record<LineFile, readonly Uint8Array[]>>;
}

export interface RowSettings {
  readonly outputDir: string;
  /** Folder of the configuration: paths in the index are relative to it where they can be. */
  readonly projectRoot: string;
  readonly columns: OutputColumns;
  readonly journalAnswers: JournalAnswers;
}

/** With the verdicts that rows are to show; null for those that the run gave itself. */
export interface JudgedRowSettings extends RowSettings {
  readonly verdicts: ShownVerdicts | null;
}

/** Null for a dropped conversation: it is in no record. */
export async function rowsOf(
  conversation: CommittedConversation,
  settings: JudgedRowSettings,
): Promise<ConversationRows | null> {
  if (conversation.status !== 'committed') return null;
  const source = await recordSource(conversation, settings);
  const json = new JsonBytes();
  const lines = (rows: readonly object[]): readonly Uint8Array[] =>
    rows.flatMap((row) => [json.line(row), LINE_END]);
  return {
    conversationId: conversation.conversationId,
    file: json.indented(conversationFile(source)),
    lines: {
      'synthetic_qa.jsonl': lines([syntheticQaRow(source)]),
      'conversations_index.jsonl': lines([
        indexRow(source, shownPath(settings, conversation.conversationId)),
      ]),
      ...sharegptLines(source, settings.columns, json),
      'turns.jsonl': lines(turnRows(source)),
      'coverage_ledger.jsonl': lines(
        conversation.ledger
          .filter((entry) => entry.question.trim() !== '')
          .map((entry) => ledgerRow(entry, conversation.committedAtMs)),
      ),
    },
  };
}

/** A conversation with the verdicts that rows are to show. */
export async function recordSource(
  conversation: CommittedConversation,
  { verdicts, journalAnswers }: Pick<JudgedRowSettings, 'verdicts' | 'journalAnswers'>,
): Promise<RecordSource> {
  const { conversationId, committedAtMs } = conversation;
  const own = payloadOf(conversation);
  const { payload, responses } =
    verdicts === null
      ? { payload: own, responses: new Map<number, unknown>() }
      : underPass(own, verdicts.pass, await verdicts.of(conversationId));
  const journalled = quotedAnswers(payload).filter((seq) => !responses.has(seq));
  const found = await journalAnswers(conversation, journalled);
  return { payload, committedAtMs, rawResponses: new Map([...found, ...responses]) };
}

const LINE_END = Buffer.from('\n');
const ROW_END = Buffer.from('}\n');

/** The judged row is the other one and a column: what they share is written once. */
function sharegptLines(
  source: RecordSource,
  columns: OutputColumns,
  json: JsonBytes,
): Pick<ConversationRows['lines'], 'conversations_sharegpt.jsonl' | 'conversations_sharegpt_judged.jsonl'> {
  const shared = json.line(sharegptRow(source, columns)).subarray(0, -'}'.length);
  const judge = judgeColumn(source);
  const plain = [shared, ROW_END];
  if (judge === null)
    return { 'conversations_sharegpt.jsonl': plain, 'conversations_sharegpt_judged.jsonl': [] };
  const column = [Buffer.from(`, ${jsonString(columns.judge)}: `), json.line(judge)];
  return {
    'conversations_sharegpt.jsonl': plain,
    'conversations_sharegpt_judged.jsonl': [shared, ...column, ROW_END],
  };
}

export function payloadOf(conversation: CommittedConversation): ConversationPayload {
  const payload = conversation.payload as ConversationPayload | null;
  if (payload?.version === 1) return payload;
  throw new DlgforgeError(
    'store',
    `conversation ${conversation.conversationId} was stored in a format that this dlgforge does not read. ` +
      'Use the version that wrote it, or a newer one.',
    { details: { version: payload?.version ?? null } },
  );
}

/** Relative to the project when the output folder is inside it, else to the output folder. */
function shownPath(settings: RowSettings, conversationId: string): string {
  const file = conversationPath(settings.outputDir, conversationId);
  const fromRoot = relative(settings.projectRoot, file);
  const inside = !isAbsolute(fromRoot) && fromRoot !== '..' && !fromRoot.startsWith(`..${sep}`);
  return inside ? fromRoot : relative(settings.outputDir, file);
}

/** @throws DlgforgeError `output` for an id that is no file name: it could name a file outside the folder. */
export function conversationPath(outputDir: string, conversationId: string): string {
  if (!/^(?!\.)[^/\\\0]{1,200}$/.test(conversationId)) {
    throw new DlgforgeError(
      'output',
      `the conversation id ${JSON.stringify(conversationId)} cannot be a file name. ` +
        'Choose a `run.run_id` of letters, digits, dots, dashes and underscores.',
    );
  }
  return join(outputDir, CONVERSATIONS_FOLDER, `${conversationId}.json`);
}
