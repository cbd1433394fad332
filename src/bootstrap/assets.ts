/** Reads what the dialogue is made of besides the knowledge: prompts, personas and seed topics. */
import { existsSync } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { parse } from 'yaml';
import { type Asset, personasFile, promptsDir, seedTopicsFile, shippedPromptsDir } from '../config/paths.ts';
import type { Config } from '../config/schema.ts';
import { parsePersonas, type PersonaPools } from '../dialogue/personas.ts';
import { type AssetFile, parsePromptAssets, type PromptAssets } from '../dialogue/prompt-assets.ts';
import {
  resolveSeedTopics,
  type SeedSource,
  type SeedTopic,
  type SeedTopics,
} from '../dialogue/seed-topics.ts';
import { DlgforgeError, messageOf } from '../kernel/errors.ts';
import { canonicalJson, sha256 } from '../kernel/hash.ts';

export interface DialogueAssets {
  readonly prompts: PromptAssets;
  readonly promptsHash: string;
  /** Null when personas are off. */
  readonly personas: PersonaPools | null;
  readonly personasHash: string;
  /** By language index; empty when seeds are off. */
  readonly seeds: readonly (readonly SeedTopic[])[];
  readonly seedsHash: string;
  /** What a person should know: chosen files, files without seeds for a language. */
  readonly notices: readonly string[];
}

/**
 * @throws DlgforgeError `config` naming the file, and the key or line in it.
 */
export async function loadDialogueAssets(config: Config, projectRoot: string): Promise<DialogueAssets> {
  const prompts = await loadPrompts(config, projectRoot);
  const personas = await loadPersonas(config, projectRoot);
  const seeds = await loadSeeds(config, projectRoot);
  return {
    prompts,
    promptsHash: sha256(canonicalJson(prompts)),
    personas,
    personasHash: sha256(canonicalJson(personas)),
    seeds: seeds.map((seed) => seed.topics),
    seedsHash: sha256(canonicalJson(seeds.map((seed) => seed.topics))),
    notices: seeds.flatMap((seed) => seed.problems.map((problem) => `[seeds] ${problem}`)),
  };
}

/** The shipped prompts, with the parts that the user's own files replace. */
export async function loadPrompts(config: Config, projectRoot: string): Promise<PromptAssets> {
  const folder = present(promptsDir(config, projectRoot), 'prompts.path');
  const [agents, tasks] = await Promise.all(
    ['agents.yaml', 'tasks.yaml'].map((name) => promptFiles(name, folder)),
  );
  return parsePromptAssets({ agents: agents ?? [], tasks: tasks ?? [] });
}

/** Null when personas are off. */
export async function loadPersonas(config: Config, projectRoot: string): Promise<PersonaPools | null> {
  if (!config.personas.enabled) return null;
  return parsePersonas(await assetFile(present(personasFile(config, projectRoot), 'personas.path')));
}

/** By language index; empty when seeds are off. */
export async function loadSeeds(config: Config, projectRoot: string): Promise<SeedTopics[]> {
  const { enabled, probability, variant } = config.run.data.seeding.topics;
  if (!enabled || probability <= 0 || config.run.data.seeding.question !== '') return [];
  const file = seedTopicsFile(config, projectRoot);
  if (file === null) return [];
  const source = await seedSource(present(file, 'run.data.seeding.topics.path'));
  return config.run.target_languages.map((targetLanguage) =>
    resolveSeedTopics(source, { targetLanguage, variant }),
  );
}

function present(asset: Asset, key: string): string {
  if (asset.type !== 'missing') return asset.path;
  throw new DlgforgeError(
    'config',
    `${key} names ${asset.path}, which does not exist. Make it, or correct ${key}.`,
  );
}

async function promptFiles(name: string, folder: string): Promise<AssetFile[]> {
  const shipped = join(shippedPromptsDir(), name);
  const own = join(folder, name);
  const paths = own !== shipped && existsSync(own) ? [shipped, own] : [shipped];
  return Promise.all(paths.map(assetFile));
}

async function assetFile(path: string): Promise<AssetFile> {
  return { file: path, value: await parsedFile(path) };
}

async function seedSource(path: string): Promise<SeedSource> {
  if (!(await stat(path)).isDirectory())
    return { type: 'file', name: basename(path), value: await parsedFile(path) };
  const names = (await readdir(path)).filter((name) => /\.(?:ya?ml|json)$/i.test(name)).sort();
  const entries = await Promise.all(
    names.map(async (name) => [name, await parsedFile(join(path, name))] as const),
  );
  return { type: 'folder', files: new Map(entries) };
}

/** YAML reads JSON too. */
async function parsedFile(path: string): Promise<unknown> {
  try {
    return parse(await readFile(path, 'utf8')) as unknown;
  } catch (error) {
    throw new DlgforgeError('config', `${path} cannot be read: ${messageOf(error)}`, { cause: error });
  }
}
