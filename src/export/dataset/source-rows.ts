/**
 * The rows of the file that is exported, ours or 0.1.0's: one line at a time, as many times as they are
 * needed, and always the same ones: what is appended while we read is left for the next export.
 */
import { type FileHandle, open, realpath, stat } from 'node:fs/promises';
import { isAbsolute, join, relative, sep } from 'node:path';
import { parsePythonJson, parsePythonNumbers } from '../../dialogue/python-json.ts';
import { DEFAULT_COLUMNS, type OutputColumns } from '../../dialogue/sharegpt-record.ts';
import { DlgforgeError } from '../../kernel/errors.ts';
import { handleLines } from '../lines.ts';
import { codeOf } from '../output-error.ts';
import { type SanitisedRow, sanitiseRow, type SourceColumns } from './sanitise.ts';
import { COLUMN_FIELDS, type Column } from './schema.ts';

const PLAIN = 'conversations_sharegpt.jsonl';
const JUDGED = 'conversations_sharegpt_judged.jsonl';

export interface SourceOptions {
  readonly sourceDir: string;
  /** `saving.hf_push.source_file`: below the folder, with `/`. */
  readonly sourceFile: string;
  readonly columns: OutputColumns;
}

/** A line that is no row. Reported, never copied. */
export interface BadLine {
  /** From 1. */
  readonly line: number;
  readonly reason: string;
}

export interface SourceRow extends SanitisedRow {
  /** Position among the rows, from 0. */
  readonly position: number;
}

export class SourceRows {
  /** The file that is read, relative to its folder, with `/`: by the fallback not always the configured one. */
  readonly file: string;
  readonly #handle: FileHandle;
  readonly #size: number;
  readonly #columns: OutputColumns;

  private constructor(file: string, handle: FileHandle, size: number, columns: OutputColumns) {
    this.file = file;
    this.#handle = handle;
    this.#size = size;
    this.#columns = columns;
  }

  /** @throws DlgforgeError `output` when there is no such file, it is outside its folder, or it is empty. */
  static async open({ sourceDir, sourceFile, columns }: SourceOptions): Promise<SourceRows> {
    const folder = await folderOf(sourceDir);
    const file = await effectiveFile(folder, sourceFile);
    const path = await pathInside(folder, file, sourceDir);
    const handle = await open(path, 'r');
    const { size } = await handle.stat();
    return new SourceRows(file, handle, size, columns);
  }

  /** Every row, in order. `onBadLine` hears of lines that are none; blank lines are nothing. */
  async *rows(onBadLine: (bad: BadLine) => void = () => undefined): AsyncGenerator<SourceRow> {
    let position = 0;
    for await (const { number, text } of handleLines(this.#handle, this.#size)) {
      if (text.trim() === '') continue;
      const row = rowOf(text, this.#columns);
      if (typeof row === 'string') {
        onBadLine({ line: number, reason: row });
        continue;
      }
      yield { ...row, position };
      position += 1;
    }
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** The sanitised row, or why the line is none. */
function rowOf(line: string, columns: OutputColumns): SanitisedRow | string {
  let parsed: unknown;
  try {
    parsed = parsePythonJson(line);
  } catch {
    return 'it is not JSON';
  }
  if (!isFields(parsed)) return 'it is not an object';
  const source = sourceColumns(parsed, columns);
  if (Object.keys(source.known).length === 0) return 'it has none of the columns of saving.output_columns';
  const quick = sanitiseRow(source);
  if (!quick.numbersAsText) return quick;
  return sanitiseRow(sourceColumns(parsePythonNumbers(line) as Fields, columns));
}

type Fields = Readonly<Record<string, unknown>>;

/**
 * The columns of a row, by their configured names; one that is missing is looked for under its default
 * name, unless that is the name of another one.
 */
function sourceColumns(row: Fields, columns: OutputColumns): SourceColumns {
  const named = new Set<string>(Object.values(columns));
  const known: Partial<Record<Column, unknown>> = {};
  const taken = new Set<string>();
  for (const column of Object.keys(COLUMN_FIELDS) as Column[]) {
    const own = columns[column];
    const old = DEFAULT_COLUMNS[column];
    const name = Object.hasOwn(row, own) || named.has(old) ? own : old;
    if (!Object.hasOwn(row, name)) continue;
    known[column] = row[name];
    taken.add(name);
  }
  const unknown = Object.entries(row).filter(([name]) => !taken.has(name));
  return { known, unknown: Object.fromEntries(unknown) };
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

async function folderOf(sourceDir: string): Promise<string> {
  try {
    return await realpath(sourceDir);
  } catch {
    throw new DlgforgeError(
      'output',
      `Source directory not found: ${sourceDir}. \`dlgforge run\` makes it, or name another one (saving.output_dir, --source-dir).`,
    );
  }
}

/** The judged file stands in for the plain one when it has anything in it; no other name is replaced. */
async function effectiveFile(folder: string, sourceFile: string): Promise<string> {
  if (sourceFile !== PLAIN) return sourceFile;
  return (await sizeOf(join(folder, JUDGED))) > 0 ? JUDGED : PLAIN;
}

/** Links are followed first: a name inside may lead outside. */
async function pathInside(folder: string, file: string, sourceDir: string): Promise<string> {
  let path: string;
  try {
    path = await realpath(join(folder, file));
  } catch {
    throw new DlgforgeError(
      'output',
      `${file} not found in ${sourceDir}. ${file === PLAIN ? '`dlgforge run` writes it.' : `Set saving.hf_push.source_file to a file that is there, for example ${PLAIN}.`}`,
    );
  }
  const inside = relative(folder, path);
  if (inside === '' || inside === '..' || inside.startsWith(`..${sep}`) || isAbsolute(inside)) {
    throw new DlgforgeError(
      'output',
      `saving.hf_push.source_file is ${file}, which is not inside ${sourceDir}: only files of the dataset are exported.`,
    );
  }
  const found = await stat(path);
  if (!found.isFile()) {
    throw new DlgforgeError(
      'output',
      `saving.hf_push.source_file is ${file}, which is no file in ${sourceDir}. Set it to a ShareGPT file of the dataset, for example ${PLAIN}.`,
    );
  }
  if (found.size === 0) throw emptySource(file, sourceDir);
  return path;
}

/** Exporting nothing is a mistake more often than a wish, and it would replace what was published (fault I7). */
export const emptySource = (file: string, sourceDir: string): DlgforgeError =>
  new DlgforgeError(
    'output',
    `${file} in ${sourceDir} has no conversation in it, so there is nothing to export. ${
      file === JUDGED
        ? `Judge the conversations (\`dlgforge judge\`), or set saving.hf_push.source_file to ${PLAIN}.`
        : '`dlgforge run` makes conversations.'
    }`,
  );

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return 0;
    throw error;
  }
}
