/**
 * What a behaviour sees of its surroundings. Owns everything that must not outlive the behaviour:
 * timers, watches and the abort signal. A restart gets a new context, so what an old behaviour left
 * running finds this one ended and is not heard.
 */
import type { Clock } from '../../kernel/clock.ts';
import { DlgforgeError } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/logger.ts';
import type { Host } from './host.ts';
import type { Resident } from './resident.ts';
import type { ActorContext, ActorDefinition, ActorRef, AskOptions, ReplyTo, Terminated } from './types.ts';

export class BehaviourContext<M> implements ActorContext<M> {
  readonly #cell: Resident;
  readonly #host: Host;
  #ended = false;
  /** Made when somebody asks for the signal: most actors never do. */
  #controller: AbortController | null = null;
  #releases: Set<() => void> | null = null;

  constructor(cell: Resident, host: Host) {
    this.#cell = cell;
    this.#host = host;
  }

  get self(): ActorRef<M> {
    return this.#cell.ref;
  }

  get clock(): Clock {
    return this.#host.clock;
  }

  get logger(): Logger {
    return this.#host.logger;
  }

  get restarts(): number {
    return this.#cell.restarts;
  }

  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.#ended) this.#controller.abort(endedError(this.#cell));
    return this.#controller.signal;
  }

  tell<T>(to: ActorRef<T>, message: NoInfer<T>): void {
    this.#host.post.tell(to, message, this.#cell.ref.path);
  }

  ask<T, R>(to: ActorRef<T>, message: (replyTo: ReplyTo<R>) => NoInfer<T>, options?: AskOptions): Promise<R> {
    return this.#host.post.ask(to, message, options, this.#cell.ref.path);
  }

  reply<R>(to: ReplyTo<R>, reply: R): void {
    this.#host.post.reply(to, reply);
  }

  spawn<C>(name: string, definition: ActorDefinition<C>): ActorRef<C> {
    if (this.#ended) throw endedError(this.#cell);
    return this.#cell.spawnChild(name, definition);
  }

  stop(child: ActorRef<never>): Promise<void> {
    return this.#cell.stopChild(child);
  }

  stopSelf(): void {
    if (!this.#ended) void this.#cell.stop();
  }

  fail(error: unknown): void {
    if (!this.#ended) this.#cell.fail(error);
  }

  watch(ref: ActorRef<never>, toMessage: (terminated: Terminated) => M): void {
    if (this.#ended) return;
    const unwatch = this.#host.post.watch(ref, (terminated) => {
      this.#releases?.delete(unwatch);
      this.#tellSelf(() => toMessage(terminated));
    });
    this.#keep(unwatch);
  }

  pipe<T>(promise: Promise<T>, succeeded: (value: T) => M, failed: (error: unknown) => M): void {
    promise.then(
      (value) => this.#tellSelf(() => succeeded(value)),
      (error: unknown) => this.#tellSelf(() => failed(error)),
    );
  }

  after(delayMs: number, message: M): () => void {
    if (this.#ended) return () => undefined;
    const cancelTimer = this.#host.clock.schedule(delayMs, () => {
      this.#releases?.delete(cancel);
      this.#tellSelf(() => message);
    });
    const cancel = (): void => {
      this.#releases?.delete(cancel);
      cancelTimer();
    };
    this.#keep(cancel);
    return cancel;
  }

  /** From here on this behaviour hears nothing; the handler in hand may still tell and reply. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    const releases = [...(this.#releases ?? [])];
    this.#releases = null;
    for (const release of releases) release();
    this.#controller?.abort(endedError(this.#cell));
  }

  #keep(release: () => void): void {
    this.#releases ??= new Set();
    this.#releases.add(release);
  }

  /** What an actor started itself is bounded by itself and must not be lost, so it takes no credit. */
  #tellSelf(make: () => M): void {
    if (this.#ended) return;
    try {
      this.#cell.deliverOwn(make());
    } catch (error) {
      this.#cell.fail(error);
    }
  }
}

function endedError(cell: Resident): DlgforgeError {
  const text = `${cell.ref.path} has ended or was restarted; nothing is left to do`;
  return new DlgforgeError('cancelled', text);
}
