/**
 * One life of an actor: from a start to the next restart or the end. Owns the behaviour, its context
 * and what is in hand (start, a handler, `stopped`), of which there is at most one at any time.
 */
import { DlgforgeError, InvariantError } from '../../kernel/errors.ts';
import type { Histogram } from '../../kernel/metrics.ts';
import { BehaviourContext } from './context.ts';
import type { Host } from './host.ts';
import type { Resident } from './resident.ts';
import type { ActorDefinition, Behaviour } from './types.ts';

export class Life {
  /** When what is in hand began; null when nothing is. */
  handlingSinceMs: number | null = null;
  /** When the start had succeeded; null before. */
  healthySinceMs: number | null = null;

  readonly #path: string;
  readonly #host: Host;
  readonly #definition: ActorDefinition<unknown>;
  readonly #context: BehaviourContext<unknown>;
  /** Null when nobody will look. */
  readonly #seconds: Histogram | null;
  #behaviour: Behaviour<unknown> | null = null;
  #abandon: ((error: DlgforgeError) => void) | null = null;

  constructor(host: Host, cell: Resident, seconds: Histogram | null) {
    this.#seconds = seconds;
    this.#path = cell.ref.path;
    this.#host = host;
    this.#definition = cell.definition;
    this.#context = new BehaviourContext(cell, host);
  }

  async start(): Promise<void> {
    this.handlingSinceMs = this.#host.clock.now();
    const started = this.#definition.start(this.#context);
    this.#behaviour = isThenable(started) ? await this.#wait(started, undefined, 'start') : started;
    this.handlingSinceMs = null;
    this.healthySinceMs = this.#host.clock.now();
  }

  receive(message: unknown): void | Promise<void> {
    return this.#seconds === null ? this.#handle(message) : this.#handleTimed(message, this.#seconds);
  }

  #handleTimed(message: unknown, seconds: Histogram): void | Promise<void> {
    const startedMs = performance.now();
    const handled = this.#handle(message);
    if (handled !== undefined)
      return handled.finally(() => seconds.observe((performance.now() - startedMs) / 1000));
    seconds.observe((performance.now() - startedMs) / 1000);
  }

  #handle(message: unknown): void | Promise<void> {
    if (this.#behaviour === null)
      throw new InvariantError(`invariant broken: ${this.#path} has no behaviour`);
    this.handlingSinceMs = this.#host.clock.now();
    const handled: unknown = this.#behaviour.receive(message);
    if (isThenable<void>(handled)) return this.#wait(handled, this.#definition.handlerDeadlineMs, 'handler');
    this.handlingSinceMs = null;
  }

  /** The behaviour hears nothing from here on; what is in hand goes on to its end. */
  end(): void {
    this.#context.end();
  }

  /** Once, after `end`, when the children have ended and nothing is in hand. */
  async close(): Promise<void> {
    const stopped: unknown = this.#behaviour?.stopped?.();
    if (isThenable<void>(stopped)) await this.#wait(stopped, this.#host.defaults.stopDeadlineMs, '`stopped`');
  }

  /** Goes on without what is in hand, which fails. Does nothing when nothing is. */
  abandon(error: DlgforgeError): void {
    this.#abandon?.(error);
  }

  async #wait<T>(work: PromiseLike<T>, deadlineMs: number | undefined, what: string): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    this.#abandon = reject;
    const cancelDeadline =
      deadlineMs === undefined
        ? null
        : this.#host.clock.schedule(deadlineMs, () => reject(overdue(this.#path, what, deadlineMs)));
    work.then(resolve, reject);
    try {
      return await promise;
    } finally {
      this.#abandon = null;
      this.handlingSinceMs = null;
      cancelDeadline?.();
    }
  }
}

function overdue(path: string, what: string, deadlineMs: number): DlgforgeError {
  const text = `the ${what} of ${path} did not end within ${deadlineMs} ms and was abandoned; see what it waits for`;
  return new DlgforgeError('timeout', text, { retryable: true });
}

function isThenable<T>(value: unknown): value is PromiseLike<T> {
  return value !== null && typeof value === 'object' && 'then' in value && typeof value.then === 'function';
}
