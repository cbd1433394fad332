/**
 * The connection as the parts of this adapter share it. Owns which connection is the current one, what is heard
 * on it, and the attempts to get another when it is lost.
 *
 * The library could reconnect by itself, and must not: an attempt that it gives up on leaves its socket behind,
 * and when a server that hung answers there after all, the library drops the connection that works and goes on
 * reading both. Here a connection is used once, and what comes from an older one is not heard.
 *
 * Invariants: 1. at most one connection is current, and only it is heard; 2. attempts go on until `close`; 3.
 * whoever hears a subject hears it on every connection, before `onRestored` is told.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { DebugEvents, Events, type Msg, type NatsConnection } from 'nats';
import { messageOf } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/logger.ts';
import type { Subjects } from './subjects.ts';

export interface Wire {
  /** The current connection; while there is none, the last one. Ask for it anew each time. */
  readonly nats: NatsConnection;
  readonly subjects: Subjects;
  readonly logger: Logger;
  /** For messages; no secrets. */
  readonly shown: string;
  readonly isConnected: boolean;
  /** For how long the connection has been up since it was lost; endless when it never was. */
  readonly restoredForMs: number;
  /** `take` may throw: that is logged. The returned function ends it. */
  hear(subject: string, take: (message: Msg) => void): () => void;
  /** Called each time the connection is back; the returned function ends it. */
  onRestored(listener: () => void): () => void;
}

export interface WireOptions {
  readonly subjects: Subjects;
  readonly logger: Logger;
  readonly shown: string;
  /** One attempt at each server; `last` is the connection before. */
  readonly dial: (last: NatsConnection | null) => Promise<NatsConnection>;
  readonly onStatus: ((text: string | null) => void) | undefined;
}

/** Between attempts; the random part keeps the nodes of a cluster from coming back at the same instant. */
const PAUSE_MS = 400;
const PAUSE_RANDOM_MS = 200;
/** Before the first attempt, for the same reason. */
const FIRST_PAUSE_MS = 50;

export class NatsWire implements Wire {
  readonly subjects: Subjects;
  readonly logger: Logger;
  readonly shown: string;
  readonly #options: WireOptions;
  /** By what hears it: the subscription of the current connection is in the library. */
  readonly #heard = new Set<{
    readonly subject: string;
    readonly take: (message: Msg) => void;
    end: () => void;
  }>();
  readonly #restored = new Set<() => void>();
  readonly #closing = new AbortController();
  #nats: NatsConnection;
  #isUp = true;
  #lastComplaint = '';
  #restoredAtMs = Number.NEGATIVE_INFINITY;

  /** Rejects as `dial` does. */
  static async open(options: WireOptions): Promise<NatsWire> {
    return new NatsWire(await options.dial(null), options);
  }

  private constructor(nats: NatsConnection, options: WireOptions) {
    this.#nats = nats;
    this.#options = options;
    this.subjects = options.subjects;
    this.logger = options.logger;
    this.shown = options.shown;
    void this.#keep();
  }

  get nats(): NatsConnection {
    return this.#nats;
  }

  get isConnected(): boolean {
    return this.#isUp && !this.#nats.isClosed();
  }

  get restoredForMs(): number {
    return performance.now() - this.#restoredAtMs;
  }

  hear(subject: string, take: (message: Msg) => void): () => void {
    const heard = { subject, take, end: this.#subscribe(subject, take) };
    this.#heard.add(heard);
    return () => {
      if (this.#heard.delete(heard)) heard.end();
    };
  }

  onRestored(listener: () => void): () => void {
    this.#restored.add(listener);
    return () => void this.#restored.delete(listener);
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#isUp = false;
    await this.#nats.close();
  }

  async #keep(): Promise<void> {
    while (!this.#closing.signal.aborted) {
      await this.#lossOf(this.#nats);
      if (this.#closing.signal.aborted) return;
      this.#lost();
      const next = await this.#redial();
      if (next !== null) this.#back(next);
    }
  }

  /** Resolves when the connection is closed, or when the server has been silent for too long. */
  async #lossOf(nats: NatsConnection): Promise<void> {
    const silence = Promise.withResolvers<void>();
    void this.#follow(nats, silence.resolve);
    await Promise.race([nats.closed(), silence.promise]);
    // A silent one may take its time to close: nobody waits for it (invariant 1).
    nats.close().catch((error: unknown) => this.#complains(messageOf(error)));
  }

  async #follow(nats: NatsConnection, silent: () => void): Promise<void> {
    for await (const status of nats.status()) {
      if (status.type === Events.Error) this.#complains(`${this.shown} says ${JSON.stringify(status.data)}`);
      if (status.type === DebugEvents.StaleConnection) silent();
      // The last thing that is told of a connection that is used once.
      if (status.type === Events.Disconnect) return;
    }
  }

  #lost(): void {
    this.#isUp = false;
    this.logger.log('warn', 'cluster', `[nats] the connection to ${this.shown} is lost; trying again`);
    this.#options.onStatus?.(`waiting for NATS at ${this.shown}`);
  }

  /** Null when it was closed meanwhile. */
  async #redial(): Promise<NatsConnection | null> {
    await this.#pause(Math.random() * FIRST_PAUSE_MS);
    while (!this.#closing.signal.aborted) {
      try {
        const nats = await this.#options.dial(this.#nats);
        if (!this.#closing.signal.aborted) return nats;
        await nats.close();
      } catch (error) {
        this.#complains(messageOf(error));
        await this.#pause(PAUSE_MS + Math.random() * PAUSE_RANDOM_MS);
      }
    }
    return null;
  }

  #back(nats: NatsConnection): void {
    this.#nats = nats;
    for (const heard of this.#heard) heard.end = this.#subscribe(heard.subject, heard.take);
    this.#isUp = true;
    this.#restoredAtMs = performance.now();
    this.#lastComplaint = '';
    this.logger.log('info', 'cluster', `[nats] connected to ${this.shown} again`);
    this.#options.onStatus?.(null);
    for (const listener of this.#restored) listener();
  }

  /** On the current connection; a lost one has none, and gets it when there is another. */
  #subscribe(subject: string, take: (message: Msg) => void): () => void {
    const nats = this.#nats;
    if (nats.isClosed()) return () => undefined;
    const callback = (error: Error | null, message: Msg): void => {
      if (nats !== this.#nats) return;
      if (error !== null) {
        this.#complains(
          `${subject} cannot be heard: ${error.message}; give this user the right to subscribe to it`,
        );
        return;
      }
      try {
        take(message);
      } catch (thrown) {
        const text = `[nats] what arrived on ${subject} was not handled: ${messageOf(thrown)}`;
        this.logger.log('error', 'cluster', text, { error: thrown });
      }
    };
    const subscription = nats.subscribe(subject, { callback });
    return () => {
      if (!nats.isClosed()) subscription.unsubscribe();
    };
  }

  /** Each time anew would fill the log: a right that is missing is missing for every message. */
  #complains(what: string): void {
    if (what === this.#lastComplaint || this.#closing.signal.aborted) return;
    this.#lastComplaint = what;
    this.logger.log('warn', 'cluster', `[nats] ${what}`);
  }

  async #pause(ms: number): Promise<void> {
    // Cut short by `close`, which is no fault.
    await pause(ms, undefined, { signal: this.#closing.signal }).catch(() => undefined);
  }
}

const LAST_WORDS_MS = 1_000;

/** Waits, for a moment, until the server has everything that was published. */
export async function saidAll(wire: Wire): Promise<void> {
  if (!wire.isConnected) return;
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, LAST_WORDS_MS);
  });
  // A connection that is lost meanwhile has nothing more to say.
  const flushed = wire.nats.flush().catch(() => undefined);
  await Promise.race([flushed, timeout]);
  clearTimeout(timer);
}

const REPLICAS = 3;

/** Makes something with three copies where the servers are a cluster, so that each of them may die; else with one. */
export async function withReplicas(wire: Wire, make: (replicas: number) => Promise<unknown>): Promise<void> {
  if (wire.nats.info?.cluster === undefined) return void (await make(1));
  try {
    await make(REPLICAS);
  } catch (error) {
    // A cluster of fewer servers has one copy, as a single server has.
    const text = `[nats] ${wire.shown} keeps one copy instead of ${REPLICAS}: ${messageOf(error)}`;
    wire.logger.log('debug', 'cluster', text);
    await make(1);
  }
}
