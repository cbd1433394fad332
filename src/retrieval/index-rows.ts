/** The rows of the new table, in order: copied where a document is unchanged, made anew elsewhere. */
import { DlgforgeError, invariant } from '../kernel/errors.ts';
import type { Embedder } from '../ports/retriever.ts';
import type { ChunkingParameters } from './chunking.ts';
import type { DocumentPool } from './document-pool.ts';
import type { ReadOutcome } from './document-worker.ts';
import type { IndexedFile } from './index-manifest.ts';
import type { PlannedFile, UpdatePlan } from './index-plan.ts';
import type { PassageRow } from './passage-rows.ts';
import { BATCH_ROWS, type PassageTable } from './passage-table.ts';

export interface RowSource {
  readonly plan: UpdatePlan;
  /** The live table; null when everything is read. */
  readonly previous: PassageTable | null;
  readonly pool: DocumentPool;
  readonly embedder: Embedder | null;
  readonly chunking: ChunkingParameters;
  readonly signal?: AbortSignal | undefined;
}

export interface FileRows {
  readonly rows: readonly PassageRow[];
  /** Files whose last row is in this part or an earlier one, in order. */
  readonly completed: readonly IndexedFile[];
}

/** Files that are read ahead of the one whose turn it is, per thread. */
const READ_AHEAD = 2;

/** Starts reading a few files early, and hands each out once. */
function readAhead({ plan, pool, chunking }: RowSource): (file: PlannedFile) => Promise<ReadOutcome> {
  const queue = plan.files.filter(({ kind }) => kind !== 'unchanged');
  const started = new Map<PlannedFile, Promise<ReadOutcome>>();
  let next = 0;
  return (wanted) => {
    for (; next < queue.length && started.size < pool.size * READ_AHEAD + 1; next += 1) {
      const planned = queue[next] as PlannedFile;
      const reading = pool.read({ source: planned.file.source, path: planned.file.path, chunking });
      // When an earlier file ends the build, nobody waits for this one any more.
      reading.catch(() => undefined);
      started.set(planned, reading);
    }
    const reading = started.get(wanted);
    invariant(reading, 'files are asked for in the order of the plan');
    started.delete(wanted);
    return reading;
  };
}

const vectorKey = ({ passage }: PassageRow): string => `${passage.id}\n${passage.descriptor}`;

/** Vectors of a changed document's passages that have stayed the same. */
async function keptVectors(
  { previous, embedder }: RowSource,
  { known, firstRow }: PlannedFile,
): Promise<ReadonlyMap<string, Float32Array>> {
  const kept = new Map<string, Float32Array>();
  if (previous === null || embedder === null || known === null) return kept;
  for await (const rows of previous.copy(firstRow, firstRow + known.passages)) {
    for (const row of rows) if (row.vector) kept.set(vectorKey(row), row.vector);
  }
  return kept;
}

async function* freshRows(
  from: RowSource,
  planned: PlannedFile,
  reading: Promise<ReadOutcome>,
): AsyncGenerator<FileRows> {
  const outcome = await reading;
  const { source, stamp } = planned.file;
  if (outcome.type !== 'passages') {
    const skipped = outcome.type === 'unreadable' ? outcome.reason : 'it gave no passages';
    yield { rows: [], completed: [{ source, stamp, hash: outcome.hash, passages: 0, skipped }] };
    return;
  }
  const kept = await keptVectors(from, planned);
  const rows = outcome.passages.map(({ terms, ...passage }): PassageRow => {
    const row = { passage, terms, vector: null };
    return { ...row, vector: kept.get(vectorKey(row)) ?? null };
  });
  yield { rows, completed: [{ source, stamp, hash: outcome.hash, passages: rows.length, skipped: null }] };
}

async function* copiedRows({ previous }: RowSource, run: readonly PlannedFile[]): AsyncGenerator<FileRows> {
  const first = run[0];
  invariant(first, 'a run of unchanged files is not empty');
  const entries = run.map(({ known, file }): IndexedFile => {
    invariant(known, 'an unchanged file is known');
    return { ...known, stamp: file.stamp };
  });
  const count = entries.reduce((sum, { passages }) => sum + passages, 0);
  if (count > 0) {
    invariant(previous, 'rows are copied from the live table');
    for await (const rows of previous.copy(first.firstRow, first.firstRow + count))
      yield { rows, completed: [] };
  }
  yield { rows: [], completed: entries };
}

/** Unchanged files whose rows follow one another in the live table are copied with one scan. */
function followsDirectly(run: readonly PlannedFile[], next: PlannedFile): boolean {
  const last = run.at(-1);
  return (
    last !== undefined &&
    next.kind === 'unchanged' &&
    last.firstRow + (last.known?.passages ?? 0) === next.firstRow
  );
}

async function* parts(from: RowSource): AsyncGenerator<FileRows> {
  const read = readAhead(from);
  let run: PlannedFile[] = [];
  for (const planned of from.plan.files) {
    if (run.length > 0 && !followsDirectly(run, planned)) {
      yield* copiedRows(from, run);
      run = [];
    }
    if (planned.kind === 'unchanged') run.push(planned);
    else yield* freshRows(from, planned, read(planned));
  }
  if (run.length > 0) yield* copiedRows(from, run);
}

/** What a vector stands for: the place in words, then the text. */
const embeddedText = ({ passage }: PassageRow): string => `${passage.descriptor}\n${passage.text}`;

async function withVectors(
  rows: readonly PassageRow[],
  embedder: Embedder | null,
  signal?: AbortSignal,
): Promise<readonly PassageRow[]> {
  if (embedder === null) return rows;
  const bare = rows.filter((row) => row.vector === null);
  if (bare.length === 0) return rows;
  const vectors = await embedder.embed(bare.map(embeddedText), 'passage', signal);
  let next = 0;
  return rows.map((row) => (row.vector === null ? { ...row, vector: vectors[next++] ?? null } : row));
}

/** @throws DlgforgeError `cancelled` when the signal aborts, `retrieval` when the embedder fails. */
export async function* updatedRows(from: RowSource): AsyncGenerator<FileRows> {
  let rows: PassageRow[] = [];
  let completed: IndexedFile[] = [];
  for await (const part of parts(from)) {
    if (from.signal?.aborted)
      throw new DlgforgeError(
        'cancelled',
        'Indexing was stopped. The index that was there before stays in use.',
      );
    rows.push(...part.rows);
    while (rows.length >= BATCH_ROWS)
      yield {
        rows: await withVectors(rows.splice(0, BATCH_ROWS), from.embedder, from.signal),
        completed: completed.splice(0),
      };
    completed.push(...part.completed);
  }
  yield { rows: await withVectors(rows, from.embedder, from.signal), completed };
}
