/** What a run's progress looks like: from samples to rates, from rates to lines. Pure. */
import type { ProgressWords, RunView } from '../bootstrap/run.ts';
import { count, decimal, duration } from './format.ts';

/** What was known at one moment. */
export interface Sample {
  readonly atMs: number;
  readonly view: RunView;
  readonly inFlight: number;
  /** Completion tokens of this process so far. */
  readonly tokens: number;
}

const RUN_WORDS: ProgressWords = { done: 'accepted', lost: 'dropped', rate: 'turns' };

/** Turns and tokens per second are averages over about this long. */
const RATE_WINDOW_MS = 20_000;
/** Over less time, a rate says nothing. */
const RATE_SPAN_MIN_MS = 2_000;
/** From fewer conversations, an estimate of the end jumps about. */
const ACCEPTED_MIN = 3;
const BAR_WIDTH_MAX = 24;
const BAR_WIDTH_MIN = 8;
const NAME_WIDTH_MAX = 24;

/** The first sample of a run, the latest one, and those between that the rates are taken from. */
export type Samples = readonly Sample[];

/** The first one stays: it is where the estimate of the end starts from. */
export function withSample(samples: Samples, sample: Sample): Samples {
  const [first, ...later] = samples;
  if (first === undefined) return [sample];
  return [first, ...later.filter(({ atMs }) => atMs > sample.atMs - RATE_WINDOW_MS), sample];
}

interface Rates {
  readonly turnsPerSecond: number;
  readonly tokensPerSecond: number;
}

/** Null while there is too little to go by. */
export function ratesOf(samples: Samples): Rates | null {
  const last = samples.at(-1);
  const from = samples.find(({ atMs }) => last !== undefined && atMs > last.atMs - RATE_WINDOW_MS);
  if (last === undefined || from === undefined || last.atMs - from.atMs < RATE_SPAN_MIN_MS) return null;
  const seconds = (last.atMs - from.atMs) / 1000;
  return {
    // A conversation that is begun anew takes its turns back.
    turnsPerSecond: Math.max(0, turnsOf(last) - turnsOf(from)) / seconds,
    tokensPerSecond: Math.max(0, last.tokens - from.tokens) / seconds,
  };
}

/** From all that was accepted since the start; null while that is too little. */
export function remainingMs(samples: Samples): number | null {
  const [first, last] = [samples[0], samples.at(-1)];
  if (first === undefined || last === undefined) return null;
  const done = acceptedOf(last) - acceptedOf(first);
  if (done < ACCEPTED_MIN) return null;
  const left = last.view.languages.reduce(
    (sum, { target, committed, ended }) => sum + (ended === null ? Math.max(0, target - committed) : 0),
    0,
  );
  return (left / done) * (last.atMs - first.atMs);
}

const turnsOf = ({ view }: Sample): number => view.languages.reduce((sum, { turns }) => sum + turns, 0);
const acceptedOf = ({ view }: Sample): number =>
  view.languages.reduce((sum, { committed }) => sum + committed, 0);

/** A bar per language and a line of rates, none longer than the terminal is wide. */
export function barLines(
  names: readonly string[],
  samples: Samples,
  columns: number,
  words = RUN_WORDS,
): string[] {
  const last = samples.at(-1);
  if (last === undefined) return [];
  const nameWidth = Math.min(NAME_WIDTH_MAX, Math.max(0, ...names.map((name) => name.length)));
  const rows = last.view.languages.map((language) => ({
    language,
    name: (names[language.languageIndex] ?? '').slice(0, nameWidth).padEnd(nameWidth),
    counts: countsText(language, words),
  }));
  const countsWidth = Math.max(0, ...rows.map(({ counts }) => counts.length));
  const barWidth = Math.max(BAR_WIDTH_MIN, Math.min(BAR_WIDTH_MAX, columns - nameWidth - countsWidth - 4));
  const bars = rows.map(({ name, language, counts }) => `${name} ${bar(language, barWidth)}  ${counts}`);
  return [...bars, rateText(samples, words)].map((line) => line.slice(0, Math.max(1, columns - 1)));
}

type LanguageView = RunView['languages'][number];

function bar({ target, committed }: LanguageView, width: number): string {
  const filled = target <= 0 ? width : Math.min(width, Math.floor((committed / target) * width));
  return '█'.repeat(filled) + '░'.repeat(width - filled);
}

function countsText(
  { committed, target, dropped, open, ended }: LanguageView,
  { done, lost }: ProgressWords,
): string {
  const end = ended === 'failed' ? ', stopped' : '';
  return `${count(committed)}/${count(target)} ${done}, ${count(dropped)} ${lost}, ${count(open)} open${end}`;
}

function rateText(samples: Samples, { rate }: ProgressWords): string {
  const rates = ratesOf(samples);
  const remaining = remainingMs(samples);
  const turns = rates === null ? '–' : decimal(rates.turnsPerSecond);
  const tokens = rates === null ? '–' : count(rates.tokensPerSecond);
  const inFlight = samples.at(-1)?.inFlight ?? 0;
  return `${inFlight} in flight, ${turns} ${rate}/s, ${tokens} tokens/s, ETA ${remaining === null ? '–' : duration(remaining)}`;
}

/** The same in one line, for logs and pipes. */
export function plainLine(names: readonly string[], samples: Samples, words = RUN_WORDS): string {
  const languages = samples.at(-1)?.view.languages ?? [];
  const texts = languages.map(
    (language) => `${names[language.languageIndex] ?? ''} ${countsText(language, words)}`,
  );
  return `[samples] ${[...texts, rateText(samples, words)].join(' | ')}`;
}
