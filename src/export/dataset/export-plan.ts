/**
 * Which rows are exported, and into which split each goes: found out in a first pass over the source, so that
 * the second can write. Keeps one byte for each row, and while it counts 16 more for each kept one.
 *
 * A split has its exact share of the conversations of each language (largest remainder; what is left goes to
 * `train` first). Within a language conversations are ordered by a hash of (seed, conversation id), by their
 * position where ids are equal: the first ones are `test`, the next `validation`. So the same file and seed
 * give the same splits, whatever the order in which conversations were made.
 */
import { scoreOf } from '../../dialogue/score.ts';
import { uniform } from '../../kernel/random.ts';
import { turnCountOf } from './dataset-stats.ts';
import { toolNames } from './openai-row.ts';
import type { ExportRow } from './schema.ts';
import type { BadLine, SourceRows } from './source-rows.ts';

export const SPLITS = ['train', 'validation', 'test'] as const;
export type Split = (typeof SPLITS)[number];

export interface SplitSizes {
  /** Shares of each language, 0 to 1. */
  readonly validation: number;
  readonly test: number;
}

export interface ExportFilter {
  /** Null: any score, and none. */
  readonly minScore: number | null;
  /** With `minScore`: also what nobody judged. */
  readonly keepUnjudged: boolean;
  /** Empty: all; compared without regard to case. */
  readonly languages: readonly string[];
  readonly turnsMin: number | null;
  readonly turnsMax: number | null;
}

export type LeftOut = 'language' | 'turns' | 'score' | 'unjudged';

export interface ExportPlan {
  /** Null for a row that is left out. */
  splitOf(position: number): Split | null;
  /** Rows of each split that has any, in the order of `SPLITS`. */
  readonly splits: ReadonlyMap<Split, number>;
  readonly records: number;
  /** Rows of the source. */
  readonly sourceRows: number;
  readonly leftOut: Readonly<Record<LeftOut, number>>;
  /** Rows by language, as they name it. */
  readonly languages: ReadonlyMap<string, number>;
  readonly hasJudge: boolean;
  /** Any row is marked as made by the rehearsal backend. */
  readonly rehearsal: boolean;
  /** Names of the tools that any conversation calls. */
  readonly tools: readonly string[];
  /** Texts in which half a surrogate pair was replaced. */
  readonly replacedTexts: number;
  readonly badLineCount: number;
  /** The first ones. */
  readonly badLines: readonly BadLine[];
}

const BAD_LINES_MAX = 20;
const TOOLS_MAX = 128;

export async function planExport(
  source: Pick<SourceRows, 'rows'>,
  filter: ExportFilter,
  sizes: SplitSizes,
  seed: number,
): Promise<ExportPlan> {
  const kept = new Map<string, { readonly positions: number[]; readonly keys: number[] }>();
  const leftOut: Record<LeftOut, number> = { language: 0, turns: 0, score: 0, unjudged: 0 };
  const tools = new Set<string>();
  const badLines: BadLine[] = [];
  let [sourceRows, replacedTexts, badLineCount] = [0, 0, 0];
  let [hasJudge, rehearsal] = [false, false];
  const onBadLine = (line: BadLine): void => {
    badLineCount += 1;
    if (badLines.length < BAD_LINES_MAX) badLines.push(line);
  };
  for await (const { row, position, ...facts } of source.rows(onBadLine)) {
    sourceRows += 1;
    const reason = reasonToLeaveOut(row, filter);
    if (reason !== null) {
      leftOut[reason] += 1;
      continue;
    }
    hasJudge ||= facts.hasJudge;
    rehearsal ||= row.metadata.rehearsal === true;
    replacedTexts += facts.replacedTexts;
    for (const name of toolNames(row)) if (tools.size < TOOLS_MAX) tools.add(name);
    const language = row.metadata.language.trim();
    const group = kept.get(language) ?? { positions: [], keys: [] };
    kept.set(language, group);
    group.positions.push(position);
    group.keys.push(uniform(['split', seed, row.metadata.conversation_id]));
  }
  const places = new Uint8Array(sourceRows);
  const splits = new Map<Split, number>();
  for (const { positions, keys } of kept.values()) assign(positions, keys, sizes, places, splits);
  return {
    splitOf: (position) => SPLITS[(places[position] ?? 0) - 1] ?? null,
    splits: new Map(SPLITS.flatMap((split) => (splits.has(split) ? [[split, splits.get(split) ?? 0]] : []))),
    records: [...splits.values()].reduce((sum, count) => sum + count, 0),
    sourceRows,
    leftOut,
    languages: new Map([...kept].map(([language, { positions }]) => [language, positions.length])),
    hasJudge,
    rehearsal,
    tools: [...tools],
    replacedTexts,
    badLineCount,
    badLines,
  };
}

/** The mean of the turns' verdicts, else the verdict on the conversation; null when nobody gave a score. */
export const scoreOfRow = ({ judge }: ExportRow): number | null =>
  scoreOf(judge.avg_score) ?? scoreOf(judge.conversation.score);

function reasonToLeaveOut(row: ExportRow, filter: ExportFilter): LeftOut | null {
  const wanted = filter.languages.map((language) => language.trim().toLowerCase());
  if (wanted.length > 0 && !wanted.includes(row.metadata.language.trim().toLowerCase())) return 'language';
  const turns = turnCountOf(row);
  if (turns < (filter.turnsMin ?? 0) || turns > (filter.turnsMax ?? Number.POSITIVE_INFINITY)) return 'turns';
  if (filter.minScore === null) return null;
  const score = scoreOfRow(row);
  if (score === null) return filter.keepUnjudged ? null : 'unjudged';
  return score < filter.minScore ? 'score' : null;
}

function assign(
  positions: readonly number[],
  keys: readonly number[],
  sizes: SplitSizes,
  places: Uint8Array,
  splits: Map<Split, number>,
): void {
  const counts = splitCounts(positions.length, sizes);
  const order = Array.from(positions.keys()).toSorted((a, b) => {
    const [first = 0, second = 0] = [keys[a], keys[b]];
    return first - second || a - b;
  });
  let at = 0;
  for (const split of ['test', 'validation', 'train'] as const) {
    const count = counts[split];
    if (count > 0) splits.set(split, (splits.get(split) ?? 0) + count);
    for (const index of order.slice(at, at + count))
      places[positions[index] ?? 0] = SPLITS.indexOf(split) + 1;
    at += count;
  }
}

/** How `total` conversations are divided: the whole parts of the shares, then the largest remainders. */
export function splitCounts(
  total: number,
  { validation, test }: SplitSizes,
): Readonly<Record<Split, number>> {
  const shares: Readonly<Record<Split, number>> = { train: 1 - validation - test, validation, test };
  // Without the noise of binary fractions: 0.1 of 30 is 3.
  const exact = (split: Split): number => Number((shares[split] * total).toFixed(9));
  const counts = { train: 0, validation: 0, test: 0 };
  for (const split of SPLITS) counts[split] = Math.floor(exact(split));
  const byRemainder = [...SPLITS].toSorted((a, b) => (exact(b) % 1) - (exact(a) % 1));
  const missing = total - counts.train - counts.validation - counts.test;
  for (const split of byRemainder.slice(0, missing)) counts[split] += 1;
  return counts;
}
