/** The statistics of a dataset in tables. */
import type { StatsReport } from '../bootstrap/stats.ts';
import { count, table } from './format.ts';
import { shortened } from './wrapped.ts';

type Stats = StatsReport['stats'];

const BAR_MAX = 40;
const NAME_SHOWN = 60;

export function statsLines({ runId, place, stats }: StatsReport): string[] {
  return [
    `${runId === null ? 'Dataset' : `Run ${runId}`}: ${count(stats.records)} conversations, ${place}`,
    ...section('Languages', languageLines(stats)),
    ...section('Turns per conversation', turnLines(stats)),
    ...section('Judge', judgeLines(stats)),
    ...section('Text', textLines(stats)),
    ...section('Questions', questionLines(stats)),
    ...section('Documents', coverageLines(stats)),
    ...section('Model calls', usageLines(stats)),
  ];
}

const section = (title: string, lines: readonly string[]): string[] =>
  lines.length === 0 ? [] : ['', title, ...lines.map((line) => `  ${line}`)];

const figure = (value: number | null, digits = 2): string => (value === null ? '-' : value.toFixed(digits));
const share = (value: number | null): string => (value === null ? '-' : `${(value * 100).toFixed(1)} %`);

function languageLines({ by_language: languages }: Stats): string[] {
  const rows = Object.entries(languages);
  if (rows.length === 0) return [];
  return table(
    [
      'language',
      'conversations',
      'turns',
      'score',
      'turn score',
      'whole score',
      'unique',
      'distinct-1',
      'distinct-2',
    ],
    rows.map(([language, of]) => [
      shortened(language, NAME_SHOWN),
      of.records,
      of.turns,
      figure(of.avg_score_mean),
      figure(of.per_turn_score_mean),
      figure(of.conversation_score_mean),
      share(of.unique_question_share),
      figure(of.distinct_1, 3),
      figure(of.distinct_2, 3),
    ]),
  );
}

function turnLines({ turn_count: turns }: Stats): string[] {
  if (turns.avg === null) return [];
  return [`from ${turns.min} to ${turns.max}, ${figure(turns.avg)} on average`, ...bars(turns.distribution)];
}

function judgeLines({ judge }: Stats): string[] {
  const kinds = [
    ['mean of the turns', judge.avg_score_mean, judge.avg_score_distribution],
    ['single turns', judge.per_turn_score_mean, judge.per_turn_score_distribution],
    ['whole conversations', judge.conversation_score_mean, judge.conversation_score_distribution],
  ] as const;
  const there = kinds.filter(([, mean]) => mean !== null);
  if (there.length === 0) return ['nothing is judged'];
  return [
    `${count(judge.conversations_with_scores)} conversations have a score`,
    ...there.flatMap(([name, mean, distribution]) => [
      `${name}: ${figure(mean)} of 10`,
      ...bars(distribution),
    ]),
  ];
}

/** A distribution as bars, the longest one `BAR_MAX` wide. */
function bars(distribution: Readonly<Record<string, number>>): string[] {
  const rows = Object.entries(distribution);
  const most = Math.max(1, ...rows.map(([, number]) => number));
  const width = Math.max(0, ...rows.map(([label]) => label.length));
  return rows.map(
    ([label, number]) =>
      `  ${label.padStart(width)}  ${'█'.repeat(Math.max(1, Math.round((number / most) * BAR_MAX)))} ${count(number)}`,
  );
}

function textLines({ text }: Stats): string[] {
  const lines = table(
    ['', 'words', 'tokens, estimated'],
    [
      [
        'per conversation',
        figure(text.avg_words_per_conversation, 1),
        figure(text.avg_tokens_per_conversation_estimate, 1),
      ],
      ['per message', figure(text.avg_words_per_message, 1), figure(text.avg_tokens_per_message_estimate, 1)],
    ],
  );
  return [...lines, 'conversations by words', ...bars(text.word_count_distribution)];
}

function questionLines({ question_modes: modes, difficulties, questions }: Stats): string[] {
  const shares = (of: Stats['question_modes']): string =>
    Object.entries(of)
      .map(([name, { share: part }]) => `${shortened(name, NAME_SHOWN)} ${share(part)}`)
      .join(', ');
  return [
    `${share(questions.unique_share)} unique`,
    ...(Object.keys(modes).length === 0 ? [] : [`modes: ${shares(modes)}`]),
    ...(Object.keys(difficulties).length === 0 ? [] : [`difficulties: ${shares(difficulties)}`]),
  ];
}

function coverageLines({ coverage }: Stats): string[] {
  if (coverage === null) return [];
  const of = (used: number, known: number | null, part: number | null): string =>
    known === null ? count(used) : `${count(used)} of ${count(known)} (${share(part)})`;
  return [
    `passages: ${of(coverage.passages_used, coverage.passages_known, coverage.passage_share)}`,
    `documents: ${of(coverage.documents_used, coverage.documents_known, coverage.document_share)}`,
  ];
}

function usageLines({ usage }: Stats): string[] {
  if (usage === null) return [];
  return [
    ...table(
      ['role', 'model', 'calls', 'tokens in', 'cached', 'tokens out', 'cost'],
      usage.models.map((row) => [
        row.role,
        shortened(row.model, NAME_SHOWN),
        row.calls,
        row.prompt_tokens,
        row.cached_tokens,
        row.completion_tokens,
        figure(row.cost),
      ]),
    ),
    `${count(usage.runs)} ${usage.runs === 1 ? 'run' : 'runs'}, ${count(usage.calls)} calls, cost ${figure(usage.cost)}${usage.cost === null ? ' (saving.export.prices names no price for every model)' : ''}`,
  ];
}
