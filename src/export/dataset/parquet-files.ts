/**
 * Rows as Parquet files of a bounded size: typed, nested columns, compressed row groups. In memory is one row
 * group. Every value may be null for readers, as other writers have it; only numbers and truth values are.
 */
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import * as zlib from 'node:zlib';
import { fileWriter, ParquetWriter, type SchemaElement } from 'hyparquet-writer';
import type { Field } from './schema.ts';
import { naming } from '../output-error.ts';

export type Compression = 'snappy' | 'zstd';

export interface ParquetOptions {
  readonly folder: string;
  /** Files are named `<split>-00000-of-00001.parquet`. */
  readonly split: string;
  readonly fields: Readonly<Record<string, Field>>;
  readonly compression: Compression;
  /** A file that has reached this size is the last of its kind: the next row begins another. */
  readonly shardBytes: number;
}

type Row = Readonly<Record<string, unknown>>;

/** Whichever is reached first ends a row group. */
const GROUP_ROWS = 1_000;
const GROUP_TEXT = 16 * 1024 * 1024;

export class ParquetFiles {
  readonly #options: ParquetOptions;
  readonly #schema: SchemaElement[];
  #shard: { readonly writer: ReturnType<typeof fileWriter>; readonly file: ParquetWriter } | null = null;
  #shards = 0;
  #rows: Row[] = [];
  #text = 0;

  constructor(options: ParquetOptions) {
    this.#options = options;
    this.#schema = parquetSchema(options.fields);
  }

  /** @param size about how large the row is, in characters of its JSON. */
  async add(row: Row, size: number): Promise<void> {
    this.#rows.push(row);
    this.#text += size;
    if (this.#rows.length >= GROUP_ROWS || this.#text >= GROUP_TEXT) await this.#endGroup();
  }

  /** The names of the files, once all rows are in them. */
  async close(): Promise<readonly string[]> {
    await this.#endGroup();
    await this.#endShard();
    const names: string[] = [];
    const of = String(this.#shards).padStart(5, '0');
    for (let shard = 0; shard < this.#shards; shard += 1) {
      const name = `${this.#options.split}-${String(shard).padStart(5, '0')}-of-${of}.parquet`;
      const path = join(this.#options.folder, name);
      await naming(path, () => rename(this.#pathOf(shard), path));
      names.push(name);
    }
    return names;
  }

  /** The final names tell how many files there are, which is known at the end. */
  #pathOf(shard: number): string {
    return join(this.#options.folder, `${this.#options.split}-${shard}.part`);
  }

  async #endGroup(): Promise<void> {
    const rows = this.#rows;
    if (rows.length === 0) return;
    this.#rows = [];
    this.#text = 0;
    const { fields, shardBytes } = this.#options;
    const columnData = Object.entries(fields).map(([name, field]) => {
      const convert = converter(field);
      return { name, data: rows.map((row) => (convert === null ? row[name] : convert(row[name]))) };
    });
    await this.#naming(async () => {
      const { writer, file } = (this.#shard ??= this.#begin());
      await file.write({ columnData, rowGroupSize: rows.length });
      if (writer.offset >= shardBytes) await this.#endShard();
    });
  }

  #begin(): { readonly writer: ReturnType<typeof fileWriter>; readonly file: ParquetWriter } {
    const writer = fileWriter(this.#pathOf(this.#shards));
    this.#shards += 1;
    const { compression } = this.#options;
    const file = new ParquetWriter({
      writer,
      schema: this.#schema,
      codec: compression === 'zstd' ? 'ZSTD' : 'SNAPPY',
      compressors: { ZSTD: (bytes) => zlib.zstdCompressSync(bytes) },
      createdBy: 'dlgforge',
    });
    return { writer, file };
  }

  async #endShard(): Promise<void> {
    const shard = this.#shard;
    this.#shard = null;
    if (shard !== null) await this.#naming(async () => shard.file.finish());
  }

  #naming<T>(work: () => Promise<T>): Promise<T> {
    return naming(this.#pathOf(Math.max(0, this.#shards - 1)), work);
  }
}

/** The schema as Parquet has it: depth first, lists in the three levels of its specification. */
export function parquetSchema(fields: Readonly<Record<string, Field>>): SchemaElement[] {
  return [
    { name: 'root', num_children: Object.keys(fields).length },
    ...Object.entries(fields).flatMap(([name, field]) => elementsOf(name, field)),
  ];
}

function elementsOf(name: string, field: Field): SchemaElement[] {
  const optional = { name, repetition_type: 'OPTIONAL' } as const;
  switch (field) {
    case 'text':
      return [{ ...optional, type: 'BYTE_ARRAY', converted_type: 'UTF8', logical_type: { type: 'STRING' } }];
    case 'whole':
      return [{ ...optional, type: 'INT64' }];
    case 'number':
      return [{ ...optional, type: 'DOUBLE' }];
    case 'truth':
      return [{ ...optional, type: 'BOOLEAN' }];
    default:
  }
  if (field.kind === 'object') {
    return [
      { ...optional, num_children: Object.keys(field.fields).length },
      ...Object.entries(field.fields).flatMap(([inner, type]) => elementsOf(inner, type)),
    ];
  }
  return [
    { ...optional, num_children: 1, converted_type: 'LIST', logical_type: { type: 'LIST' } },
    { name: 'list', repetition_type: 'REPEATED', num_children: 1 },
    ...elementsOf('element', field.kind === 'texts' ? 'text' : field.item),
  ];
}

/** The writer wants whole numbers as bigints. Null where there are none: most columns are taken as they are. */
function converter(field: Field): ((value: unknown) => unknown) | null {
  if (typeof field === 'string')
    return field === 'whole' ? (value) => (typeof value === 'number' ? BigInt(value) : value) : null;
  if (field.kind === 'texts') return null;
  if (field.kind === 'list') {
    const item = converter(field.item);
    return item === null ? null : (value) => (value as readonly unknown[]).map(item);
  }
  const inner = Object.entries(field.fields).flatMap(([name, type]) => {
    const convert = converter(type);
    return convert === null ? [] : [[name, convert] as const];
  });
  if (inner.length === 0) return null;
  return (value) => {
    const made: Record<string, unknown> = { ...(value as Row) };
    for (const [name, convert] of inner) made[name] = convert(made[name]);
    return made;
  };
}
