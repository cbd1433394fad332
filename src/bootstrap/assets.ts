/** Reads what the dialogue is made of besides the knowledge: prompts, personas and seed topics. */
import { existsSync } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { parsePersonas, type PersonaPools } from '../dialogue/personas.ts';
import { type AssetFile, parsePromptAssets, type PromptAssets } from '../dialogue/prompt-assets.ts';
import { resolveSeedTopics, type SeedSource, type SeedTopics } from '../dialogue/seed-topics.ts';
import { DlgforgeError, messageOf } from '../kernel/errors.ts';
import { canonicalJson, sha256 } from '../kernel/hash.ts';

/** The folder of the shipped prompts and personas: the same distance from `src` and from `dist`. */
export const SHIPPED_PROMPTS = fileURLToPath(new URL('../../prompts/', import.meta.url));

export interface DialogueAssets {
  readonly prompts: PromptAssets;
  readonly promptsHash: string;
  /** Null when personas are off. */
  readonly personas: PersonaPools | null;
  readonly personasHash: string;
  /** By language index; empty when seeds are off. */
  readonly seeds: readonly SeedTopics[];
  readonly seedsHash: string;
  /** What a person should know: chosen files, files without seeds for a language. */
  readonly notices: readonly string[];
}

export interface AssetRequest {
  /** Folder whose files replace shipped ones; null for the shipped ones alone. */
  readonly promptsFolder: string | null;
  /** Null for the shipped file. */
  readonly personasFile: string | null;
  readonly personasEnabled: boolean;
  /** Null when seeds are off, or the default path does not exist. */
  readonly seedsPath: string | null;
  readonly seedsVariant: string;
  readonly languages: readonly string[];
}

/** @throws DlgforgeError `config` naming the file, and the key or line in it. */
export async function loadDialogueAssets(request: AssetRequest): Promise<DialogueAssets> {
  const [agents, tasks] = await Promise.all(['agents.yaml', 'tasks.yaml'].map((name) => promptFiles(name, request.promptsFolder)));
  const prompts = parsePromptAssets({ agents: agents ?? [], tasks: tasks ?? [] });
  const personas = request.personasEnabled
    ? parsePersonas(await assetFile(request.personasFile ?? join(SHIPPED_PROMPTS, 'personas.yaml')))
    : null;
  const source = request.seedsPath === null ? null : await seedSource(request.seedsPath);
  const seeds =
    source === null
      ? []
      : request.languages.map((targetLanguage) => resolveSeedTopics(source, { targetLanguage, variant: request.seedsVariant }));
  return {
    prompts,
    promptsHash: sha256(canonicalJson(prompts)),
    personas,
    personasHash: sha256(canonicalJson(personas)),
    seeds,
    seedsHash: sha256(canonicalJson(seeds.map((seed) => seed.topics))),
    notices: seeds.flatMap((seed) => seed.problems.map((problem) => `[seeds] ${request.seedsPath}: ${problem}`)),
  };
}

async function promptFiles(name: string, folder: string | null): Promise<AssetFile[]> {
  const shipped = await assetFile(join(SHIPPED_PROMPTS, name));
  if (folder === null || !existsSync(join(folder, name))) return [shipped];
  return [shipped, await assetFile(join(folder, name))];
}

async function assetFile(path: string): Promise<AssetFile> {
  return { file: path, value: await parsedFile(path) };
}

async function seedSource(path: string): Promise<SeedSource> {
  if (!(await stat(path)).isDirectory()) return { type: 'file', name: basename(path), value: await parsedFile(path) };
  const names = (await readdir(path)).filter((name) => /\.(?:ya?ml|json)$/i.test(name)).sort();
  const entries = await Promise.all(names.map(async (name) => [name, await parsedFile(join(path, name))] as const));
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
