/** Entry point of a worker thread: reads, hashes, parses and chunks one file per request. */
import { readFile } from 'node:fs/promises';
import { parentPort } from 'node:worker_threads';
import type { Passage } from '../dialogue/passage.ts';
import { invariant, messageOf } from '../kernel/errors.ts';
import { sha256 } from '../kernel/hash.ts';
import { passageTerms } from './analysis.ts';
import type { ChunkingParameters } from './chunking.ts';
import { documentText } from './document-text.ts';
import { documentPassages } from './passages.ts';

export interface ReadRequest {
  readonly id: number;
  readonly source: string;
  readonly path: string;
  /** null: only the hash is asked for. */
  readonly chunking: ChunkingParameters | null;
}

/** A passage with its search terms, white-space separated. */
export interface AnalysedPassage extends Passage {
  readonly terms: string;
}

export type ReadOutcome =
  | { readonly type: 'hashed'; readonly hash: string }
  | { readonly type: 'passages'; readonly hash: string; readonly passages: readonly AnalysedPassage[] }
  /** `hash` is null when not even the bytes could be read. */
  | { readonly type: 'unreadable'; readonly hash: string | null; readonly reason: string };

export interface ReadReply {
  readonly id: number;
  readonly outcome: ReadOutcome;
}

async function read({ source, path, chunking }: ReadRequest): Promise<ReadOutcome> {
  let bytes: Uint8Array;
  try {
    bytes = new Uint8Array(await readFile(path));
  } catch (error) {
    return { type: 'unreadable', hash: null, reason: `it cannot be read (${messageOf(error)})` };
  }
  const hash = sha256(bytes);
  if (chunking === null) return { type: 'hashed', hash };
  const document = await documentText(source, bytes);
  if (document.type === 'unreadable') return { ...document, hash };
  const passages = documentPassages(source, document.text, chunking).map((passage) => ({
    ...passage,
    terms: passageTerms(`${passage.descriptor}\n${passage.text}`).join(' '),
  }));
  return { type: 'passages', hash, passages };
}

invariant(parentPort !== null, 'document-worker runs in a worker thread');
const port = parentPort;
port.on('message', (request: ReadRequest) => {
  // A throw here ends the thread, and the pool reports the file by name.
  void read(request).then((outcome) => port.postMessage({ id: request.id, outcome } satisfies ReadReply));
});
