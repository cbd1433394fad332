/** Reads an export back with other libraries than those that wrote it. */
import { readFile } from 'node:fs/promises';
import { zstdDecompressSync } from 'node:zlib';
import { tableFromIPC, Vector } from 'apache-arrow';
import { readParquet } from 'parquet-wasm/node';

export async function linesOf(path: string): Promise<unknown[]> {
  return parsed(await readFile(path, 'utf8'));
}

export async function zstdLinesOf(path: string): Promise<unknown[]> {
  return parsed(zstdDecompressSync(await readFile(path)).toString('utf8'));
}

const parsed = (text: string): unknown[] =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as unknown);

/** The rows of a Parquet file as plain JSON values, and the types of its columns. */
export async function parquetOf(path: string): Promise<{ rows: unknown[]; types: Record<string, string> }> {
  const table = tableFromIPC(readParquet(await readFile(path)).intoIPCStream());
  const types = Object.fromEntries(table.schema.fields.map(({ name, type }) => [name, String(type)]));
  return { rows: Array.from(table, plain), types };
}

function plain(value: unknown): unknown {
  if (typeof value === 'bigint') return Number(value);
  if (value === null || value === undefined || typeof value !== 'object') return value ?? null;
  if (value instanceof Vector || Array.isArray(value)) return Array.from(value as Iterable<unknown>, plain);
  const row = value as { toJSON(): Record<string, unknown> };
  return Object.fromEntries(Object.entries(row.toJSON()).map(([name, inner]) => [name, plain(inner)]));
}
