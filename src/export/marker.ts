/**
 * The marker file of an output folder: which dataset this is, and how far its files follow the store.
 * It is the projection's cursor and is only ever replaced whole.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { DlgforgeError, messageOf } from '../kernel/errors.ts';
import { type DatasetId, datasetId } from '../kernel/ids.ts';
import { replaceFile } from './durable-file.ts';
import { codeOf, outputError } from './output-error.ts';

export const MARKER_FILE = '.dlgforge-dataset.json';
const FORMAT = 1;

export interface Marker {
  readonly datasetId: DatasetId;
  /**
   * `rebuilding`: whoever finds this starts the rebuild again. `replacing`: new line files are whole and lie beside
   * the old ones, which the marker no longer speaks of; whoever finds this puts them in place.
   */
  readonly state: 'ready' | 'rebuilding' | 'replacing';
  /** Everything up to this commit is in the files. */
  readonly commitSeq: number;
  /** Conversations, dropped ones not counted, that have a file of their own. */
  readonly conversations: number;
  /** Bytes of each line file that belong to commits up to `commitSeq`; more is a torn write. */
  readonly bytes: Readonly<Record<string, number>>;
  /** Bytes at the front of each line file that were there before dlgforge took the folder over. */
  readonly prefix: Readonly<Record<string, number>>;
  /** The pass whose verdicts the files show; null for those that the runs gave themselves. */
  readonly judged: JudgedMark | null;
}

export interface JudgedMark {
  readonly pass: string;
  readonly revision: number;
}

const size = z.int().nonnegative();
const storedMarker = z.object({
  format: z.literal(FORMAT),
  dataset_id: z.string().min(1),
  state: z.enum(['ready', 'rebuilding', 'replacing']),
  commit_seq: size,
  conversations: size,
  files: z.record(z.string(), size),
  prefix: z.record(z.string(), size),
  judged: z.object({ pass: z.string(), revision: size }).nullable().default(null),
});

export const markerPath = (outputDir: string): string => join(outputDir, MARKER_FILE);

/**
 * The marker of a folder, null when it has none.
 * @throws DlgforgeError `output` when there is one that cannot be read: never taken for a new folder.
 */
export async function readMarker(outputDir: string): Promise<Marker | null> {
  const path = markerPath(outputDir);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return null;
    // Not even the folder can be there.
    throw codeOf(error) === 'ENOTDIR' ? outputError(outputDir, error) : unreadable(path, error);
  }
  return parseMarker(path, text);
}

function parseMarker(path: string, text: string): Marker {
  try {
    const stored = storedMarker.parse(JSON.parse(text));
    return {
      datasetId: datasetId(stored.dataset_id),
      state: stored.state,
      commitSeq: stored.commit_seq,
      conversations: stored.conversations,
      bytes: stored.files,
      prefix: stored.prefix,
      judged: stored.judged,
    };
  } catch (error) {
    throw unreadable(path, error);
  }
}

function unreadable(path: string, cause: unknown): DlgforgeError {
  return new DlgforgeError(
    'output',
    `the dataset marker ${path} cannot be read (${messageOf(cause).replaceAll(/\s+/g, ' ')}). Restore it from a copy, or ` +
      'delete it and run `dlgforge export <config>`: the store remembers which dataset belongs to this folder.',
    { cause, details: { path } },
  );
}

export async function writeMarker(outputDir: string, marker: Marker): Promise<void> {
  const stored: z.infer<typeof storedMarker> = {
    format: FORMAT,
    dataset_id: marker.datasetId,
    state: marker.state,
    commit_seq: marker.commitSeq,
    conversations: marker.conversations,
    files: marker.bytes,
    prefix: marker.prefix,
    judged: marker.judged,
  };
  await replaceFile(markerPath(outputDir), `${JSON.stringify(stored, null, 2)}\n`);
}
