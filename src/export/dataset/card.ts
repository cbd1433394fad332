/** The card of a dataset (`README.md`). It names only what is in the export (fault I4). */
import { type CardMetadata, frontMatter, hubConfigs } from './card-metadata.ts';
import type { DatasetStats } from './dataset-stats.ts';
import { languageCode } from './language-codes.ts';
import type { Split } from './export-plan.ts';

export interface CardFacts extends CardMetadata {
  /** `owner/name`; '' when it is not known yet. */
  readonly repoId: string;
  readonly splits: ReadonlyMap<Split, number>;
  /** The first files of each format, with what they hold. */
  readonly contents: readonly { readonly path: string; readonly what: string }[];
  readonly stats: DatasetStats | null;
  readonly statsFile: string | null;
  readonly plots: readonly { readonly path: string; readonly title: string }[];
  readonly made: MadeFacts;
  /** What was done to the rows on the way here, a sentence each. */
  readonly notes: readonly string[];
}

/** How the conversations were made, as far as it is known. */
export interface MadeFacts {
  readonly backend: string;
  readonly version: string;
  readonly seed: string;
  readonly models: readonly { readonly role: string; readonly model: string }[];
  readonly judge: string;
  /** Null when the store does not know the runs. */
  readonly runs: {
    readonly count: number;
    readonly committed: number;
    readonly dropReasons: Readonly<Record<string, number>>;
  } | null;
  /** Settings that are not the defaults, without secrets and places: `key: value` lines. */
  readonly settings: readonly string[];
}

export function datasetCard(facts: CardFacts): string {
  const sections = [
    `# ${plain(facts.prettyName)}`,
    `Synthetic multi-turn conversations, grounded in documents, made with dlgforge.`,
    ...(facts.rehearsal
      ? [
          '> **Rehearsal data.** Some or all of these conversations come from the built-in offline rehearsal of dlgforge and not from a model.',
        ]
      : []),
    '## Contents',
    facts.contents.map(({ path, what }) => `- \`${path}\`: ${what}`).join('\n'),
    ...splitsSection(facts),
    '## Load',
    loading(facts),
    '## Stats',
    statsBullets(facts),
    ...languageSection(facts),
    ...usageSection(facts.stats),
    '## How it was made',
    madeText(facts.made),
    ...settingsSection(facts.made),
    '## Known limits',
    limits(facts),
    ...(facts.statsFile === null
      ? []
      : ['## Full Stats JSON', `All figures: [\`${facts.statsFile}\`](${link(facts.statsFile)})`]),
    ...(facts.plots.length === 0 ? [] : ['## Plots']),
    ...facts.plots.flatMap(({ path, title }) => [`### ${title}`, `![${title}](${link(path)})`]),
  ];
  return `${frontMatter(facts)}\n${sections.join('\n\n')}\n`;
}

function splitsSection({ splits }: CardFacts): string[] {
  if (splits.size < 2) return [];
  return [
    '## Splits',
    table(
      ['Split', 'Conversations'],
      [...splits].map(([split, count]) => [split, String(count)]),
    ),
    'Every conversation is in one split; each split has its share of every language.',
  ];
}

function loading({ repoId, configs }: CardFacts): string {
  const place = repoId === '' ? 'path/of/this/folder' : repoId;
  const named = hubConfigs(configs);
  const lines = configs.map((config, index) => {
    if (index === 0) return `data = load_dataset(${JSON.stringify(place)})`;
    if (named.includes(config))
      return `data = load_dataset(${JSON.stringify(place)}, ${JSON.stringify(config.name)})`;
    const root = repoId === '' ? place : `hf://datasets/${place}`;
    const files = config.files.map(
      ({ split, path }) => `${JSON.stringify(split)}: ${JSON.stringify(`${root}/${path}`)}`,
    );
    return `data = load_dataset(${JSON.stringify(config.reader)}, data_files={${files.join(', ')}})`;
  });
  return `\`\`\`python\nfrom datasets import load_dataset\n\n${lines.join('\n')}\n\`\`\``;
}

function statsBullets({ stats, records }: CardFacts): string {
  if (stats === null) return `- records: ${records}`;
  const { turn_count: turns, judge, text } = stats;
  const bullets: readonly (readonly [string, number | null])[] = [
    ['records', stats.records],
    ['turn_count.avg', turns.avg],
    ['turn_count.min', turns.min],
    ['turn_count.max', turns.max],
    ['judge.conversations_with_scores', judge.conversations_with_scores],
    ['judge.avg_score_mean', judge.avg_score_mean],
    ['text.avg_words_per_conversation', text.avg_words_per_conversation],
    ['text.avg_tokens_per_conversation_estimate', text.avg_tokens_per_conversation_estimate],
    ['questions.unique_share', stats.questions.unique_share],
    ['coverage.passage_share', stats.coverage?.passage_share ?? null],
    ['coverage.document_share', stats.coverage?.document_share ?? null],
  ];
  return bullets.flatMap(([name, value]) => (value === null ? [] : [`- ${name}: ${value}`])).join('\n');
}

function languageSection({ stats }: CardFacts): string[] {
  const languages = Object.entries(stats?.by_language ?? {});
  if (languages.length === 0) return [];
  const rows = languages.map(([language, figures]) => [
    language,
    String(figures.records),
    shown(figures.avg_turns),
    shown(figures.per_turn_score_mean),
    shown(figures.conversation_score_mean),
    shown(figures.unique_question_share),
    shown(figures.distinct_1),
    shown(figures.distinct_2),
  ]);
  return [
    '## Languages',
    table(
      [
        'Language',
        'Conversations',
        'Turns (mean)',
        'Turn score (mean)',
        'Conversation score (mean)',
        'Unique questions',
        'Distinct-1',
        'Distinct-2',
      ],
      rows,
    ),
    ...sharesTable('Question mode', stats?.question_modes ?? {}),
    ...sharesTable('Difficulty', stats?.difficulties ?? {}),
  ];
}

function sharesTable(title: string, shares: DatasetStats['question_modes']): string[] {
  const rows = Object.entries(shares).map(([name, { count, share }]) => [name, String(count), String(share)]);
  return rows.length === 0 ? [] : [table([title, 'Questions', 'Share'], rows)];
}

function usageSection(stats: DatasetStats | null): string[] {
  const usage = stats?.usage ?? null;
  if (usage === null) return [];
  const rows = usage.models.map((row) => [
    row.role,
    row.model,
    String(row.calls),
    String(row.prompt_tokens),
    String(row.cached_tokens),
    String(row.completion_tokens),
    shown(row.cost),
  ]);
  return [
    '## Model calls',
    table(['Role', 'Model', 'Calls', 'Prompt tokens', 'of these cached', 'Completion tokens', 'Cost'], rows),
  ];
}

function madeText(made: MadeFacts): string {
  const lines = [
    `- dlgforge ${made.version}, backend \`${made.backend}\`, seed ${plain(made.seed)}`,
    ...made.models.map(({ role, model }) => `- ${plain(role)}: ${plain(model)}`),
    `- Judge: ${plain(made.judge)}`,
  ];
  if (made.runs === null) return lines.join('\n');
  const { count, committed, dropReasons } = made.runs;
  const dropped = Object.entries(dropReasons).map(([reason, times]) => `${times} × ${plain(reason)}`);
  return [
    ...lines,
    `- ${count} ${count === 1 ? 'run' : 'runs'}, ${committed} conversations accepted; dropped: ${dropped.length === 0 ? 'none' : dropped.join(', ')}`,
  ].join('\n');
}

/** What a model says of itself could end the block: no line of the settings starts with a fence. */
const settingsSection = ({ settings }: MadeFacts): string[] =>
  settings.length === 0
    ? []
    : [
        'Settings that are not the defaults:',
        `\`\`\`yaml\n${settings.map((line) => line.replaceAll('```', "'''")).join('\n')}\n\`\`\``,
      ];

function limits(facts: CardFacts): string {
  const unknown = facts.languages.filter((language) => language !== '' && languageCode(language) === null);
  return [
    'The questions and answers are written by language models. Answers rest on the documents that were given, but may be wrong, incomplete or out of date.',
    ...(facts.stats === null || facts.stats.judge.conversations_with_scores === 0
      ? []
      : ['Scores are the opinion of a language model, not of people.']),
    'Token counts of texts are estimates: a quarter of the characters.',
    ...(unknown.length === 0
      ? []
      : [
          `The Hub has no language code for ${unknown.map((language) => `\`${plain(language)}\``).join(', ')}, so the metadata leaves it out.`,
        ]),
    ...facts.notes,
  ]
    .map((line) => `- ${line}`)
    .join('\n');
}

const shown = (value: number | null): string => (value === null ? '–' : String(value));

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.map(plain).join(' | ')} |`;
  return [line(head), `|${head.map(() => '---').join('|')}|`, ...rows.map(line)].join('\n');
}

/** Text of others in one line of Markdown, without markup of its own. */
const plain = (text: string): string =>
  text
    .replace(/\s+/g, ' ')
    .trim()
    .replace(/[\\`*[\]<>|#]/g, '\\$&');

const link = (path: string): string => path.split('/').map(encodeURIComponent).join('/');
