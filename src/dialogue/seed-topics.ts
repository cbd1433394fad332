/**
 * Seed topics: questions that conversations may open with, for one target language. Takes files that
 * have been read and parsed already, in all layouts of 0.1.0.
 */
import { legacyQuestionHash } from './question-key.ts';
import { readSeedFiles, type SeedLayout, type SeedSource, type TopicQuestions } from './seed-layouts.ts';

export type { SeedSource } from './seed-layouts.ts';

export interface SeedRequest {
  /** As configured, for example `english`, `ar` or `Levantine Arabic`. */
  readonly targetLanguage: string;
  /** `run.data.seeding.topics.variant`; empty when not set. */
  readonly variant: string;
}

export interface SeedTopic {
  readonly topic: string;
  readonly questions: readonly string[];
}

export interface SeedTopics {
  /** The variant that was chosen; empty for a flat file, which has none, and when none was found. */
  readonly variant: string;
  /** Without topics that have no questions; no question stands twice. */
  readonly topics: readonly SeedTopic[];
  /** What is wrong with the files, or why there are no topics; each says what to do. */
  readonly problems: readonly string[];
}

const BUILT_IN: Readonly<Record<string, string>> = { ar: 'msa', en: 'english', fr: 'france' };

export function resolveSeedTopics(source: SeedSource, request: SeedRequest): SeedTopics {
  const { layout, problems } = readSeedFiles(source, [request.targetLanguage, request.variant]);
  if (layout === null) return { variant: '', topics: [], problems };
  const chosen = choose(layout, request);
  const topics = withoutRepeats(chosen.topics);
  return {
    variant: chosen.variant,
    topics,
    problems: topics.length > 0 ? problems : [...problems, nothingFound(layout, request)],
  };
}

interface Chosen {
  readonly variant: string;
  readonly topics: TopicQuestions;
}

function choose(layout: SeedLayout, request: SeedRequest): Chosen {
  if (layout.type === 'flat') return { variant: '', topics: layout.topics };
  if (layout.type === 'by_topic') return chooseByTopic(layout.topics, request);
  const variant = firstPresent([...layout.variants.keys()], variantCandidates(layout, request)) ?? '';
  return { variant, topics: layout.variants.get(variant) ?? new Map() };
}

/** In order of precedence: what was asked for, what the file says, the language itself (C15), what is usual. */
function variantCandidates(
  layout: Extract<SeedLayout, { type: 'by_variant' }>,
  request: SeedRequest,
): string[] {
  const explicit = normal(request.variant);
  const language = normal(request.targetLanguage);
  const { aliases, byLanguage, finalFallback } = layout;
  return [
    explicit,
    aliases.get(explicit),
    byLanguage.get(language) ?? aliases.get(language),
    language,
    BUILT_IN[language],
    finalFallback,
    'english',
  ].filter((candidate) => candidate !== undefined && candidate !== '') as string[];
}

/** Old files name the variants inside each topic; a topic without the wanted one falls back on its own. */
function chooseByTopic(topics: ReadonlyMap<string, TopicQuestions>, request: SeedRequest): Chosen {
  const language = normal(request.targetLanguage);
  const wanted = [normal(request.variant), language, BUILT_IN[language] ?? '', 'english'].filter(
    (name) => name !== '',
  );
  const present = new Set([...topics.values()].flatMap((variants) => [...variants.keys()]));
  const variant = firstPresent([...present], wanted) ?? '';
  const chosen = new Map<string, readonly string[]>();
  for (const [topic, variants] of topics) {
    const own =
      firstPresent([...variants.keys()], [variant, 'english']) ?? variants.keys().next().value ?? '';
    chosen.set(topic, variants.get(own) ?? []);
  }
  return { variant, topics: chosen };
}

/** The name among `present` that is, or has the same tag as, the first candidate that is there. */
function firstPresent(present: readonly string[], candidates: readonly string[]): string | undefined {
  for (const candidate of candidates) {
    const match =
      present.find((name) => name === candidate) ?? present.find((name) => tag(name) === tag(candidate));
    if (match !== undefined) return match;
  }
  return undefined;
}

const normal = (name: string): string => name.trim().toLowerCase();
const tag = (name: string): string => name.replace(/[^\p{L}\p{N}]+/gu, '-').replace(/^-|-$/g, '');

function withoutRepeats(topics: TopicQuestions): SeedTopic[] {
  const seen = new Set<string>();
  const isNew = (question: string): boolean => {
    const hash = legacyQuestionHash(question);
    if (seen.has(hash)) return false;
    seen.add(hash);
    return true;
  };
  return [...topics]
    .map(([topic, questions]) => ({ topic, questions: questions.filter(isNew) }))
    .filter(({ questions }) => questions.length > 0);
}

function nothingFound(layout: SeedLayout, { targetLanguage, variant }: SeedRequest): string {
  const wanted = variant === '' ? `language "${targetLanguage}"` : `variant "${variant}"`;
  const there = layout.type === 'by_variant' ? [...layout.variants.keys()].join(', ') : '';
  return there === ''
    ? `no seed questions for ${wanted}: the file has none`
    : `no seed questions for ${wanted}; the file has ${there}: add the variant, an alias, or set run.data.seeding.topics.variant`;
}
