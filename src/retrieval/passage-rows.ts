/** How a passage stands in a LanceDB row: the columns, written and read. */
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
import { DlgforgeError } from '../kernel/errors.ts';

export interface PassageRow {
  readonly passage: Passage;
  readonly terms: string;
  readonly vector: Float32Array | null;
}

/** What `passageAt` reads. */
export const PASSAGE_COLUMNS = [
  'row',
  'id',
  'source',
  'descriptor',
  'position',
  'char_start',
  'char_end',
  'text',
];

export function schemaOf(dimension: number | null): Schema {
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

/** Rows as they are appended, numbered from `firstRow`. */
export function arrowTable(
  rows: readonly PassageRow[],
  firstRow: number,
  dimension: number | null,
): ArrowTable {
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
export function cells(batch: RecordBatch): {
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

export function passageAt(read: ReturnType<typeof cells>, i: number): Passage {
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
