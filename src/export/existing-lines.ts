/**
 * What stood in the line files before dlgforge took a folder over (0.1.0 wrote the same files): those
 * lines stay in front of ours. Here is found how many bytes that are.
 */
import { open, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pythonJson } from '../dialogue/python-json.ts';
import { ledgerRow } from '../dialogue/records.ts';
import type { DatasetId } from '../kernel/ids.ts';
import type { Store } from '../ports/store.ts';
import { LEDGER_FILE, LINE_FILES, type LineFile } from './dataset-rows.ts';
import { besideOf } from './durable-file.ts';
import { fileLines } from './lines.ts';
import { codeOf, naming, outputError } from './output-error.ts';

export type ProjectedStore = Pick<Store, 'committed' | 'adoptedLines' | 'verdicts'>;

/** Bytes of a file, 0 when there is none. */
export async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return 0;
    throw outputError(path, error);
  }
}

/** Commits that are looked at to recognise lines of this dataset. */
const SAMPLE_COMMITS = 200;

/**
 * The length of the foreign lines in front of each file, for a folder without a marker. Everything from
 * the first line that belongs to one of the dataset's first commits on is ours and can be made again.
 */
export async function foreignPrefixes(
  outputDir: string,
  store: ProjectedStore,
  id: DatasetId,
): Promise<Record<LineFile, number>> {
  const isOurs = await lineRecogniser(store, id);
  const prefixes: Partial<Record<LineFile, number>> = {};
  for (const name of LINE_FILES) prefixes[name] = await foreignPrefix(join(outputDir, name), name, isOurs);
  return prefixes as Record<LineFile, number>;
}

type IsOurs = (name: LineFile, line: string) => boolean;

async function lineRecogniser(store: ProjectedStore, id: DatasetId): Promise<IsOurs> {
  const conversationIds = new Set<unknown>();
  const ledgerLines = new Set<string>();
  let seen = 0;
  for await (const conversation of store.committed(id, 0)) {
    if (conversation.status === 'committed') {
      conversationIds.add(conversation.conversationId);
      for (const entry of conversation.ledger)
        ledgerLines.add(pythonJson(ledgerRow(entry, conversation.committedAtMs)));
    }
    seen += 1;
    if (seen === SAMPLE_COMMITS) break;
  }
  return (name, line) =>
    name === LEDGER_FILE ? ledgerLines.has(line) : conversationIds.has(conversationIdOf(line));
}

function conversationIdOf(line: string): unknown {
  let row: unknown;
  try {
    row = JSON.parse(line);
  } catch {
    return null; // Not a line that dlgforge wrote.
  }
  return conversationIdIn(row);
}

/** The id of the conversation that a row of any line file is about; null when it names none. */
export function conversationIdIn(row: unknown): unknown {
  if (typeof row !== 'object' || row === null) return null;
  const fields = row as Record<string, unknown>;
  if (typeof fields['conversation_id'] === 'string') return fields['conversation_id'];
  // A ShareGPT row: the id is in the metadata, whose column may have been renamed.
  const holder = Object.values(fields).find(
    (value) => typeof value === 'object' && value !== null && 'conversation_id' in value,
  );
  return (holder as Record<string, unknown> | undefined)?.['conversation_id'] ?? null;
}

async function foreignPrefix(path: string, name: LineFile, isOurs: IsOurs): Promise<number> {
  if ((await sizeOf(path)) === 0) return 0;
  let end = 0;
  for await (const line of fileLines(path)) {
    if (isOurs(name, line.text)) return line.start;
    end = line.end;
  }
  return await sealLastLine(path, end);
}

/** A last line without its end would swallow the first of ours. */
async function sealLastLine(path: string, size: number): Promise<number> {
  return await naming(path, async () => {
    await using file = await open(path, 'r+');
    const last = Buffer.alloc(1);
    await file.read(last, 0, 1, size - 1);
    if (last[0] === 10) return size;
    await file.write('\n', size);
    return size + 1;
  });
}

/** Puts the adopted lines into a ledger that is not there (any more); gives its length. Whole or not at all. */
export async function restoreLedger(
  outputDir: string,
  store: ProjectedStore,
  id: DatasetId,
): Promise<number> {
  const path = join(outputDir, LEDGER_FILE);
  const beside = besideOf(path);
  await naming(beside, async () => {
    await using file = await open(beside, 'w');
    for await (const line of store.adoptedLines(id)) await file.write(`${line}\n`);
    await file.sync();
  });
  await naming(path, () => rename(beside, path));
  return await sizeOf(path);
}
