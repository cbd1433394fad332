/**
 * The connection as the parts of this adapter share it. Owns the knowledge of whether the server can be
 * reached, which the client library only tells as a stream of events.
 */
import { type NatsConnection, Events } from 'nats';
import { messageOf } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/logger.ts';
import type { Subjects } from './subjects.ts';

export interface Wire {
  readonly nats: NatsConnection;
  readonly subjects: Subjects;
  readonly logger: Logger;
  /** For messages; no secrets. */
  readonly shown: string;
  readonly isConnected: boolean;
  /** For how long the connection has been up since it was lost; endless when it never was. */
  readonly restoredForMs: number;
  /** Called each time the connection is back; the returned function ends it. */
  onRestored(listener: () => void): () => void;
}

export interface WireOptions {
  readonly subjects: Subjects;
  readonly logger: Logger;
  readonly shown: string;
  readonly onStatus: ((text: string | null) => void) | undefined;
}

export class NatsWire implements Wire {
  readonly nats: NatsConnection;
  readonly subjects: Subjects;
  readonly logger: Logger;
  readonly shown: string;
  readonly #onStatus: ((text: string | null) => void) | undefined;
  readonly #restored = new Set<() => void>();
  #isUp = true;
  #lastComplaint = '';
  #restoredAtMs = Number.NEGATIVE_INFINITY;

  constructor(nats: NatsConnection, options: WireOptions) {
    this.nats = nats;
    this.subjects = options.subjects;
    this.logger = options.logger;
    this.shown = options.shown;
    this.#onStatus = options.onStatus;
    void this.#follow();
  }

  get isConnected(): boolean {
    return this.#isUp && !this.nats.isClosed();
  }

  get restoredForMs(): number {
    return performance.now() - this.#restoredAtMs;
  }

  onRestored(listener: () => void): () => void {
    this.#restored.add(listener);
    return () => void this.#restored.delete(listener);
  }

  async #follow(): Promise<void> {
    for await (const status of this.nats.status()) {
      if (status.type === Events.Disconnect) this.#lost();
      if (status.type === Events.Reconnect) this.#back();
      if (status.type === Events.Error) this.#complains(JSON.stringify(status.data));
    }
    this.#isUp = false;
    const error = await this.nats.closed();
    if (error === undefined) return;
    const text = `[nats] the connection to ${this.shown} is closed for good: ${messageOf(error)}; start this process again`;
    this.logger.log('error', 'cluster', text);
  }

  /** Each time anew would fill the log: a right that is missing is missing for every message. */
  #complains(what: string): void {
    if (what === this.#lastComplaint) return;
    this.#lastComplaint = what;
    this.logger.log('warn', 'cluster', `[nats] ${this.shown} says: ${what}`);
  }

  #lost(): void {
    if (!this.#isUp) return;
    this.#isUp = false;
    this.logger.log('warn', 'cluster', `[nats] the connection to ${this.shown} is lost; trying again`);
    this.#onStatus?.(`waiting for NATS at ${this.shown}`);
  }

  #back(): void {
    // After attempts that the server refused, the library tells its success once for each of them.
    if (this.#isUp) return;
    this.#isUp = true;
    this.#restoredAtMs = performance.now();
    this.logger.log('info', 'cluster', `[nats] connected to ${this.shown} again`);
    this.#onStatus?.(null);
    for (const listener of this.#restored) listener();
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
