/** Writes a stream of commits into line files and conversation files, in batches of bounded size (I9). */
import { rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { CommittedConversation } from '../ports/store.ts';
import {
  CONVERSATIONS_FOLDER,
  conversationPath,
  LINE_FILES,
  type JudgedRowSettings,
  rowsOf,
  type ConversationRows,
} from './dataset-rows.ts';
import { besideOf, syncFolder, writeBeside } from './durable-file.ts';
import type { LineFiles } from './line-files.ts';
import { naming, settleAll } from './output-error.ts';

/** Told before every write, so that a test can end the process there. */
export type StepHook = (step: string) => void;

export interface BatchEnd {
  /** The last commit that is now whole in the files and synced. */
  readonly commitSeq: number;
  /** Conversations of the batch that got a file. */
  readonly conversations: number;
}

/** A batch is written when it has this many bytes, or commits. */
const BATCH_BYTES = 2 * 1024 * 1024;
const BATCH_COMMITS = 256;
/** Files that are written and synced at the same time. */
const FILES_AT_ONCE = 8;

/** Yields after each batch: everything up to its end is durable, and may be recorded as such. */
export async function* writeConversations(
  conversations: AsyncIterable<CommittedConversation>,
  settings: JudgedRowSettings,
  files: LineFiles,
  onStep: StepHook,
): AsyncGenerator<BatchEnd> {
  let rows: ConversationRows[] = [];
  let commits = 0;
  let bytes = 0;
  let commitSeq = 0;
  for await (const conversation of conversations) {
    const added = await rowsOf(conversation, settings);
    commitSeq = conversation.commitSeq;
    commits += 1;
    if (added !== null) {
      rows.push(added);
      bytes += bytesOf(added);
    }
    if (bytes < BATCH_BYTES && commits < BATCH_COMMITS) continue;
    await writeBatch(rows, settings, files, onStep);
    yield { commitSeq, conversations: rows.length };
    [rows, commits, bytes] = [[], 0, 0];
  }
  if (commits === 0) return;
  await writeBatch(rows, settings, files, onStep);
  yield { commitSeq, conversations: rows.length };
}

const bytesOf = (rows: ConversationRows): number =>
  LINE_FILES.flatMap((name) => rows.lines[name]).reduce((sum, { length }) => sum + length, rows.file.length);

async function writeBatch(
  batch: readonly ConversationRows[],
  settings: JudgedRowSettings,
  files: LineFiles,
  onStep: StepHook,
): Promise<void> {
  for (const name of LINE_FILES) {
    onStep(`append ${name}`);
    await files.append(name, Buffer.concat(batch.flatMap((rows) => rows.lines[name])));
  }
  onStep('sync');
  await files.sync();
  await writeConversationFiles(batch, settings.outputDir, onStep);
}

async function writeConversationFiles(
  batch: readonly ConversationRows[],
  outputDir: string,
  onStep: StepHook,
): Promise<void> {
  const queue = batch.map((rows) => ({
    path: conversationPath(outputDir, rows.conversationId),
    content: rows.file,
  }));
  for (let from = 0; from < queue.length; from += FILES_AT_ONCE) {
    const group = queue.slice(from, from + FILES_AT_ONCE);
    onStep(`write ${CONVERSATIONS_FOLDER}`);
    await settleAll(group.map(({ path, content }) => writeBeside(path, content)));
    onStep(`rename ${CONVERSATIONS_FOLDER}`);
    await settleAll(group.map(({ path }) => naming(path, () => rename(besideOf(path), path))));
  }
  const first = queue[0];
  if (first !== undefined) await syncFolder(dirname(first.path));
}
