/** What 0.1.0 had written of a run: its ids in `conversations_index.jsonl`, which decides what is written again. */
import { join } from 'node:path';
import { parsePythonJson } from '../dialogue/python-json.ts';
import { type LegacyRun, legacyTag } from './legacy-run.ts';
import { fileLines } from './lines.ts';
import { readMarker } from './marker.ts';
import { codeOf, outputError } from './output-error.ts';

const INDEX_FILE = 'conversations_index.jsonl';

export interface WrittenConversation {
  readonly conversationId: string;
  readonly seed: string;
  readonly language: string;
  readonly turns: number;
  /** Lines with this id: 0.1.0 wrote some conversations more than once. */
  readonly lines: number;
  /** False when its id looks like one of this run, but the folder has a state of another run that it fits better. */
  readonly owned: boolean;
}

/** By conversation id. Lines that dlgforge wrote itself are not looked at: the store knows about those. */
export async function writtenConversations(
  outputDir: string,
  run: LegacyRun,
  languages: readonly string[],
): Promise<ReadonlyMap<string, WrittenConversation>> {
  const marker = await readMarker(outputDir);
  const foreignBytes = marker === null ? Number.POSITIVE_INFINITY : (marker.prefix[INDEX_FILE] ?? 0);
  const seedOf = seedRecogniser(run, languages);
  const own = new Set(run.waves.flatMap((wave) => wave.ids));
  const written = new Map<string, WrittenConversation>();
  const path = join(outputDir, INDEX_FILE);
  try {
    for await (const { text, start } of fileLines(path)) {
      if (start >= foreignBytes) break;
      const row = rowOf(text);
      const conversationId = textOf(row['conversation_id']);
      const seed = seedOf(conversationId);
      if (seed === null) continue;
      const state = stateOf(conversationId, run.states);
      written.set(conversationId, {
        conversationId,
        seed,
        language: textOf(row['language']),
        turns: typeof row['n_turns'] === 'number' ? row['n_turns'] : 0,
        lines: (written.get(conversationId)?.lines ?? 0) + 1,
        owned: state === null || own.has(state),
      });
    }
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw outputError(path, error);
  }
  return written;
}

/** Ids of 0.1.0 are the seed, with the number of the wave, of the slot, or of both. */
function seedRecogniser(run: LegacyRun, languages: readonly string[]): (id: string) => string | null {
  const seeds = run.waves.map((wave) => wave.seed);
  // Its states may have been thrown away; what it wrote counts all the same.
  const byTag =
    languages.length > 1 ? languages.map((language) => `${run.baseId}-${legacyTag(language)}`) : [run.baseId];
  const known = [...new Set([...seeds, ...byTag])];
  return (id) =>
    known.find((seed) => id.startsWith(seed) && /^(?:-\d{4,}){0,2}$/.test(id.slice(seed.length))) ?? null;
}

/** The run `exp-2024` and the wave 2024 of the run `exp` have ids of the same form: the state that is there decides. */
function stateOf(conversationId: string, states: ReadonlySet<string>): string | null {
  for (let id = conversationId; ; id = id.replace(/-\d{4,}$/, '')) {
    if (states.has(id)) return id;
    if (!/-\d{4,}$/.test(id)) return null;
  }
}

function rowOf(line: string): Readonly<Record<string, unknown>> {
  try {
    const value = parsePythonJson(line);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {}; // No row of the index; the line stays in the file and counts for nothing.
  }
}

const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');
