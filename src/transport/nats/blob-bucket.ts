/** The subjects and messages of an object store bucket; each call is one or a few requests with a deadline. */
import { headers, type JetStreamClient, type JetStreamManager, type StoredMsg, StorageType } from 'nats';
import { parsed } from './payload.ts';
import { type Wire, withReplicas } from './wire.ts';

export const CHUNK_BYTES = 128 * 1024;
const ANSWER_MS = 5_000;
/** Chunks without an entry that are older are of a writer that died. */
const ABANDONED_MS = 60 * 60_000;
const DIGEST_PREFIX = 'SHA-256=';

/** The description of an object, with the field names of the object store. */
export interface BlobEntry {
  readonly name: string;
  readonly bucket: string;
  /** Of its chunks. */
  readonly nuid: string;
  readonly size: number;
  readonly chunks: number;
  readonly digest: string;
  readonly mtime: string;
  readonly deleted: boolean;
  readonly options: { readonly max_chunk_size: number };
}

export class BlobBucket {
  readonly #wire: Wire;
  readonly #bucket: string;
  readonly #stream: string;

  static async open(wire: Wire): Promise<BlobBucket> {
    const bucket = new BlobBucket(wire);
    await bucket.ensure();
    return bucket;
  }

  private constructor(wire: Wire) {
    this.#wire = wire;
    this.#bucket = wire.subjects.bucket;
    this.#stream = `OBJ_${this.#bucket}`;
  }

  /** Makes the bucket when it is not there: a server may have come back with nothing. */
  async ensure(): Promise<void> {
    await withReplicas(this.#wire, (replicas) =>
      this.#client().views.os(this.#bucket, { storage: StorageType.File, replicas }),
    );
  }

  describe(name: string, id: string, size: number, chunks: number, digest: Buffer): BlobEntry {
    return {
      name,
      bucket: this.#bucket,
      nuid: id,
      size,
      chunks,
      digest: this.digestText(digest),
      mtime: new Date().toISOString(),
      deleted: false,
      options: { max_chunk_size: CHUNK_BYTES },
    };
  }

  /** As the object store writes it: padded base64url. */
  digestText(digest: Buffer): string {
    const text = digest.toString('base64').replaceAll('+', '-').replaceAll('/', '_');
    return `${DIGEST_PREFIX}${text}`;
  }

  async entry(name: string): Promise<BlobEntry | null> {
    const message = await this.#last(this.#entrySubject(name));
    const entry = message === null ? null : readEntry(message);
    return entry === null || entry.deleted ? null : entry;
  }

  async entries(): Promise<BlobEntry[]> {
    const found: BlobEntry[] = [];
    for (const subject of await this.#subjects(`$O.${this.#bucket}.M.>`)) {
      const message = await this.#last(subject);
      const entry = message === null ? null : readEntry(message);
      if (entry !== null && !entry.deleted) found.push(entry);
    }
    return found;
  }

  async isWhole(entry: BlobEntry): Promise<boolean> {
    const subject = this.#chunkSubject(entry.nuid);
    const info = await (await this.#manager()).streams
      .info(this.#stream, { subjects_filter: subject })
      .catch(missing);
    return (info?.state.subjects?.[subject] ?? 0) === entry.chunks;
  }

  async writeChunk(id: string, bytes: Uint8Array): Promise<void> {
    await this.#client().publish(this.#chunkSubject(id), bytes, { timeout: ANSWER_MS });
  }

  /** False when somebody else has written an entry of this name meanwhile. */
  async writeEntry(entry: BlobEntry): Promise<boolean> {
    const subject = this.#entrySubject(entry.name);
    const before = await this.#last(subject);
    const known = before === null ? null : readEntry(before);
    if (known !== null && !known.deleted && (await this.isWhole(known))) return false;
    const rollup = headers();
    rollup.set('Nats-Rollup', 'sub');
    try {
      await this.#client().publish(subject, JSON.stringify(entry), {
        headers: rollup,
        expect: { lastSubjectSequence: before?.seq ?? 0 },
        timeout: ANSWER_MS,
      });
      return true;
    } catch (error) {
      if (error instanceof Error && /wrong last sequence/.test(error.message)) return false;
      throw error;
    }
  }

  async *chunks(entry: BlobEntry): AsyncGenerator<Uint8Array> {
    const subject = this.#chunkSubject(entry.nuid);
    let after = 0;
    for (let index = 0; index < entry.chunks; index += 1) {
      const message = await this.#next(subject, after + 1);
      if (message === null) return;
      after = message.seq;
      yield message.data;
    }
  }

  /** The entry first, so that nobody finds one whose chunks are gone. */
  async remove(entry: BlobEntry): Promise<void> {
    const subject = this.#entrySubject(entry.name);
    await (await this.#manager()).streams.purge(this.#stream, { filter: subject }).catch(missing);
    await this.dropChunks(entry.nuid);
  }

  async dropChunks(id: string): Promise<void> {
    await (await this.#manager()).streams
      .purge(this.#stream, { filter: this.#chunkSubject(id) })
      .catch(missing);
  }

  /** Takes out chunks that belong to none of `entries` and are old enough to be nobody's. */
  async sweep(entries: readonly BlobEntry[]): Promise<void> {
    const wanted = new Set(entries.map((entry) => this.#chunkSubject(entry.nuid)));
    for (const subject of await this.#subjects(`$O.${this.#bucket}.C.>`)) {
      if (wanted.has(subject)) continue;
      const message = await this.#last(subject);
      if (message === null || Date.now() - message.time.getTime() < ABANDONED_MS) continue;
      await (await this.#manager()).streams.purge(this.#stream, { filter: subject }).catch(missing);
    }
  }

  async #subjects(filter: string): Promise<string[]> {
    const info = await (await this.#manager()).streams
      .info(this.#stream, { subjects_filter: filter })
      .catch(missing);
    return Object.keys(info?.state.subjects ?? {});
  }

  async #last(subject: string): Promise<StoredMsg | null> {
    return await (await this.#manager()).streams
      .getMessage(this.#stream, { last_by_subj: subject })
      .catch(missing);
  }

  /** By a direct read: without base64, and from any replica. */
  async #next(
    subject: string,
    seq: number,
  ): Promise<{ readonly seq: number; readonly data: Uint8Array } | null> {
    const query = JSON.stringify({ next_by_subj: subject, seq });
    const answer = await this.#wire.nats.request(`$JS.API.DIRECT.GET.${this.#stream}`, query, {
      timeout: ANSWER_MS,
    });
    const code = answer.headers?.code ?? 0;
    if (code === 404) return null;
    if (code >= 300) throw new Error(`a chunk cannot be read: ${answer.headers?.description ?? code}`);
    return { seq: Number(answer.headers?.get('Nats-Sequence')), data: answer.data };
  }

  /** Of the connection of now. */
  #client(): JetStreamClient {
    return this.#wire.nats.jetstream({ timeout: ANSWER_MS });
  }

  #manager(): Promise<JetStreamManager> {
    return this.#wire.nats.jetstreamManager({ timeout: ANSWER_MS, checkAPI: false });
  }

  #entrySubject(name: string): string {
    const word = Buffer.from(name).toString('base64').replaceAll('+', '-').replaceAll('/', '_');
    return `$O.${this.#bucket}.M.${word}`;
  }

  #chunkSubject(id: string): string {
    return `$O.${this.#bucket}.C.${id}`;
  }
}

/** The stream, or the message in it, is not there. */
function missing(error: unknown): null {
  if (error instanceof Error && 'code' in error && error.code === '404') return null;
  throw error;
}

/** Null for what is no entry: others can write here (I10). */
function readEntry(message: StoredMsg): BlobEntry | null {
  const entry = parsed(message.data);
  if (entry === null || typeof entry !== 'object') return null;
  const { name, nuid, size, chunks, digest, mtime } = entry as Partial<Record<string, unknown>>;
  const isEntry =
    typeof name === 'string' &&
    typeof nuid === 'string' &&
    /^[A-Za-z0-9]+$/.test(nuid) &&
    Number.isSafeInteger(size) &&
    Number.isSafeInteger(chunks) &&
    typeof digest === 'string' &&
    typeof mtime === 'string';
  return isEntry ? (entry as BlobEntry) : null;
}
