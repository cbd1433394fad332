/** Which questions of a ledger of 0.1.0 belong to conversations that it had not finished (B8). */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { LEDGER_FILE, RUN_STATE_FOLDER } from '../export/dataset-rows.ts';
import { readLedger } from '../export/legacy-ledger.ts';
import { codeOf, outputError } from '../export/output-error.ts';
import type { AdoptedEntry } from '../ports/store.ts';

export interface LegacyQuestions {
  /** True when the ledger has the question. */
  readonly has: (questionKey: string) => boolean;
  /**
   * Keys that must not count as asked yet.
   * @param asked how often the turns that are taken over ask each question; one that the ledger has more often was asked by others too.
   */
  readonly unfinished: (asked: ReadonlyMap<string, number>) => ReadonlySet<string>;
}

export interface LastCheckpoint {
  /** When 0.1.0 last wrote a state of the run. */
  readonly updatedAt: string;
  readonly stateIds: ReadonlySet<string>;
  readonly unfinishedCount: number;
}

export async function readLegacyQuestions(
  outputDir: string,
  checkpoint: LastCheckpoint,
): Promise<LegacyQuestions> {
  const { entries } = await readLedger(join(outputDir, LEDGER_FILE));
  const counts = new Map<string, number>();
  for (const { key } of entries) if (key !== null) counts.set(key, (counts.get(key) ?? 0) + 1);
  const lost = checkpoint.stateIds.has(await lastRunId(outputDir))
    ? lostQuestions(entries, checkpoint)
    : new Map<string, number>();
  return {
    has: (key) => counts.has(key),
    unfinished(asked) {
      const open = new Set<string>();
      for (const key of [...asked.keys(), ...lost.keys()]) {
        if ((counts.get(key) ?? 0) <= (asked.get(key) ?? 0) + (lost.get(key) ?? 0)) open.add(key);
      }
      return open;
    },
  };
}

/**
 * 0.1.0 wrote a question into the ledger before it saved its turn. Killed in between, it left lines that
 * are younger than the state, at most one per conversation; their turns are lost and asked again.
 */
function lostQuestions(
  entries: readonly AdoptedEntry[],
  { updatedAt, unfinishedCount }: LastCheckpoint,
): Map<string, number> {
  const lost = new Map<string, number>();
  if (updatedAt === '') return lost;
  for (const { key, line } of unfinishedCount === 0 ? [] : entries.slice(-unfinishedCount).toReversed()) {
    if (key === null || timestampOf(line) <= updatedAt) break;
    lost.set(key, (lost.get(key) ?? 0) + 1);
  }
  return lost;
}

/** The time in a ledger line, in the form in which run states have theirs; '' when there is none. */
function timestampOf(line: string | null): string {
  return /"timestamp": ?"([^"]+)"/.exec(line ?? '')?.[1] ?? '';
}

/** The run that wrote last; lines of a later one are not lost ones of ours. */
async function lastRunId(outputDir: string): Promise<string> {
  const path = join(outputDir, RUN_STATE_FOLDER, 'last_run_id.txt');
  try {
    return (await readFile(path, 'utf8')).trim();
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return '';
    throw outputError(path, error);
  }
}
