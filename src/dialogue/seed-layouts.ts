/** The layouts that seed files come in, brought into three forms. */

export type TopicQuestions = ReadonlyMap<string, readonly string[]>;

/** Parsed YAML or JSON; a folder's files by name, without those that are no YAML or JSON. */
export type SeedSource =
  | { readonly type: 'file'; readonly name: string; readonly value: unknown }
  | { readonly type: 'folder'; readonly files: ReadonlyMap<string, unknown> };

export type SeedLayout =
  | {
      readonly type: 'by_variant';
      /** Lower-cased names. */
      readonly variants: ReadonlyMap<string, TopicQuestions>;
      readonly aliases: ReadonlyMap<string, string>;
      readonly byLanguage: ReadonlyMap<string, string>;
      readonly finalFallback: string;
    }
  /** Topic → variant → questions. */
  | { readonly type: 'by_topic'; readonly topics: ReadonlyMap<string, TopicQuestions> }
  | { readonly type: 'flat'; readonly topics: TopicQuestions };

export interface ReadSeeds {
  readonly layout: SeedLayout | null;
  readonly problems: readonly string[];
}

export type Mapping = Readonly<Record<string, unknown>>;

export const META_KEYS: ReadonlySet<string> = new Set([
  'version',
  'aliases',
  'defaults',
  'variants',
  'topics',
  'final_fallback',
  'default_variant_by_target_language',
]);
const VARIANT_NAMES: readonly string[] =
  'english france msa morocco egypt gulf levantine saudi ar en fr arabic french'.split(' ');
const PROBLEMS_MAX = 20;
const NAMED_FILE = /^(.+)\.(?:ya?ml|json)$/i;

/** `names` are labels that count as variants besides the usual ones: the language and the configured variant. */
export function readSeedFiles(source: SeedSource, names: readonly string[]): ReadSeeds {
  const problems: string[] = [];
  const layout =
    source.type === 'file'
      ? readFile(source.name, source.value, names, problems)
      : readFolder(source.files, names, problems);
  return { layout, problems: problems.slice(0, PROBLEMS_MAX) };
}

function readFile(
  name: string,
  value: unknown,
  names: readonly string[],
  problems: string[],
): SeedLayout | null {
  const root = asMapping(value);
  if (root === null) {
    problems.push(`${name}: must be a mapping of topics or variants, not ${kindOf(value)}`);
    return null;
  }
  const note = (text: string): unknown => problems.push(`${name}: ${text}`);
  const container = asMapping(root['variants']) ?? asMapping(root['topics']);
  if (container !== null) {
    return holdsLists(container)
      ? { type: 'flat', topics: readTopics(container, note) }
      : readVariants(root, container, note);
  }
  const own = Object.fromEntries(Object.entries(root).filter(([key]) => !META_KEYS.has(key)));
  const hasMeta = Object.keys(own).length < Object.keys(root).length;
  if (!hasMeta && isByTopic(own, names)) return readByTopic(own, note);
  const allMappings =
    Object.values(own).length > 0 && Object.values(own).every((inner) => asMapping(inner) !== null);
  return allMappings ? readVariants(root, own, note) : { type: 'flat', topics: readTopics(own, note) };
}

/** Topics at the top and variants inside: known by top keys that are mostly no variant names. */
function isByTopic(root: Mapping, names: readonly string[]): boolean {
  const values = Object.values(root);
  const nested =
    values.length > 0 && values.every((inner) => Object.values(asMapping(inner) ?? {}).some(Array.isArray));
  if (!nested) return false;
  const variantNames = new Set([...VARIANT_NAMES, ...names].map(normal));
  const known = Object.keys(root).filter((key) => variantNames.has(normal(key))).length;
  return known < values.length / 2;
}

function readByTopic(root: Mapping, note: (text: string) => unknown): SeedLayout {
  const topics = new Map<string, TopicQuestions>();
  for (const [topic, variants] of Object.entries(root)) {
    const read = readTopics(asMapping(variants) ?? {}, (text) => note(`topic "${topic}": ${text}`));
    topics.set(topic, new Map([...read].map(([variant, questions]) => [normal(variant), questions])));
  }
  return { type: 'by_topic', topics };
}

function readVariants(root: Mapping, variants: Mapping, note: (text: string) => unknown): SeedLayout {
  const read = new Map<string, TopicQuestions>();
  for (const [variant, topics] of Object.entries(variants)) {
    const mapping = asMapping(topics);
    if (mapping === null) note(`variant "${variant}" must be a mapping of topics, not ${kindOf(topics)}`);
    else {
      const own = readTopics(mapping, (text) => note(`variant "${variant}": ${text}`));
      read.set(normal(variant), joined(read.get(normal(variant)), own));
    }
  }
  return { type: 'by_variant', variants: read, ...readNames(root) };
}

export type SeedNames = Pick<
  Extract<SeedLayout, { type: 'by_variant' }>,
  'aliases' | 'byLanguage' | 'finalFallback'
>;

export function readNames(root: Mapping): SeedNames {
  const defaults = asMapping(root['defaults']) ?? {};
  const byLanguage =
    asMapping(defaults['by_target_language']) ?? asMapping(root['default_variant_by_target_language']);
  const fallback = root['final_fallback'] ?? defaults['final_fallback'];
  return {
    aliases: readLabels(asMapping(root['aliases'])),
    byLanguage: readLabels(byLanguage),
    finalFallback: typeof fallback === 'string' ? normal(fallback) : 'english',
  };
}

function readLabels(mapping: Mapping | null): Map<string, string> {
  const labels = Object.entries(mapping ?? {}).filter(([, label]) => typeof label === 'string');
  return new Map(labels.map(([key, label]) => [normal(key), normal(label as string)]));
}

function readTopics(topics: Mapping, note: (text: string) => unknown): Map<string, readonly string[]> {
  const read = new Map<string, readonly string[]>();
  for (const [topic, questions] of Object.entries(topics)) {
    if (!Array.isArray(questions))
      note(`topic "${topic}" must be a list of questions, not ${kindOf(questions)}`);
    else {
      const own = readQuestions(questions, (text) => note(`topic "${topic}": ${text}`));
      read.set(topic.trim(), [...(read.get(topic.trim()) ?? []), ...own]);
    }
  }
  return read;
}

/** Names that differ in case or blanks are one name: nothing that stands under it twice is lost. */
function joined(earlier: TopicQuestions = new Map(), later: TopicQuestions): TopicQuestions {
  const topics = new Map(earlier);
  for (const [topic, questions] of later) topics.set(topic, [...(topics.get(topic) ?? []), ...questions]);
  return topics;
}

function readQuestions(questions: readonly unknown[], note: (text: string) => unknown): string[] {
  return questions.flatMap((question, index) => {
    if (typeof question === 'string' && question.trim() !== '') return [question.trim()];
    note(
      `question ${index + 1} is ${typeof question === 'string' ? 'empty' : kindOf(question)}, not a text; left out`,
    );
    return [];
  });
}

/** A folder holds `topics.yaml`, or an index and one flat file per variant. */
function readFolder(
  files: ReadonlyMap<string, unknown>,
  names: readonly string[],
  problems: string[],
): SeedLayout | null {
  for (const name of ['topics.yaml', 'topics.yml']) {
    if (files.has(name)) return readFile(name, files.get(name), names, problems);
  }
  const variants = new Map<string, TopicQuestions>();
  let index: Mapping = {};
  for (const [name, value] of [...files].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const label = NAMED_FILE.exec(name)?.[1];
    if (label === undefined) continue;
    const mapping = asMapping(value);
    if (mapping === null) problems.push(`${name}: must be a mapping, not ${kindOf(value)}`);
    else if (normal(label) === 'index') index = mapping;
    else
      variants.set(
        normal(label),
        readTopics(mapping, (text) => problems.push(`${name}: ${text}`)),
      );
  }
  if (variants.size === 0) {
    problems.push('the seed folder has neither topics.yaml nor a file per variant, such as english.yaml');
    return null;
  }
  return { type: 'by_variant', variants, ...readNames(index) };
}

const normal = (name: string): string => name.trim().toLowerCase();

const holdsLists = (mapping: Mapping): boolean =>
  Object.values(mapping).length > 0 && Object.values(mapping).every(Array.isArray);

export function asMapping(value: unknown): Mapping | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Mapping) : null;
}

function kindOf(value: unknown): string {
  if (value === null || value === undefined) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a mapping';
  return `the ${typeof value} ${JSON.stringify(value)}`;
}
