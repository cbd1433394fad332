/** The states that 0.1.0 left of a run, by language and wave: `run_state/<seed>.json`, `<seed>-0001.json`, … */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { languageTags } from '../dialogue/settings.ts';
import { DlgforgeError } from '../kernel/errors.ts';
import { RUN_STATE_FOLDER } from './dataset-rows.ts';
import { replaceFile } from './durable-file.ts';
import { type LegacyConversation, type LegacyRunState, readRunState } from './legacy-run-state.ts';
import { codeOf, outputError } from './output-error.ts';
import { runStatePath } from './run-state-file.ts';

export interface LegacyRun {
  /** What all its languages have in common; the id that the run goes on with. */
  readonly baseId: string;
  /** The files of its states by seed (`<base>` or `<base>-<tag>`), in the order of the waves. */
  readonly waves: readonly { readonly seed: string; readonly ids: readonly string[] }[];
  /** The ids of all states in the folder, those of other runs too. */
  readonly states: ReadonlySet<string>;
}

/** Names of all run states in the folder. */
export async function runStateIds(outputDir: string): Promise<ReadonlySet<string>> {
  const folder = join(outputDir, RUN_STATE_FOLDER);
  try {
    const names = await readdir(folder);
    return new Set(
      names.filter((name) => name.endsWith('.json')).map((name) => name.slice(0, -'.json'.length)),
    );
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return new Set();
    throw outputError(folder, error);
  }
}

/**
 * The run that an operator means by `id`: the run itself, one of its languages (`<base>-<tag>`) or one
 * of its waves (`<seed>-0001`). 0.1.0 could only resume the one state with that name.
 */
export function legacyRunOf(
  states: ReadonlySet<string>,
  id: string,
  languages: readonly string[],
): LegacyRun {
  const tags = languages.map(legacyTag);
  const baseId = baseOf(states, id, tags);
  const seeds = [...new Set([baseId, ...tags.map((tag) => `${baseId}-${tag}`)])];
  return {
    baseId,
    states,
    waves: seeds.filter((seed) => states.has(seed)).map((seed) => ({ seed, ids: wavesOf(states, seed) })),
  };
}

/** 0.1.0 did not number tags, so languages could share one (B11). */
export const legacyTag = (language: string): string => languageTags([language])[0]?.tag ?? '';

const waveId = (seed: string, wave: number): string =>
  wave === 0 ? seed : `${seed}-${String(wave).padStart(4, '0')}`;

function wavesOf(states: ReadonlySet<string>, seed: string): string[] {
  const ids: string[] = [];
  while (states.has(waveId(seed, ids.length))) ids.push(waveId(seed, ids.length));
  return ids;
}

function baseOf(states: ReadonlySet<string>, id: string, tags: readonly string[]): string {
  if (!states.has(id)) return id;
  const [, seed = '', number = ''] = /^(.+)-(\d{4,})$/.exec(id) ?? [];
  if (seed !== '' && wavesOf(states, seed).indexOf(id) === Number(number)) return baseOf(states, seed, tags);
  const tag =
    tags.length > 1
      ? tags.find((known) => id.length > known.length + 1 && id.endsWith(`-${known}`))
      : undefined;
  return tag === undefined ? id : id.slice(0, -tag.length - 1);
}

/** One state after the other, in the order of the waves: never all in memory (I9). */
export async function* legacyStates(
  outputDir: string,
  run: LegacyRun,
): AsyncGenerator<{ readonly seed: string; readonly path: string; readonly state: LegacyRunState }> {
  for (const { seed, ids } of run.waves) {
    for (const id of ids) {
      const path = runStatePath(outputDir, id);
      const state = await readRunState(path);
      if (state !== null) yield { seed, path, state };
    }
  }
}

/**
 * The language of a conversation: what its state says, else what the name of the file says.
 * @throws DlgforgeError `resume` for a language that is not configured: going on in another one would mix two datasets.
 */
export function languageIndexOf(
  conversation: LegacyConversation,
  from: { readonly seed: string; readonly path: string; readonly state: LegacyRunState },
  run: LegacyRun,
  languages: readonly string[],
): number {
  const stored =
    textOf(conversation.inputs['target_language']) || textOf(from.state.inputs['target_language']);
  const index = languages.indexOf(stored);
  if (index >= 0) return index;
  const tag = stored === '' ? from.seed.slice(run.baseId.length + 1) : legacyTag(stored);
  const byTag = languages.findIndex((language) => legacyTag(language) === tag);
  if (byTag >= 0) return byTag;
  if (stored === '' && languages.length === 1) return 0;
  throw new DlgforgeError(
    'resume',
    `the run state ${from.path} is of ${stored === '' ? 'a language that it does not name' : `the language ${JSON.stringify(stored)}`}, ` +
      `and run.target_languages has ${languages.map((language) => JSON.stringify(language)).join(', ')}. Add it there, spelled the same way.`,
  );
}

/** Our own run state takes the name of 0.1.0's, so the first one is put aside: it has answers that nobody else has. */
export async function keepLegacyState(outputDir: string, id: string): Promise<void> {
  const path = runStatePath(outputDir, id);
  try {
    await replaceFile(`${path}.0.1.0`, await readFile(path, 'utf8'));
  } catch (error) {
    // A run in several languages has no state of that name.
    if (codeOf(error) !== 'ENOENT') throw outputError(path, error);
  }
}

const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');
