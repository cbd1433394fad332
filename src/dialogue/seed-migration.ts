/** Seed topics of any layout as the structured YAML file that 0.1.0 made of them (docs/migrating.md). */
import { pythonYaml, type YamlMapping } from './python-yaml.ts';
import { asMapping, type Mapping, META_KEYS, readNames, readSeedFiles } from './seed-layouts.ts';

export interface MigratedSeeds {
  readonly yaml: string;
  /** In order. */
  readonly variants: readonly string[];
  /** Distinct topic names over all variants. */
  readonly topicCount: number;
  /** What was left out of the file, and why. */
  readonly problems: readonly string[];
}

type Variants = Map<string, Map<string, string[]>>;

/** Questions of a file that names no variant. */
const FLAT_VARIANT = 'english';
const DEFAULT_VARIANTS = { ar: 'msa', en: 'english', fr: 'france' };
const DEFAULT_ALIASES = { arabic: 'msa', french: 'france', ...DEFAULT_VARIANTS };

/**
 * Null when there is no question in it. What a structured file says of its names, `defaults` and `aliases`,
 * is kept; what it does not say is filled in so that every language finds the questions that it found before.
 * @param file its name, for problems. @param labels count as variants besides the usual ones.
 */
export function migrateSeeds(file: string, root: Mapping, labels: readonly string[]): MigratedSeeds | null {
  const problems: string[] = [];
  const variants: Variants = new Map();
  readInto(variants, file, root, labels, problems);
  if (variants.size === 0) return null;
  const sorted = [...variants].sort(([a], [b]) => (a < b ? -1 : 1));
  const document: YamlMapping = new Map<string, YamlMapping | number>([
    ['version', 1],
    ['defaults', defaultsOf(root)],
    ['aliases', aliasesOf(root, [...variants.keys()])],
    ['variants', new Map(sorted)],
  ]);
  return {
    yaml: pythonYaml(document),
    variants: sorted.map(([variant]) => variant),
    topicCount: new Set(sorted.flatMap(([, topics]) => [...topics.keys()])).size,
    problems,
  };
}

function readInto(
  variants: Variants,
  file: string,
  root: Mapping,
  labels: readonly string[],
  problems: string[],
): void {
  const add = (variant: string, topic: string, questions: readonly string[]): void => {
    if (questions.length === 0 || topic.trim() === '' || variant === '') return;
    const topics = variants.get(variant) ?? new Map<string, string[]>();
    variants.set(variant, topics.set(topic.trim(), [...(topics.get(topic.trim()) ?? []), ...questions]));
  };
  for (const part of partsOf(root)) {
    const read = readSeedFiles({ type: 'file', name: file, value: part }, labels);
    problems.push(...read.problems);
    const { layout } = read;
    if (layout?.type === 'flat') {
      for (const [topic, questions] of layout.topics) add(FLAT_VARIANT, topic, questions);
    } else if (layout?.type === 'by_variant') {
      for (const [variant, topics] of layout.variants)
        for (const [topic, questions] of topics) add(variant, topic, questions);
    } else if (layout?.type === 'by_topic') {
      for (const [topic, byVariant] of layout.topics)
        for (const [variant, questions] of byVariant) add(variant, topic, questions);
    }
  }
}

/** Old files could hold topics with variants beside topics without: each kind is read for itself. */
function partsOf(root: Mapping): Mapping[] {
  if (asMapping(root['variants']) !== null || asMapping(root['topics']) !== null) return [root];
  const own = Object.entries(root).filter(([key]) => !META_KEYS.has(key));
  const nested = own.filter(([, value]) => asMapping(value) !== null);
  if (nested.length === 0 || !own.some(([, value]) => Array.isArray(value))) return [root];
  const flat = own.filter(([, value]) => asMapping(value) === null);
  const parts = [Object.fromEntries(nested), Object.fromEntries(flat)];
  return asMapping(own[0]?.[1]) === null ? parts.reverse() : parts;
}

function defaultsOf(root: Mapping): YamlMapping {
  const { aliases, byLanguage, finalFallback } = readNames(root);
  const says = ['defaults', 'default_variant_by_target_language', 'final_fallback'].some(
    (key) => root[key] !== undefined && root[key] !== null,
  );
  // A default precedes the alias of a language, so where there was only an alias it says what the alias says.
  const usual = Object.entries(DEFAULT_VARIANTS).map(
    ([language, variant]) => [language, aliases.get(language) ?? variant] as const,
  );
  const kept = says ? byLanguage : new Map(usual);
  return new Map<string, YamlMapping | string>([
    ...(says && kept.size === 0 ? [] : [['by_target_language', kept] as const]),
    ['final_fallback', finalFallback],
  ]);
}

function aliasesOf(root: Mapping, variants: readonly string[]): YamlMapping {
  if (asMapping(root['aliases']) !== null) return readNames(root).aliases;
  const own = variants.map((variant) => [variant, variant] as const);
  const usual = Object.entries(DEFAULT_ALIASES).filter(([name]) => !variants.includes(name));
  return new Map([...own, ...usual]);
}
