import { type Clock, delay } from '../kernel/clock.ts';
import { messageOf } from '../kernel/errors.ts';
import type { Logger } from '../kernel/logger.ts';
import type { CapabilityMemory, ResponseFormatKind } from '../ports/model.ts';

/** What one request in a given format came to: an outcome, or the format to try instead. */
export type FormatTrial<T> =
  | { readonly type: 'done'; readonly value: T; readonly accepted: boolean }
  | FormatRefused;
export interface FormatRefused {
  readonly type: 'format_refused';
  readonly next: ResponseFormatKind;
  readonly reason: string;
}

interface Lesson {
  guess: ResponseFormatKind;
  readonly done: Promise<void>;
  readonly finish: () => void;
}

const STRENGTH: Readonly<Record<ResponseFormatKind, number>> = { text: 0, json_object: 1, json_schema: 2 };
/** A refused format comes back at once; who waits longer than this goes on with the best guess. */
const LESSON_WAIT_MS = 2_000;

/**
 * Owns what every endpoint and model was found to accept. Requests that come before that is known
 * wait for the first one, so that a format is refused once and not once per request.
 *
 * Invariants: at most one lesson per key; a key's format only gets weaker within a process.
 */
export class FormatLearner {
  readonly #memory: CapabilityMemory;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #known = new Map<string, ResponseFormatKind>();
  readonly #lessons = new Map<string, Lesson>();
  #loading: Promise<void> | null = null;
  #loaded = false;

  constructor(memory: CapabilityMemory, clock: Clock, logger: Logger) {
    this.#memory = memory;
    this.#clock = clock;
    this.#logger = logger;
  }

  /** Everything that earlier processes have learned is known. */
  async ready(): Promise<void> {
    if (!this.#loaded) await (this.#loading ??= this.#load());
  }

  /** What was found out elsewhere. */
  learn(key: string, kind: ResponseFormatKind): void {
    this.#settle(key, kind);
  }

  /** What this key was found to take, if that is known already. */
  known(key: string): ResponseFormatKind | undefined {
    return this.#known.get(key);
  }

  /** Runs `send` with the strongest format known or hoped to work, again with a weaker one when it is refused. */
  async ask<T>(
    key: string,
    strongest: ResponseFormatKind,
    send: (kind: ResponseFormatKind) => Promise<FormatTrial<T>>,
  ): Promise<T> {
    await this.ready();
    for (;;) {
      const known = this.#known.get(key);
      const trial = known === undefined ? await this.#learn(key, strongest, send) : await send(known);
      if (trial === null) continue;
      if (trial.type === 'done') return trial.value;
      if (known !== undefined) this.#weaken(key, known, trial);
    }
  }

  /** A trial as the one who learns, or null when somebody else has learned meanwhile. */
  async #learn<T>(
    key: string,
    strongest: ResponseFormatKind,
    send: (kind: ResponseFormatKind) => Promise<FormatTrial<T>>,
  ): Promise<FormatTrial<T> | null> {
    const running = this.#lessons.get(key);
    if (running !== undefined && !(await this.#waited(running))) return null;
    if (running === undefined) return this.#teach(key, this.#begin(key, strongest), send);
    return this.#trial(key, running, send);
  }

  async #teach<T>(
    key: string,
    lesson: Lesson,
    send: (kind: ResponseFormatKind) => Promise<FormatTrial<T>>,
  ): Promise<FormatTrial<T>> {
    try {
      for (;;) {
        const trial = await this.#trial(key, lesson, send);
        if (trial.type === 'done') return trial;
      }
    } finally {
      this.#lessons.delete(key);
      lesson.finish();
    }
  }

  async #trial<T>(
    key: string,
    lesson: Lesson,
    send: (kind: ResponseFormatKind) => Promise<FormatTrial<T>>,
  ): Promise<FormatTrial<T>> {
    const kind = lesson.guess;
    const trial = await send(kind);
    if (trial.type === 'format_refused') {
      this.#note(key, kind, trial);
      if (lesson.guess === kind) lesson.guess = trial.next;
    } else if (trial.accepted) {
      this.#settle(key, kind);
    }
    return trial;
  }

  /** True when the lesson is still going on after the wait. */
  async #waited(lesson: Lesson): Promise<boolean> {
    const enough = new AbortController();
    const late = delay(this.#clock, LESSON_WAIT_MS, enough.signal).then(() => true);
    const still = await Promise.race([late, lesson.done.then(() => false)]);
    enough.abort();
    return still;
  }

  #begin(key: string, guess: ResponseFormatKind): Lesson {
    const { promise, resolve } = Promise.withResolvers<void>();
    const lesson: Lesson = { guess, done: promise, finish: resolve };
    this.#lessons.set(key, lesson);
    return lesson;
  }

  #weaken(key: string, from: ResponseFormatKind, refused: FormatRefused): void {
    if (this.#known.get(key) !== from) return;
    this.#note(key, from, refused);
    this.#settle(key, refused.next);
  }

  #settle(key: string, kind: ResponseFormatKind): void {
    const known = this.#known.get(key);
    if (known !== undefined && STRENGTH[known] <= STRENGTH[kind]) return;
    this.#known.set(key, kind);
    this.#memory.remember(key, kind).catch((error: unknown) => {
      this.#logger.log(
        'warn',
        'llm',
        `[llm] could not remember that ${key} takes ${kind}; it will be learned again: ${messageOf(error)}`,
      );
    });
  }

  #note(key: string, kind: ResponseFormatKind, refused: FormatRefused): void {
    this.#logger.log(
      'warn',
      'llm',
      `[llm] ${key} does not take response_format ${kind}, going on with ${refused.next}: ${refused.reason}`,
    );
  }

  async #load(): Promise<void> {
    try {
      for (const [key, kind] of await this.#memory.load()) this.#known.set(key, kind);
    } catch (error) {
      this.#logger.log(
        'warn',
        'llm',
        `[llm] what endpoints support could not be read and will be learned again: ${messageOf(error)}`,
      );
    }
    this.#loaded = true;
  }
}
