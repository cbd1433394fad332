/**
 * The LanceDB table of one index generation. A table is written once, in the order of its `row`
 * column (documents by path, passages by position), and never changed: LanceDB breaks ties at a
 * limit by storage order, so equal passages in equal order is what makes an index that was built
 * step by step answer like one that was built at once.
 */
import { connect, type Connection, Index, MatchQuery, type Table } from '@lancedb/lancedb';
import type { Table as ArrowTable } from 'apache-arrow';
import type { Passage } from '../dialogue/passage.ts';
import { DlgforgeError, messageOf } from '../kernel/errors.ts';
import { arrowTable, cells, PASSAGE_COLUMNS, passageAt, type PassageRow, schemaOf } from './passage-rows.ts';

/** Rows that are written, embedded or copied together. */
export const BATCH_ROWS = 1_000;
/** From here on an exact scan of the vectors is slower than the graph (measured: 12 ms against 2 ms). */
export const VECTOR_INDEX_ROWS = 20_000;
/** Vectors have unit length, so this orders them as the cosine does; its graph is built in half the time. */
const DISTANCE = 'l2';
/** The graph gives this many times the rows asked for, which are scored again with the exact vectors. */
const REFINE_FACTOR = 2;
/** Candidates that the graph search keeps at least; fewer than it has to give is an error of LanceDB. */
const EF_MIN = 128;
const TABLE_PREFIX = 'passages-';

export interface ScoredRow {
  readonly row: number;
  readonly score: number;
}

const REBUILD = 'If it happens again, set tools.retrieval.index.rebuild to true for one run.';
const damaged = (): DlgforgeError =>
  new DlgforgeError('retrieval', `The knowledge index has rows out of order. ${REBUILD}`);

/** @throws DlgforgeError `retrieval` with the database's own error as its cause. */
async function guarded<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof DlgforgeError) throw error;
    throw new DlgforgeError(
      'retrieval',
      `The knowledge index cannot be used: ${messageOf(error)}. ${REBUILD}`,
      { cause: error },
    );
  }
}

export class PassageTable {
  readonly #table: Table;
  readonly #dimension: number | null;
  #rows = 0;

  constructor(table: Table, dimension: number | null) {
    this.#table = table;
    this.#dimension = dimension;
  }

  /** Appends after the rows that are there; returns their number. */
  async append(rows: readonly PassageRow[]): Promise<number> {
    if (rows.length > 0) await this.#table.add(arrowTable(rows, this.#rows, this.#dimension));
    this.#rows += rows.length;
    return this.#rows;
  }

  /** Compacts first: one fragment gives one index partition, whatever batches the rows came in. */
  async finish(vectorIndexRows = VECTOR_INDEX_ROWS): Promise<void> {
    await this.#table.optimize({ cleanupOlderThan: new Date() });
    await this.#table.createIndex('terms', {
      config: Index.fts({
        baseTokenizer: 'whitespace',
        lowercase: false,
        stem: false,
        removeStopWords: false,
        asciiFolding: false,
        withPosition: false,
        maxTokenLength: 128,
      }),
    });
    if (this.#dimension !== null && this.#rows >= vectorIndexRows) {
      await this.#table.createIndex('vector', {
        config: Index.hnswSq({ distanceType: DISTANCE, numPartitions: 1, efConstruction: 150 }),
      });
    }
  }

  count(): Promise<number> {
    return guarded(() => this.#table.countRows());
  }

  /** Rows [from, to) with terms and vectors, in batches. */
  async *copy(from: number, to: number): AsyncGenerator<PassageRow[]> {
    let next = from;
    const batches = this.#table.query().where(`row >= ${from} AND row < ${to}`);
    for await (const batch of batches) {
      const read = cells(batch);
      const rows: PassageRow[] = [];
      for (let i = 0; i < batch.numRows; i += 1) {
        if (read.number('row', i) !== next) throw damaged();
        next += 1;
        rows.push({ passage: passageAt(read, i), terms: read.text('terms', i), vector: read.vector(i) });
      }
      yield rows;
    }
    if (next !== to) throw damaged();
  }

  /** Every passage in row order; its terms are '' where they are not wanted. */
  async *passages(withTerms: boolean): AsyncGenerator<Omit<PassageRow, 'vector'>> {
    const columns = withTerms ? [...PASSAGE_COLUMNS, 'terms'] : PASSAGE_COLUMNS;
    let next = 0;
    for await (const batch of this.#table.query().select(columns)) {
      const read = cells(batch);
      for (let i = 0; i < batch.numRows; i += 1) {
        if (read.number('row', i) !== next) throw damaged();
        next += 1;
        yield { passage: passageAt(read, i), terms: withTerms ? read.text('terms', i) : '' };
      }
    }
  }

  async passagesAt(rows: readonly number[]): Promise<ReadonlyMap<number, Passage>> {
    return guarded(async () => {
      const found = new Map<number, Passage>();
      const answer = await this.#table
        .takeOffsets([...rows])
        .select(PASSAGE_COLUMNS)
        .toArrow();
      for (const batch of answer.batches) {
        const read = cells(batch);
        for (let i = 0; i < batch.numRows; i += 1) found.set(read.number('row', i), passageAt(read, i));
      }
      return found;
    });
  }

  /** BM25 over the terms; best first, but unordered among equals, and cut anywhere among them. */
  matching(terms: readonly string[], limit: number): Promise<ScoredRow[]> {
    return this.#scored(
      this.#table
        .query()
        .fullTextSearch(new MatchQuery(terms.join(' '), 'terms'))
        .select(['row', '_score'])
        .limit(limit),
      '_score',
      1,
    );
  }

  /** Nearest first; the score is the negative distance. */
  nearest(vector: Float32Array, limit: number): Promise<ScoredRow[]> {
    const query = this.#table
      .query()
      .nearestTo(vector)
      .column('vector')
      .distanceType(DISTANCE)
      .select(['row', '_distance'])
      .limit(limit);
    return this.#scored(
      query.ef(Math.max(EF_MIN, limit * REFINE_FACTOR)).refineFactor(REFINE_FACTOR),
      '_distance',
      -1,
    );
  }

  close(): void {
    this.#table.close();
  }

  async #scored(
    query: { toArrow(): Promise<ArrowTable> },
    column: string,
    sign: 1 | -1,
  ): Promise<ScoredRow[]> {
    return guarded(async () => {
      const answer = await query.toArrow();
      const rows: ScoredRow[] = [];
      for (const batch of answer.batches) {
        const read = cells(batch);
        for (let i = 0; i < batch.numRows; i += 1)
          rows.push({ row: read.number('row', i), score: sign * read.number(column, i) });
      }
      return rows;
    });
  }
}

/** The tables of one index folder. */
export class PassageTables {
  readonly #connection: Connection;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** `storageOptions` are the credentials of an object store, for an address of one. */
  static connect(place: string, storageOptions?: Readonly<Record<string, string>>): Promise<PassageTables> {
    return guarded(async () => {
      const options = storageOptions === undefined ? {} : { storageOptions: { ...storageOptions } };
      return new PassageTables(await connect(place, options));
    });
  }

  async create(name: string, dimension: number | null): Promise<PassageTable> {
    return new PassageTable(await this.#connection.createEmptyTable(name, schemaOf(dimension)), dimension);
  }

  /** @throws DlgforgeError `retrieval` when it is not there or cannot be read. */
  async open(name: string, dimension: number | null): Promise<PassageTable> {
    return guarded(async () => new PassageTable(await this.#connection.openTable(name), dimension));
  }

  async list(): Promise<string[]> {
    return (await this.#connection.tableNames({ limit: 10_000 })).filter((name) =>
      name.startsWith(TABLE_PREFIX),
    );
  }

  async drop(name: string): Promise<void> {
    await this.#connection.dropTable(name);
  }

  static freshName(token: string): string {
    return `${TABLE_PREFIX}${token}`;
  }

  close(): void {
    this.#connection.close();
  }
}
