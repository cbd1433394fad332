/** The formats of an export: which files each has, of which columns, and how a row gets into them. */
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pythonJson } from '../../dialogue/python-json.ts';
import type { OutputColumns } from '../../dialogue/sharegpt-record.ts';
import { unreachable } from '../../kernel/errors.ts';
import { naming } from '../output-error.ts';
import { CHATML_FIELDS, chatmlLine } from './chatml-row.ts';
import type { Split } from './export-plan.ts';
import { type LineWriter, plainLines, requireZstd, zstdLines } from './line-writers.ts';
import { OPENAI_FIELDS, openaiLine } from './openai-row.ts';
import { type Compression, ParquetFiles } from './parquet-files.ts';
import { COLUMN_FIELDS, columnsOf, type ExportRow, type Field } from './schema.ts';
import { writtenRow } from './written-row.ts';

export type ExportFormat = 'sharegpt' | 'openai' | 'chatml' | 'parquet' | 'jsonl.zst';

export interface FormatOptions {
  readonly folder: string;
  /** The name of the `sharegpt` file of an export without splits. */
  readonly sourceFile: string;
  readonly isSplit: boolean;
  readonly columns: OutputColumns;
  readonly hasJudge: boolean;
  readonly tools: readonly object[];
  readonly compression: Compression;
  readonly shardBytes: number;
}

/** A file of the export, by its path in it, with `/`. */
export interface WrittenFile {
  readonly split: Split;
  readonly path: string;
}

/** What is written of a row that goes into several formats, made once. */
interface RowForms {
  readonly row: ExportRow;
  readonly written: object;
  readonly line: string;
}

interface SplitWriter {
  add(forms: RowForms): Promise<void>;
  close(): Promise<readonly string[]>;
  abandon(): void;
}

interface OpenFormat {
  readonly format: ExportFormat;
  readonly split: Split;
  readonly writer: SplitWriter;
}

/** All files of one export while it is written. */
export class FormatWriters {
  readonly #options: FormatOptions;
  readonly #writers: readonly OpenFormat[];

  private constructor(options: FormatOptions, writers: readonly OpenFormat[]) {
    this.#options = options;
    this.#writers = writers;
  }

  static async open(
    formats: readonly ExportFormat[],
    splits: Iterable<Split>,
    options: FormatOptions,
  ): Promise<FormatWriters> {
    const writers: OpenFormat[] = [];
    try {
      for (const split of splits)
        for (const format of formats)
          writers.push({ format, split, writer: await openWriter(format, split, options) });
    } catch (error) {
      for (const { writer } of writers) writer.abandon();
      throw error;
    }
    return new FormatWriters(options, writers);
  }

  async add(row: ExportRow, split: Split): Promise<void> {
    const written = writtenRow(row, this.#options.columns, this.#options.hasJudge);
    const forms = { row, written, line: pythonJson(written) };
    for (const part of this.#writers) if (part.split === split) await part.writer.add(forms);
  }

  /** The files of each format, once everything is in them. */
  async close(): Promise<ReadonlyMap<ExportFormat, readonly WrittenFile[]>> {
    const files = new Map<ExportFormat, WrittenFile[]>();
    for (const { format, split, writer } of this.#writers) {
      const list = files.get(format) ?? [];
      files.set(format, list);
      for (const path of await writer.close()) list.push({ split, path });
    }
    return files;
  }

  abandon(): void {
    for (const { writer } of this.#writers) writer.abandon();
  }
}

/** @throws DlgforgeError `usage` for a format that this Node cannot write. */
export function requireFormats(formats: readonly ExportFormat[], compression: Compression): void {
  if (formats.includes('jsonl.zst')) requireZstd('the format jsonl.zst');
  if (formats.includes('parquet') && compression === 'zstd') requireZstd('parquet with zstd');
}

/** The columns of a format and their types, by the names that they have in its files. */
export function fieldsOf(
  format: ExportFormat,
  columns: OutputColumns,
  hasJudge: boolean,
): Readonly<Record<string, Field>> {
  if (format === 'openai') return OPENAI_FIELDS;
  if (format === 'chatml') return CHATML_FIELDS;
  return Object.fromEntries(columnsOf(hasJudge).map((column) => [columns[column], COLUMN_FIELDS[column]]));
}

async function openWriter(format: ExportFormat, split: Split, options: FormatOptions): Promise<SplitWriter> {
  const lines = (path: string, open: (path: string) => LineWriter, of: (forms: RowForms) => string) =>
    lineFile(options.folder, path, open, of);
  switch (format) {
    case 'sharegpt':
      return await lines(
        options.isSplit ? `sharegpt/${split}.jsonl` : options.sourceFile,
        plainLines,
        ({ line }) => line,
      );
    case 'openai':
      return await lines(`openai/${split}.jsonl`, plainLines, ({ row }) => openaiLine(row, options.tools));
    case 'chatml':
      return await lines(`chatml/${split}.jsonl`, plainLines, ({ row }) => chatmlLine(row));
    case 'jsonl.zst':
      return await lines(`zst/${split}.jsonl.zst`, zstdLines, ({ line }) => line);
    case 'parquet':
      return await parquetFiles(split, options);
    default:
      return unreachable(format);
  }
}

async function lineFile(
  folder: string,
  path: string,
  open: (path: string) => LineWriter,
  lineOf: (forms: RowForms) => string,
): Promise<SplitWriter> {
  const file = join(folder, path);
  await naming(file, () => mkdir(dirname(file), { recursive: true }));
  const writer = open(file);
  return {
    add: (forms) => writer.write(lineOf(forms)),
    close: async () => {
      await writer.close();
      return [path];
    },
    abandon: () => writer.abandon(),
  };
}

const PARQUET_FOLDER = 'data';

async function parquetFiles(split: Split, options: FormatOptions): Promise<SplitWriter> {
  const folder = join(options.folder, PARQUET_FOLDER);
  await naming(folder, () => mkdir(folder, { recursive: true }));
  const { columns, hasJudge, compression, shardBytes } = options;
  const fields = fieldsOf('parquet', columns, hasJudge);
  const files = new ParquetFiles({ folder, split, fields, compression, shardBytes });
  return {
    add: ({ row, line }) =>
      files.add(
        Object.fromEntries(columnsOf(hasJudge).map((column) => [columns[column], row[column]])),
        line.length,
      ),
    close: async () => (await files.close()).map((name) => `${PARQUET_FOLDER}/${name}`),
    abandon: () => undefined,
  };
}
