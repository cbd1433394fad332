/**
 * Owns what is known of the batches of a pass: each step stands in the store before the next one is taken, so
 * whoever comes after a crash knows what to ask the provider for.
 *
 * 1. The requests of a part are noted, and its file is, before the provider is asked to create the batch.
 * 2. A part is settled when everything that it gave is in the journals of its units.
 */
import { sha256 } from '../../../kernel/hash.ts';
import { type DatasetId, type Epoch, type PersistenceId, persistenceId } from '../../../kernel/ids.ts';
import type { BatchForm } from '../../../ports/batch.ts';
import type { Journal, Recovered } from '../../../ports/store.ts';
import {
  type BatchEntry,
  type BatchEvent,
  decodeBatchEntries,
  decodeBatchEvent,
} from '../../../protocol/batch-events.ts';

/** A file of requests that the provider has; it may not be a batch yet. */
export interface OpenPart {
  readonly part: string;
  readonly endpoint: string;
  readonly fileId: string;
  readonly requests: number;
  readonly form: BatchForm;
  readonly batchId: string | null;
}

type Journalling = Pick<Journal, 'recover' | 'append' | 'read'>;

/** Entries per event. */
const ENTRIES_AT_ONCE = 1_000;

/** Not below the prefix of verdicts: nothing in it was paid for. */
const recordId = (datasetId: DatasetId, pass: string): PersistenceId =>
  persistenceId(`judge-batches/${encodeURIComponent(datasetId)}/${pass}`);
const partId = (part: string): PersistenceId => persistenceId(`judge-batch/${part}`);

/** What a request is called in files: equal over processes, within the 64 characters that providers take. */
export const customIdOf = ({ unit, requestKey }: Pick<BatchEntry, 'unit' | 'requestKey'>): string =>
  `${sha256(unit).slice(0, 24)}-${requestKey}`;

/** The parts that are not settled, in order; takes nothing. */
export async function openParts(
  journal: Pick<Journal, 'read'>,
  datasetId: DatasetId,
  pass: string,
): Promise<readonly OpenPart[]> {
  const events = await journal.read(recordId(datasetId, pass));
  return [...evolved(events.map(({ event }) => decodeBatchEvent(event))).values()];
}

function evolved(events: readonly BatchEvent[]): Map<string, OpenPart> {
  const parts = new Map<string, OpenPart>();
  for (const event of events) apply(parts, event);
  return parts;
}

function apply(parts: Map<string, OpenPart>, event: BatchEvent): void {
  if (event.type === 'BatchUploaded') {
    const { type: _, ...part } = event;
    parts.set(event.part, { ...part, batchId: null });
    return;
  }
  if (event.type === 'BatchSettled') {
    parts.delete(event.part);
    return;
  }
  const known = parts.get(event.part);
  if (known !== undefined) parts.set(event.part, { ...known, batchId: event.batchId });
}

/** Takes the hold: whoever had it before can create nothing more (I2). */
export async function openBatchRecord(
  journal: Journalling,
  datasetId: DatasetId,
  pass: string,
): Promise<BatchRecord> {
  const id = recordId(datasetId, pass);
  return new BatchRecord(journal, id, await journal.recover(id));
}

export class BatchRecord {
  readonly #journal: Journalling;
  readonly #id: PersistenceId;
  readonly #epoch: Epoch;
  readonly #parts: Map<string, OpenPart>;
  #seq: number;

  constructor(journal: Journalling, id: PersistenceId, { epoch, events, lastSeq }: Recovered) {
    this.#journal = journal;
    this.#id = id;
    this.#epoch = epoch;
    this.#seq = lastSeq;
    this.#parts = evolved(events.map(({ event }) => decodeBatchEvent(event)));
  }

  get open(): readonly OpenPart[] {
    return [...this.#parts.values()];
  }

  /** Before the file is uploaded. */
  async noteEntries(part: string, entries: readonly BatchEntry[]): Promise<void> {
    const id = partId(part);
    const { epoch, lastSeq } = await this.#journal.recover(id);
    let seq = lastSeq;
    for (let start = 0; start < entries.length; start += ENTRIES_AT_ONCE) {
      const some = entries.slice(start, start + ENTRIES_AT_ONCE);
      await this.#journal.append(id, epoch, seq, [{ type: 'BatchEntriesNoted', entries: some }]);
      seq += 1;
    }
  }

  /** By the custom id of their requests. */
  async entries(part: string): Promise<Map<string, BatchEntry>> {
    const entries = new Map<string, BatchEntry>();
    for (const { event } of await this.#journal.read(partId(part)))
      for (const entry of decodeBatchEntries(event).entries) entries.set(customIdOf(entry), entry);
    return entries;
  }

  async append(event: BatchEvent): Promise<void> {
    await this.#journal.append(this.#id, this.#epoch, this.#seq, [event]);
    this.#seq += 1;
    apply(this.#parts, event);
  }

  /** @throws DlgforgeError `stale_epoch` when another process goes on with the pass. */
  async confirm(): Promise<void> {
    await this.#journal.append(this.#id, this.#epoch, this.#seq, []);
  }
}
