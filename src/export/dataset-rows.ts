/** Which line goes into which file, for one committed conversation. */
import { relative, isAbsolute, join, sep } from 'node:path';
import type { ConversationPayload } from '../dialogue/conversation-record.ts';
import { pythonJson, pythonJsonIndented } from '../dialogue/python-json.ts';
import { quotedAnswers } from '../dialogue/raw-results.ts';
import { conversationFile, indexRow, ledgerRow, syntheticQaRow, turnRows } from '../dialogue/records.ts';
import { judgedRow, type OutputColumns, sharegptRow } from '../dialogue/sharegpt-record.ts';
import { DlgforgeError } from '../kernel/errors.ts';
import type { CommittedConversation } from '../ports/store.ts';
import type { JournalAnswers } from './journal-answers.ts';

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

/** What one conversation adds to an output folder. */
export interface ConversationRows {
  readonly conversationId: string;
  /** Text of `conversations/<id>.json`. */
  readonly file: string;
  /** Whole lines, `\n` included; empty when the conversation adds none to that file. */
  readonly lines: Readonly<Record<LineFile, string>>;
}

export interface RowSettings {
  readonly outputDir: string;
  /** Folder of the configuration: paths in the index are relative to it where they can be. */
  readonly projectRoot: string;
  readonly columns: OutputColumns;
  readonly journalAnswers: JournalAnswers;
}

/** Null for a dropped conversation: it is in no record. */
export async function rowsOf(
  conversation: CommittedConversation,
  settings: RowSettings,
): Promise<ConversationRows | null> {
  if (conversation.status !== 'committed') return null;
  const payload = payloadOf(conversation);
  const rawResponses = await settings.journalAnswers(conversation, quotedAnswers(payload));
  const source = { payload, committedAtMs: conversation.committedAtMs, rawResponses };
  const judged = judgedRow(source, settings.columns);
  return {
    conversationId: conversation.conversationId,
    file: pythonJsonIndented(conversationFile(source)),
    lines: {
      'synthetic_qa.jsonl': line(syntheticQaRow(source)),
      'conversations_index.jsonl': line(indexRow(source, shownPath(settings, conversation.conversationId))),
      'conversations_sharegpt.jsonl': line(sharegptRow(source, settings.columns)),
      'conversations_sharegpt_judged.jsonl': judged === null ? '' : line(judged),
      'turns.jsonl': turnRows(source).map(line).join(''),
      'coverage_ledger.jsonl': conversation.ledger
        .filter((entry) => entry.question.trim() !== '')
        .map((entry) => line(ledgerRow(entry, conversation.committedAtMs)))
        .join(''),
    },
  };
}

const line = (row: object): string => `${pythonJson(row)}\n`;

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
