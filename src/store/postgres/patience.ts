/**
 * Waits for a database that is away. Owns the one waiting state of a store: however many operations wait,
 * people are told once when it begins and once when it is over.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { DlgforgeError, isDlgforgeError } from '../../kernel/errors.ts';
import { isTransient, reasonOf, storeFault } from './faults.ts';

export interface PatienceOptions {
  /** How long an operation waits for the database before it fails. */
  readonly patienceMs: number;
  /** Told what is being waited for, and null when it is over. */
  readonly onWaiting: (message: string | null) => void;
  /** For messages: which database. */
  readonly where: string;
  /** Ends every wait. */
  readonly signal: AbortSignal;
}

const PAUSE_MIN_MS = 50;
/** A server that is back is found within this. */
const PAUSE_MAX_MS = 1_000;

export class Patience {
  readonly #options: PatienceOptions;
  #waiting = 0;

  constructor(options: PatienceOptions) {
    this.#options = options;
  }

  /**
   * Runs `attempt` until it succeeds, fails for good, or patience ends. It must be safe to repeat: after a
   * lost connection nobody knows whether the last try was done. `attempt` hears which try it is, from 1.
   */
  async run<T>(attempt: (tryNumber: number) => Promise<T>): Promise<T> {
    let sinceMs: number | null = null;
    let over: (() => void) | null = null;
    try {
      for (let tryNumber = 1; ; tryNumber += 1) {
        try {
          return await attempt(tryNumber);
        } catch (error) {
          if (!worthWaiting(error)) throw storeFault(error, this.#options.where);
          sinceMs ??= Date.now();
          over ??= this.begin(error);
          this.#checkPatience(sinceMs, error);
          await this.#pause(tryNumber);
        }
      }
    } finally {
      over?.();
    }
  }

  /** Something waits for the database, for this reason; the returned function says that it is over. */
  begin(error: unknown): () => void {
    this.#waiting += 1;
    if (this.#waiting === 1) {
      const minutes = Math.round(this.#options.patienceMs / 60_000);
      this.#options.onWaiting(
        `waiting for the database ${this.#options.where}: ${reasonOf(error)} (for up to ${minutes} min)`,
      );
    }
    return () => this.#end();
  }

  #end(): void {
    this.#waiting -= 1;
    if (this.#waiting === 0) this.#options.onWaiting(null);
  }

  #checkPatience(sinceMs: number, error: unknown): void {
    if (Date.now() - sinceMs < this.#options.patienceMs) return;
    throw new DlgforgeError(
      'store',
      `The database ${this.#options.where} has been away for too long: ${reasonOf(error)}. ` +
        'Bring it back and resume the run; everything that was paid for is stored.',
      { retryable: true, cause: error },
    );
  }

  async #pause(tryNumber: number): Promise<void> {
    const { signal } = this.#options;
    const longest = Math.min(PAUSE_MAX_MS, PAUSE_MIN_MS * 2 ** Math.min(tryNumber, 10));
    try {
      await sleep(longest * (0.5 + Math.random() / 2), undefined, { signal });
    } catch (cause) {
      throw new DlgforgeError('cancelled', 'The store was closed while it waited for the database.', {
        cause,
      });
    }
  }
}

function worthWaiting(error: unknown): boolean {
  return isDlgforgeError(error) ? error.code === 'store' && error.retryable : isTransient(error);
}
