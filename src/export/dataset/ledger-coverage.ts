/** Which passages and documents the questions of a dataset rest on, by its coverage ledger, ours or 0.1.0's. */
import { join } from 'node:path';
import { parsePythonJson } from '../../dialogue/python-json.ts';
import { LEDGER_FILE } from '../dataset-rows.ts';
import { fileLines } from '../lines.ts';
import { codeOf } from '../output-error.ts';

export interface LedgerCoverage {
  readonly passages: ReadonlySet<string>;
  readonly documents: ReadonlySet<string>;
}

/** Null when there is no ledger, or nothing in it. Grows with the passages, not with the lines. */
export async function ledgerCoverage(sourceDir: string): Promise<LedgerCoverage | null> {
  const passages = new Set<string>();
  const documents = new Set<string>();
  try {
    for await (const { text } of fileLines(join(sourceDir, LEDGER_FILE))) {
      const line = lineOf(text);
      const document = line['source_path'] ?? line['source'];
      if (isNamed(line['topic_id'])) passages.add(line['topic_id']);
      if (isNamed(document)) documents.add(document);
    }
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error;
  }
  return passages.size + documents.size === 0 ? null : { passages, documents };
}

const isNamed = (value: unknown): value is string => typeof value === 'string' && value.trim() !== '';

function lineOf(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = parsePythonJson(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {}; // `dlgforge run` reports such lines; here they cover nothing.
  }
}
