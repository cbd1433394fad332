/** Reads a `coverage_ledger.jsonl` as 0.1.0 wrote it, whole: old questions count as memory for ever. */
import { parsePythonJson } from '../dialogue/python-json.ts';
import { legacyQuestionHash, questionKey } from '../dialogue/question-key.ts';
import type { AdoptedEntry } from '../ports/store.ts';
import { fileLines } from './lines.ts';
import { codeOf, outputError } from './output-error.ts';

export interface LegacyLedger {
  /** In the order of the file; two may have the same key, 0.1.0 allowed that. */
  readonly entries: readonly AdoptedEntry[];
  /** Lines that are no ledger entry; they stay in the file. */
  readonly badLines: readonly { readonly number: number; readonly reason: string }[];
}

/** An absent file is an empty ledger. @throws DlgforgeError `output` when it is there and cannot be read. */
export async function readLedger(path: string): Promise<LegacyLedger> {
  const entries: AdoptedEntry[] = [];
  const badLines: { number: number; reason: string }[] = [];
  try {
    for await (const { number, text } of fileLines(path)) {
      if (text.trim() === '') continue;
      const entry = parseLine(text);
      if (typeof entry === 'string') badLines.push({ number, reason: entry });
      else entries.push(entry);
    }
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw outputError(path, error);
  }
  return { entries, badLines };
}

/** The entry, or why the line is none. */
function parseLine(line: string): AdoptedEntry | string {
  let value: unknown;
  try {
    value = parsePythonJson(line);
  } catch {
    return 'not JSON';
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'not an object';
  const fields = value as Record<string, unknown>;
  const question = textOf(fields['question']);
  if (question.trim() === '') return 'no question';
  return {
    key: questionKey(question),
    line,
    turn: 0,
    passageId: textOf(fields['topic_id']).trim(),
    // The first versions of 0.1.0 called it `source`.
    source: textOf(fields['source_path']) || textOf(fields['source']),
    question,
    questionHash: textOf(fields['question_hash']) || legacyQuestionHash(question),
    questionMode: textOf(fields['question_mode']),
    seedTopic: textOf(fields['seed_topic']),
    seedQuestion: textOf(fields['seed_question']),
    seedQuestionHash: textOf(fields['seed_question_hash']) || hashOfSeed(textOf(fields['seed_question'])),
  };
}

const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');
const hashOfSeed = (seedQuestion: string): string =>
  seedQuestion === '' ? '' : legacyQuestionHash(seedQuestion);
