/**
 * Owns: the count of messages that reached nobody, and how often that is logged. A storm of dead
 * letters must not become a storm of log lines, so each window has a few and then a number.
 */
import type { Clock } from '../../kernel/clock.ts';
import { messageOf } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/logger.ts';
import type { Meters } from './meters.ts';
import type { DeadLetter, DeadLetterReason } from './types.ts';

const WINDOW_MS = 10_000;
const LINES_PER_WINDOW = 10;

/** What the sender could have known: logged as its error. */
const ERRORS_OF_THE_SENDER: ReadonlySet<DeadLetterReason> = new Set(['overloaded', 'not_encodable']);

/** What nobody could have known while the actors of a system are ending one after another. */
const USUAL_AT_THE_END: ReadonlySet<DeadLetterReason> = new Set([
  'no_such_actor',
  'old_incarnation',
  'stopped',
]);

export class DeadLetters {
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #meters: Meters;
  readonly #listener: ((letter: DeadLetter) => void) | undefined;
  #count = 0;
  #windowStartMs = Number.NEGATIVE_INFINITY;
  #linesInWindow = 0;
  #unlogged = 0;
  #ending = false;

  constructor(
    clock: Clock,
    logger: Logger,
    meters: Meters,
    listener: ((letter: DeadLetter) => void) | undefined,
  ) {
    this.#clock = clock;
    this.#logger = logger;
    this.#meters = meters;
    this.#listener = listener;
  }

  get count(): number {
    return this.#count;
  }

  add(letter: DeadLetter): void {
    this.#count += 1;
    this.#meters.deadLetter(letter.reason);
    this.#log(letter);
    try {
      this.#listener?.(letter);
    } catch (error) {
      this.#logger.log('error', 'actors', `[dead-letter] the listener failed: ${messageOf(error)}`, {
        error,
      });
    }
  }

  /** The system is stopping: letters to those that have ended are no news any more. */
  expectEnd(): void {
    this.flush();
    this.#ending = true;
  }

  /** Logs the number of those that had no line of their own. */
  flush(): void {
    if (this.#unlogged === 0) return;
    this.#logger.log(
      this.#ending ? 'debug' : 'info',
      'actors',
      `[dead-letter] ${this.#unlogged} more not shown`,
    );
    this.#unlogged = 0;
  }

  #log(letter: DeadLetter): void {
    const nowMs = this.#clock.now();
    if (nowMs - this.#windowStartMs >= WINDOW_MS) {
      this.flush();
      this.#windowStartMs = nowMs;
      this.#linesInWindow = 0;
    }
    if (this.#linesInWindow >= LINES_PER_WINDOW) {
      this.#unlogged += 1;
      return;
    }
    this.#linesInWindow += 1;
    const level = this.#levelOf(letter);
    const to = `${letter.to.node}/${letter.to.path}`;
    const text = `[dead-letter] ${letter.reason}: ${typeOf(letter.message)} to ${to} from ${letter.sender ?? 'outside'}`;
    this.#logger.log(level, 'actors', text);
  }

  #levelOf({ reason, sender }: DeadLetter): 'error' | 'warn' | 'info' | 'debug' {
    if (ERRORS_OF_THE_SENDER.has(reason)) return 'error';
    if (!USUAL_AT_THE_END.has(reason)) return 'warn';
    if (this.#ending) return 'debug';
    // Another node did not know yet that the actor has ended, or has moved.
    return sender === null ? 'info' : 'warn';
  }
}

/** The message's name; never its content, which may be large or private. */
function typeOf(message: unknown): string {
  if (message !== null && typeof message === 'object' && 'type' in message) return String(message.type);
  return typeof message;
}
