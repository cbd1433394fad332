/**
 * How a run shows that it lives: bars on a terminal, a plain line every few seconds elsewhere. Owns
 * the lower lines of the terminal while it runs; messages go above them.
 */
import { createLogUpdate } from 'log-update';
import type { RunView } from '../actors/messages.ts';
import type { RunObserver, RunStart } from '../bootstrap/run.ts';
import { count, decimal, duration } from './format.ts';

export interface Progress extends RunObserver {
  /** A message for the person, above the bars. */
  message(text: string): void;
  close(): void;
}

const TERMINAL_MS = 200;
const PLAIN_MS = 5_000;
/** Rates are averages over about this long. */
const RATE_WINDOW_MS = 20_000;
const BAR_WIDTH = 24;

interface Sample {
  readonly atMs: number;
  readonly turns: number;
  readonly tokens: number;
  readonly settled: number;
}

interface Snapshot {
  readonly view: RunView;
  readonly inFlight: number;
  readonly turnsPerSecond: number;
  readonly tokensPerSecond: number;
  readonly etaMs: number | null;
}

export function openProgress(stream: NodeJS.WriteStream, quiet: boolean): Progress {
  const live = stream.isTTY === true && !quiet;
  const update = createLogUpdate(stream, { showCursor: true });
  let status: string | null = null;
  let start: RunStart | null = null;
  let snapshot: Snapshot | null = null;
  let samples: Sample[] = [];
  let timer: NodeJS.Timeout | null = null;
  let lastPlain = '';
  let reading = false;

  const read = async (): Promise<void> => {
    if (start === null || reading) return;
    reading = true;
    try {
      const [view, stats] = await Promise.all([start.view(), start.calls.stats()]);
      const sample: Sample = {
        atMs: Date.now(),
        turns: view.languages.reduce((sum, language) => sum + language.turns, 0),
        tokens: stats.completionTokens,
        settled: view.languages.reduce((sum, language) => sum + language.committed, 0),
      };
      samples = [...samples.filter((known) => known.atMs > sample.atMs - RATE_WINDOW_MS), sample];
      snapshot = {
        view,
        inFlight: stats.endpoints.reduce((sum, endpoint) => sum + endpoint.inFlight, 0),
        ...ratesOf(samples, view),
      };
    } catch {
      // The actors are going away: the last picture stays.
    } finally {
      reading = false;
    }
  };

  const draw = (): void => {
    const lines = snapshot === null || start === null ? [] : barsOf(start.languages, snapshot, stream.columns ?? 80);
    if (status !== null) lines.push(status);
    update(lines.join('\n'));
  };

  const sayPlain = (text: string): void => {
    if (quiet || text === lastPlain) return;
    lastPlain = text;
    stream.write(`${text}\n`);
  };

  const tick = async (): Promise<void> => {
    await read();
    if (live) draw();
    else if (snapshot !== null && start !== null) sayPlain(plainLine(start.languages, snapshot));
  };

  return {
    status(text) {
      status = text;
      if (live) draw();
      else if (text !== null && start === null && !/\d+ of \d+/.test(text)) sayPlain(`[run] ${text}`);
      else if (text !== null) sayPlain(`[run] ${text}`);
    },
    started(run) {
      start = run;
      timer = setInterval(() => void tick(), live ? TERMINAL_MS : PLAIN_MS);
      const how = run.resumed ? 'going on with' : 'starting';
      this.message(`[run] ${how} run ${run.runId}`);
    },
    message(text) {
      if (live) update.clear();
      stream.write(`${text}\n`);
      if (live) draw();
    },
    close() {
      if (timer !== null) clearInterval(timer);
      timer = null;
      if (!live) return;
      status = null;
      draw();
      update.done();
    },
  };
}

function ratesOf(samples: readonly Sample[], view: RunView): Pick<Snapshot, 'turnsPerSecond' | 'tokensPerSecond' | 'etaMs'> {
  const [first, last] = [samples[0], samples.at(-1)];
  const seconds = first === undefined || last === undefined ? 0 : (last.atMs - first.atMs) / 1000;
  if (first === undefined || last === undefined || seconds === 0) return { turnsPerSecond: 0, tokensPerSecond: 0, etaMs: null };
  const perSecond = (last.settled - first.settled) / seconds;
  const left = view.languages.reduce((sum, { target, committed, ended }) => sum + (ended === null ? target - committed : 0), 0);
  return {
    turnsPerSecond: (last.turns - first.turns) / seconds,
    tokensPerSecond: (last.tokens - first.tokens) / seconds,
    etaMs: perSecond > 0 ? (left / perSecond) * 1000 : null,
  };
}

function rateText(snapshot: Snapshot): string {
  const eta = snapshot.etaMs === null ? '–' : duration(snapshot.etaMs);
  return `in flight ${snapshot.inFlight} · ${decimal(snapshot.turnsPerSecond)} turns/s · ${count(snapshot.tokensPerSecond)} tokens/s · ETA ${eta}`;
}

function barsOf(names: readonly string[], snapshot: Snapshot, columns: number): string[] {
  const width = Math.min(24, Math.max(...names.map((name) => name.length)));
  const bars = snapshot.view.languages.map(({ languageIndex, committed, target, dropped, open, ended }) => {
    const filled = target === 0 ? BAR_WIDTH : Math.floor((committed / target) * BAR_WIDTH);
    const bar = '█'.repeat(filled) + '░'.repeat(BAR_WIDTH - filled);
    const end = ended === 'failed' ? ' stopped' : '';
    return `${(names[languageIndex] ?? '').slice(0, width).padEnd(width)} ${bar} ${count(committed)}/${count(target)}  dropped ${dropped}  open ${open}${end}`;
  });
  return [...bars, rateText(snapshot)].map((line) => line.slice(0, columns));
}

function plainLine(names: readonly string[], snapshot: Snapshot): string {
  const languages = snapshot.view.languages.map(
    ({ languageIndex, committed, target, dropped, open }) =>
      `${names[languageIndex]} ${committed}/${target} (dropped ${dropped}, open ${open})`,
  );
  return `[samples] ${languages.join(' | ')} | ${rateText(snapshot)}`;
}
