/**
 * The plots of a dataset as SVG files: bars that lie, so that long labels can be read, each with its number.
 * The same statistics give the same bytes, wherever they are drawn: no fonts of the machine are measured.
 */
import type { TopLevelSpec } from 'vega-lite';
import type { DatasetStats } from './dataset-stats.ts';

interface Chart {
  readonly file: string;
  readonly subtitle?: string;
  readonly labels: string;
  readonly values: string;
  /** The end of the axis; without it, where the longest bar says. */
  readonly valueMax?: number;
  readonly bars: readonly Bar[];
}

interface Bar {
  readonly label: string;
  readonly value: number;
  /** At the end of the bar. */
  readonly text: string;
}

/**
 * The SVG text of each plot by its file name, in the order in which a card shows them. What would be without
 * bars is left out.
 */
export async function drawPlots(stats: DatasetStats): Promise<ReadonlyMap<string, string>> {
  const charts = chartsOf(stats).filter(({ bars }) => bars.length > 0);
  if (charts.length === 0) return new Map();
  // They are large, and most commands never draw.
  const [vega, { compile }] = await Promise.all([import('vega'), import('vega-lite')]);
  const plots = new Map<string, string>();
  for (const chart of charts) {
    const view = new vega.View(vega.parse(compile(specOf(chart)).spec), { renderer: 'none' });
    try {
      plots.set(chart.file, `${await view.toSVG()}\n`);
    } finally {
      view.finalize();
    }
  }
  return plots;
}

/** For a card: `Turn Count Distribution` of `turn_count_distribution.svg`. */
export const plotTitle = (file: string): string => TITLES.get(file) ?? file;

const TITLES = new Map([
  ['turn_count_distribution.svg', 'Turn Count Distribution'],
  ['judge_avg_score_distribution.svg', 'Judge Avg Score Distribution'],
  ['word_count_distribution.svg', 'Word Count Distribution'],
  ['token_estimate_distribution.svg', 'Token Estimate Distribution'],
  ['document_coverage.svg', 'Document Coverage'],
  ['coverage_by_language.svg', 'Coverage by Language'],
  ['conversations_by_language.svg', 'Conversations by Language'],
  ['score_by_language.svg', 'Score by Language'],
]);

function chartsOf(stats: DatasetStats): Chart[] {
  return [
    {
      file: 'turn_count_distribution.svg',
      labels: 'turns of a conversation',
      values: CONVERSATIONS,
      bars: barsOf(stats.turn_count.distribution),
    },
    {
      file: 'judge_avg_score_distribution.svg',
      labels: 'average score of the turns, rounded',
      values: CONVERSATIONS,
      bars: barsOf(stats.judge.avg_score_distribution),
    },
    {
      file: 'word_count_distribution.svg',
      labels: 'words of a conversation',
      values: CONVERSATIONS,
      bars: barsOf(stats.text.word_count_distribution),
    },
    {
      file: 'token_estimate_distribution.svg',
      labels: 'tokens of a conversation, estimated',
      values: CONVERSATIONS,
      bars: barsOf(stats.text.token_estimate_distribution),
    },
    coverageChart(stats),
    coverageByLanguageChart(stats),
    languageChart(stats),
    scoreChart(stats),
  ];
}

const CONVERSATIONS = 'conversations';

const barsOf = (distribution: Readonly<Record<string, number>>): Bar[] =>
  Object.entries(distribution).map(([label, value]) => ({ label, value, text: count(value) }));

/** How much of the documents the questions rest on. */
function coverageChart({ coverage }: DatasetStats): Chart {
  const parts =
    coverage === null
      ? []
      : [
          { label: 'documents', share: coverage.document_share, of: coverage.documents_known },
          { label: 'passages', share: coverage.passage_share, of: coverage.passages_known },
        ];
  return {
    file: 'document_coverage.svg',
    labels: 'indexed',
    values: 'share that at least one question rests on, in percent',
    valueMax: 100,
    bars: parts.flatMap(({ label, share, of }) =>
      share === null || of === null
        ? []
        : [{ label, value: share * 100, text: `${(share * 100).toFixed(1)} % of ${count(of)}` }],
    ),
  };
}

/** More would be a poster. */
const LANGUAGES_MAX = 40;

type LanguageFigures = DatasetStats['by_language'][string];

function byLanguage(
  { by_language: languages }: DatasetStats,
  barOf: (figures: LanguageFigures) => Omit<Bar, 'label'> | null,
): Pick<Chart, 'bars' | 'subtitle' | 'labels'> {
  const all = Object.entries(languages)
    .toSorted(([a, one], [b, other]) => other.records - one.records || (a < b ? -1 : 1))
    .flatMap(([label, figures]) => {
      const bar = barOf(figures);
      return bar === null ? [] : [{ label, ...bar }];
    });
  const subtitle = `the ${LANGUAGES_MAX} largest of ${count(all.length)} languages`;
  return {
    labels: 'language',
    bars: all.slice(0, LANGUAGES_MAX),
    ...(all.length > LANGUAGES_MAX ? { subtitle } : {}),
  };
}

/** Languages are dealt the documents each for itself, so each covers its own part of them. */
function coverageByLanguageChart(stats: DatasetStats): Chart {
  const known = stats.coverage?.passages_known ?? null;
  return {
    file: 'coverage_by_language.svg',
    values: 'passages that at least one question rests on',
    ...byLanguage(stats, ({ passages_used: used }) => {
      if (used === 0) return null;
      return { value: used, text: known === null ? count(used) : `${count(used)} of ${count(known)}` };
    }),
  };
}

function languageChart(stats: DatasetStats): Chart {
  return {
    file: 'conversations_by_language.svg',
    values: CONVERSATIONS,
    ...byLanguage(stats, ({ records, turns }) => ({
      value: records,
      text: `${count(records)} (${count(turns)} turns)`,
    })),
  };
}

/** Verdicts of turns or of conversations, whichever the dataset has; never a mixture of both (I3). */
function scoreChart(stats: DatasetStats): Chart {
  const ofTurns = stats.judge.avg_score_mean !== null;
  return {
    file: 'score_by_language.svg',
    values: ofTurns ? 'mean of the average turn scores, 0 to 10' : 'mean of the conversation scores, 0 to 10',
    valueMax: 10,
    ...byLanguage(stats, ({ avg_score_mean, conversation_score_mean }) => {
      const mean = ofTurns ? avg_score_mean : conversation_score_mean;
      return mean === null ? null : { value: mean, text: mean.toFixed(2) };
    }),
  };
}

const count = (value: number): string => value.toLocaleString('en-US');

const LABEL_COLUMNS_MAX = 48;
/** Of half a letter of the widest scripts, at the size of labels. */
const COLUMN_WIDTH = 6.5;

/** What XML cannot hold, and what no reader of a plot reads to its end, is left out. */
function shown(label: string): string {
  const clean = label.toWellFormed().replace(/[\p{Cc}\p{Cs}\uFFFE\uFFFF]+/gu, ' ');
  if (columnsOf(clean) <= LABEL_COLUMNS_MAX) return clean;
  let [kept, columns] = ['', 1];
  for (const letter of clean) {
    columns += columnsOf(letter);
    if (columns > LABEL_COLUMNS_MAX) break;
    kept += letter;
  }
  return `${kept.trimEnd()}…`;
}

/** Letters that are as wide as they are high count twice. */
const columnsOf = (text: string): number =>
  Array.from(text).reduce((sum, letter) => sum + (WIDE.test(letter) ? 2 : 1), 0);
const WIDE =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Emoji_Presentation}\u3000-\u303F\uFF00-\uFF60]/u;

const FONT = 'sans-serif';
const ROW_HEIGHT = 28;
const BARS_WIDTH = 640;

function specOf({ file, subtitle, labels, values, valueMax, bars }: Chart): TopLevelSpec {
  const isWhole = valueMax === undefined;
  const longest = Math.max(...bars.map(({ value }) => value));
  // Room for the number at the end of the longest bar.
  const end = (valueMax ?? longest) * 1.15 || 1;
  const place = { field: 'row', type: 'ordinal', sort: null } as const;
  return {
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    background: 'white',
    padding: 20,
    title: {
      text: plotTitle(file),
      anchor: 'start',
      frame: 'bounds',
      offset: 24,
      ...(subtitle === undefined ? {} : { subtitle }),
    },
    width: BARS_WIDTH,
    height: { step: ROW_HEIGHT },
    data: { values: bars.map(({ label, value, text }, row) => ({ row, label: shown(label), value, text })) },
    encoding: {
      y: {
        ...place,
        axis: {
          title: labels,
          // Above the labels, where it is in the way of none of them.
          titleAngle: 0,
          titleAlign: 'right',
          titleAnchor: 'start',
          titleX: -8,
          titleY: -12,
          // Two languages may be shown alike after shortening, so that rows are told apart by their number.
          labelExpr: `data('source_0')[datum.value].label`,
          labelLimit: 0,
          minExtent: Math.max(...bars.map(({ label }) => columnsOf(shown(label)))) * COLUMN_WIDTH,
        },
      },
    },
    layer: [
      {
        mark: { type: 'bar', color: '#2f6fed', cornerRadiusEnd: 3, height: 18 },
        encoding: {
          x: {
            field: 'value',
            type: 'quantitative',
            // Stacked bars would be clipped, under ids that count up from plot to plot.
            stack: null,
            scale: { domain: [0, end], nice: false },
            axis: {
              title: values,
              ...(isWhole ? { tickMinStep: 1, format: ',d' } : { values: ticksTo(valueMax) }),
            },
          },
        },
      },
      {
        mark: { type: 'text', align: 'left', dx: 6, baseline: 'middle' },
        encoding: { x: { field: 'value', type: 'quantitative' }, text: { field: 'text' } },
      },
    ],
    config: {
      font: FONT,
      view: { stroke: null },
      title: { fontSize: 18, subtitleFontSize: 12 },
      axis: { labelFontSize: 12, titleFontSize: 13, titlePadding: 12, titleFontWeight: 'normal' },
      axisY: { ticks: false, domain: false, labelPadding: 8 },
      axisX: { grid: true, gridColor: '#e5e7eb', tickCount: 6 },
      text: { fontSize: 12 },
    },
  };
}

const ticksTo = (end: number): number[] => Array.from({ length: 6 }, (_, index) => (end / 5) * index);
