import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isObjectStore } from './object-store.ts';
import type { Config } from './schema.ts';

/** Where a path of the configuration starts from (as in 0.1.0). The project is the folder of the configuration file. */

export function expandHome(path: string): string {
  return path === '~' || path.startsWith('~/') ? join(homedir(), path.slice(1)) : path;
}

const below = (base: string, path: string): string => {
  const expanded = expandHome(path);
  return isAbsolute(expanded) ? resolve(expanded) : resolve(base, expanded);
};

export const knowledgeDir = (projectRoot: string): string => join(projectRoot, 'knowledge');

export const logsDir = (projectRoot: string): string => join(projectRoot, 'logs');

/** What dlgforge keeps for itself: the embedded database, caches. */
export const stateDir = (projectRoot: string): string => join(projectRoot, '.dlgforge');

export const outputDir = (config: Config, projectRoot: string): string =>
  below(projectRoot, config.saving.output_dir);

/** An index that goes to an object store is built on this machine first. */
export function indexDir({ tools }: Config, projectRoot: string): string {
  const { persist_dir: place } = tools.retrieval.index;
  return isObjectStore(place) ? join(stateDir(projectRoot), 'knowledge_index') : below(projectRoot, place);
}

export const exportDir = (config: Config, projectRoot: string): string =>
  below(outputDir(config, projectRoot), config.saving.hf_push.export_dir);

/** A path that starts from the project, wherever it was typed. */
export const fromProject = (path: string, projectRoot: string): string => below(projectRoot, path);

/** A path that an operator typed on the command line. */
export const fromWorkingDir = (path: string, workingDir: string): string => below(workingDir, path);

/** The prompts and personas that come with dlgforge; two levels above this file in the sources and in the package. */
export const shippedPromptsDir = (): string => fileURLToPath(new URL('../../prompts/', import.meta.url));

/** The documents that `dlgforge init` puts into a new project. */
export const starterKnowledgeDir = (): string =>
  fileURLToPath(new URL('../../examples/starter/knowledge/', import.meta.url));

/** An asset that may be the user's or ours. */
export type Asset =
  | { readonly type: 'own'; readonly path: string }
  | { readonly type: 'shipped'; readonly path: string }
  /** The operator named it, and it is not there. */
  | { readonly type: 'missing'; readonly path: string };

const DEFAULT_PERSONAS = 'personas.yaml';
/** Where 0.1.0's own configuration had its pools: in its source tree, which a project does not have. */
const OLD_SHIPPED_PERSONAS = /(?:^|\/)dlgforge\/prompts\/personas\.ya?ml$/;

export function personasFile(config: Config, projectRoot: string): Asset {
  const given = config.personas.path;
  const path = below(projectRoot, given);
  if (existsSync(path)) return { type: 'own', path };
  const shipped = join(shippedPromptsDir(), DEFAULT_PERSONAS);
  return given === DEFAULT_PERSONAS || OLD_SHIPPED_PERSONAS.test(given)
    ? { type: 'shipped', path: shipped }
    : { type: 'missing', path };
}

/** The folder of seed topics or their file; the default one need not exist, and then it is null. */
export function seedTopicsFile(
  config: Config,
  projectRoot: string,
): Exclude<Asset, { type: 'shipped' }> | null {
  const { enabled, path: given } = config.run.data.seeding.topics;
  const path = below(projectRoot, given);
  if (existsSync(path)) return { type: 'own', path };
  return !enabled || given === 'data/seeds/topics.yaml' ? null : { type: 'missing', path };
}

/** Prompts that replace ours, file by file. */
export function promptsDir(config: Config, projectRoot: string): Asset {
  const given = config.prompts.path;
  const path = below(projectRoot, given === '' ? 'prompts' : given);
  if (existsSync(path)) return { type: 'own', path };
  return given === '' ? { type: 'shipped', path: shippedPromptsDir() } : { type: 'missing', path };
}
