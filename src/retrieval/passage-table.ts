/**
 * The LanceDB table of one index generation. A table is written once, in the order of its `row`
 * column (documents by path, passages by position), and never changed: LanceDB breaks ties at a
 * limit by storage order, so equal passages in equal order is what makes an index that was built
 * step by step answer like one that was built at once.
 */
import { connect, type Connection, Index, MatchQuery, type Table } from '@lancedb/lancedb';
import {
  Field,
  FixedSizeList,
  Float32,
  Int32,
  makeData,
  type RecordBatch,
  Schema,
  Table as ArrowTable,
  Utf8,
  Vector,
  vectorFromArray,
} from 'apache-arrow';
import type { Passage } from '../dialogue/passage.ts';
import { DlgforgeError, messageOf } from '../kernel/errors.ts';

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

export interface PassageRow {
  readonly passage: Passage;
  readonly terms: string;
  readonly vector: Float32Array | null;
}

export interface ScoredRow {
  readonly row: number;
  readonly score: number;
}

const PASSAGE_COLUMNS = ['row', 'id', 'source', 'descriptor', 'position', 'char_start', 'char_end', 'text'];

function schemaOf(dimension: number | null): Schema {
  const text = (name: string): Field => new Field(name, new Utf8(), false);
  const number = (name: string): Field => new Field(name, new Int32(), false);
  const fields = [
    number('row'),
    text('id'),
    text('source'),
    text('descriptor'),
    number('position'),
    number('char_start'),
    number('char_end'),
    text('text'),
    text('terms'),
  ];
  if (dimension !== null) fields.push(new Field('vector', vectorType(dimension), false));
  return new Schema(fields);
}

const vectorType = (dimension: number): FixedSizeList<Float32> =>
  new FixedSizeList(dimension, new Field('item', new Float32(), true));

function vectorColumn(rows: readonly PassageRow[], dimension: number): Vector {
  const values = new Float32Array(rows.length * dimension);
  rows.forEach((row, i) => {
    if (row.vector?.length !== dimension) {
      throw new DlgforgeError(
        'retrieval',
        `The embedder gave a vector of ${row.vector?.length ?? 0} numbers where ${dimension} were agreed. Check that its model is the one configured.`,
      );
    }
    values.set(row.vector, i * dimension);
  });
  const child = makeData({ type: new Float32(), length: values.length, data: values });
  return new Vector([makeData({ type: vectorType(dimension), length: rows.length, child })]);
}

function arrowTable(rows: readonly PassageRow[], firstRow: number, dimension: number | null): ArrowTable {
  const text = (of: (row: PassageRow) => string): Vector => vectorFromArray(rows.map(of), new Utf8());
  const number = (of: (row: PassageRow, i: number) => number): Vector =>
    vectorFromArray(rows.map(of), new Int32());
  const columns: Record<string, Vector> = {
    row: number((_row, i) => firstRow + i),
    id: text(({ passage }) => passage.id),
    source: text(({ passage }) => passage.source),
    descriptor: text(({ passage }) => passage.descriptor),
    position: number(({ passage }) => passage.index),
    char_start: number(({ passage }) => passage.charStart),
    char_end: number(({ passage }) => passage.charEnd),
    text: text(({ passage }) => passage.text),
    terms: text(({ terms }) => terms),
  };
  if (dimension !== null) columns.vector = vectorColumn(rows, dimension);
  return new ArrowTable(schemaOf(dimension), columns);
}

/** LanceDB brings its own copy of Arrow's classes, so `instanceof` says nothing about what it returns. */
const isVectorCell = (value: unknown): value is { toArray(): ArrayLike<number> } =>
  typeof value === 'object' && value !== null && 'toArray' in value;

/** Reads cells by column name; the schema above says what they are. */
function cells(batch: RecordBatch): {
  text(name: string, i: number): string;
  number(name: string, i: number): number;
  vector(i: number): Float32Array | null;
} {
  const columns = new Map(batch.schema.fields.map((field) => [field.name, batch.getChild(field.name)]));
  const cell = (name: string, i: number): unknown => columns.get(name)?.get(i);
  return {
    text: (name, i) => String(cell(name, i)),
    number: (name, i) => Number(cell(name, i)),
    vector(i) {
      const value = cell('vector', i);
      return isVectorCell(value) ? Float32Array.from(value.toArray()) : null;
    },
  };
}

function passageAt(read: ReturnType<typeof cells>, i: number): Passage {
  return {
    id: read.text('id', i),
    source: read.text('source', i),
    descriptor: read.text('descriptor', i),
    index: read.number('position', i),
    text: read.text('text', i),
    charStart: read.number('char_start', i),
    charEnd: read.number('char_end', i),
  };
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

  /** Every passage in row order. */
  async *passages(): AsyncGenerator<Passage> {
    let next = 0;
    for await (const batch of this.#table.query().select(PASSAGE_COLUMNS)) {
      const read = cells(batch);
      for (let i = 0; i < batch.numRows; i += 1) {
        if (read.number('row', i) !== next) throw damaged();
        next += 1;
        yield passageAt(read, i);
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

  static async connect(persistDir: string): Promise<PassageTables> {
    return new PassageTables(await connect(persistDir));
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
