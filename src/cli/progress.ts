/**
 * How a run shows that it lives: bars on a terminal, a plain line every few seconds elsewhere. Owns
 * the lower lines of the terminal until it is closed; messages go above them.
 */
import { createLogUpdate } from 'log-update';
import type { RunObserver, RunStart } from '../bootstrap/run.ts';
import { barLines, plainLine, type Samples, withSample } from './progress-lines.ts';

export interface Progress extends RunObserver {
  /** A message for the person, above the bars. */
  message(text: string): void;
  /** Idempotent; nothing is shown afterwards. */
  close(): void;
}

const TERMINAL_MS = 200;
const PLAIN_MS = 5_000;
const COLUMNS_OF_A_PIPE = 80;

/** @param tag begins the lines that say what is being done, where there are no bars. */
export function openProgress(stream: NodeJS.WriteStream, quiet: boolean, tag = 'run'): Progress {
  const watch = new Watch();
  if (stream.isTTY && !quiet) return new LiveProgress(stream, watch);
  return new PlainProgress(stream, watch, quiet, tag);
}

/** Looks at the run at intervals, one look at a time. */
class Watch {
  samples: Samples = [];
  names: readonly string[] = [];
  words: RunStart['words'];
  #timer: NodeJS.Timeout | null = null;
  #looking = false;

  begin(run: RunStart, everyMs: number, seen: () => void): void {
    this.names = run.languages;
    this.words = run.words;
    const look = async (show: boolean): Promise<void> => {
      if (this.#looking) return;
      this.#looking = true;
      const sample = await sampleOf(run);
      this.#looking = false;
      if (sample === null || this.#timer === null) return;
      this.samples = withSample(this.samples, sample);
      if (show) seen();
    };
    this.#timer = setInterval(() => void look(true), everyMs);
    // Where the rates start from.
    void look(false);
  }

  end(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }
}

async function sampleOf(run: RunStart): Promise<Samples[number] | null> {
  try {
    const [seen, stats] = await Promise.all([run.view(), run.calls.stats()]);
    const inFlight = stats.endpoints.reduce((sum, endpoint) => sum + endpoint.inFlight, 0);
    return { atMs: Date.now(), view: seen, inFlight, tokens: stats.completionTokens };
  } catch {
    // The actors are going away: the last picture stays.
    return null;
  }
}

const startText = ({ title, resumed, runId }: RunStart): string =>
  title ?? `[run] ${resumed ? 'going on with' : 'starting'} run ${runId}`;

class LiveProgress implements Progress {
  readonly #stream: NodeJS.WriteStream;
  readonly #watch: Watch;
  readonly #update: ReturnType<typeof createLogUpdate>;
  #status: string | null = null;
  #closed = false;

  constructor(stream: NodeJS.WriteStream, watch: Watch) {
    this.#stream = stream;
    this.#watch = watch;
    this.#update = createLogUpdate(stream, { showCursor: true });
  }

  status(text: string | null): void {
    this.#status = text;
    this.#draw();
  }

  started(run: RunStart): void {
    this.#watch.begin(run, TERMINAL_MS, () => this.#draw());
    this.message(startText(run));
  }

  message(text: string): void {
    if (!this.#closed) this.#update.clear();
    this.#stream.write(`${text}\n`);
    this.#draw();
  }

  close(): void {
    if (this.#closed) return;
    this.#watch.end();
    this.status(null);
    this.#closed = true;
    this.#update.done();
  }

  #draw(): void {
    if (this.#closed) return;
    const { names, samples, words } = this.#watch;
    const lines = barLines(names, samples, this.#stream.columns ?? COLUMNS_OF_A_PIPE, words);
    this.#update([...lines, ...(this.#status === null ? [] : [this.#status])].join('\n'));
  }
}

class PlainProgress implements Progress {
  readonly #stream: NodeJS.WriteStream;
  readonly #watch: Watch;
  readonly #quiet: boolean;
  readonly #tag: string;
  #last = '';
  #countedAtMs = 0;

  constructor(stream: NodeJS.WriteStream, watch: Watch, quiet: boolean, tag: string) {
    this.#stream = stream;
    this.#watch = watch;
    this.#quiet = quiet;
    this.#tag = tag;
  }

  status(text: string | null): void {
    if (text === null || (isCounting(text) && !this.#isTimeToCount())) return;
    this.#say(`[${this.#tag}] ${text}`);
  }

  started(run: RunStart): void {
    this.#watch.begin(run, PLAIN_MS, () =>
      this.#say(plainLine(this.#watch.names, this.#watch.samples, this.#watch.words)),
    );
    this.#say(startText(run));
  }

  message(text: string): void {
    this.#stream.write(`${text}\n`);
  }

  close(): void {
    this.#watch.end();
  }

  #say(text: string): void {
    if (this.#quiet || text === this.#last) return;
    this.#last = text;
    this.#stream.write(`${text}\n`);
  }

  #isTimeToCount(): boolean {
    const nowMs = Date.now();
    if (nowMs - this.#countedAtMs < PLAIN_MS) return false;
    this.#countedAtMs = nowMs;
    return true;
  }
}

/** `… 3 of 70 …`: comes as often as there are things to count. */
const isCounting = (text: string): boolean => /\d+ of \d+/.test(text);
