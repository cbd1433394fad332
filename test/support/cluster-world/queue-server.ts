/**
 * The work queue's server in a simulated cluster: what processes say to it and what it hands to them travels,
 * and gets lost when they do not reach it. What is in hand and not renewed goes to others after a while.
 */
import type { Clock } from '../../../src/kernel/clock.ts';
import type { Delivery, WorkConsumer, WorkQueue } from '../../../src/ports/work-queue.ts';
import { createMemoryWorkQueue } from '../../../src/transport/memory-work-queue.ts';
import type { Body } from './body.ts';
import type { Dice } from './dice.ts';
import type { Trace } from './trace.ts';

/** As in `work-stream.ts`. */
const IN_HAND_MS = 8_000;
const TRAVEL_MS = 3;
/** Share of the deliveries that go to somebody else too, because the server takes the first one for lost. */
const TWICE_RATE = 0.05;
const TWICE_MS = 600;

interface Client {
  readonly body: Body;
  readonly listeners: Set<() => void>;
  readonly consumers: Set<{ say(): void; stop(): void }>;
  /** What it says arrives in order. */
  arrivesAtMs: number;
}

export class QueueServer {
  readonly #core = createMemoryWorkQueue();
  readonly #clock: Clock;
  readonly #dice: Dice;
  readonly #trace: Trace;
  readonly #clients = new Set<Client>();

  constructor(clock: Clock, dice: Dice, trace: Trace) {
    this.#clock = clock;
    this.#dice = dice;
    this.#trace = trace;
  }

  get waiting(): number {
    return this.#core.waiting;
  }

  /** It comes back empty. */
  lose(): void {
    this.#core.lose();
    for (const client of this.#clients) this.#tellLoss(client);
  }

  /** Reached again: what was said meanwhile is lost. */
  reached(body: Body): void {
    for (const client of this.#clients) {
      if (client.body !== body) continue;
      for (const consumer of client.consumers) consumer.say();
      this.#tellLoss(client);
    }
  }

  /** Its connection is closed: it is given nothing more, and what it had goes to others when it is not renewed. */
  killed(body: Body): void {
    for (const client of this.#clients) {
      if (client.body !== body) continue;
      for (const consumer of client.consumers) consumer.stop();
      this.#clients.delete(client);
    }
  }

  clientOf(body: Body): WorkQueue {
    const client: Client = { body, listeners: new Set(), consumers: new Set(), arrivesAtMs: 0 };
    this.#clients.add(client);
    const core = this.#core;
    const up = (say: () => void): void => this.#up(client, say);
    return {
      publish: (item) => up(() => core.publish(item)),
      republish: (item) => up(() => core.republish(item)),
      withdraw: (item) => up(() => core.withdraw(item)),
      drop: (runId) => up(() => core.drop(runId)),
      counts: () => core.counts(),
      onLoss(listener) {
        client.listeners.add(listener);
        return () => client.listeners.delete(listener);
      },
      consume: (runId, capacity, deliver) => this.#consume(client, runId, capacity, deliver),
    };
  }

  #consume(
    client: Client,
    runId: string,
    capacity: number,
    deliver: (delivery: Delivery) => void,
  ): WorkConsumer {
    let consumer: WorkConsumer | null = null;
    let wanted = capacity;
    let isClosed = false;
    const give = (delivery: Delivery): void => {
      if (!isClosed) deliver(delivery);
    };
    /** What it wants now, said again whenever the server is reached anew. */
    const say = (): void =>
      this.#up(client, () => {
        if (client.body.isDead) return;
        if (isClosed) return consumer?.close();
        consumer ??= this.#core.consume(runId, 0, (delivery) => this.#hand(client, delivery, give));
        consumer.setCapacity(wanted);
      });
    client.consumers.add({ say, stop: () => consumer?.setCapacity(0) });
    say();
    return {
      setCapacity(next) {
        wanted = next;
        say();
      },
      close() {
        isClosed = true;
        say();
      },
    };
  }

  #hand(client: Client, delivery: Delivery, give: (delivery: Delivery) => void): void {
    let cancel = (): void => undefined;
    const hold = (): void => {
      cancel();
      cancel = this.#clock.schedule(IN_HAND_MS, () => delivery.release());
    };
    if (this.#dice.falls(TWICE_RATE))
      cancel = this.#clock.schedule(this.#dice.between(0, TWICE_MS), () => delivery.release());
    else hold();
    const { item } = delivery;
    this.#down(client, () => {
      this.#trace.note(client.body.name, `takes ${item.languageIndex}/${item.index}`);
      give({
        item,
        renew: () => this.#up(client, hold),
        ack: () => this.#up(client, () => delivery.ack()),
        release: () => this.#up(client, () => delivery.release()),
        // Nothing is said, so it comes to somebody again when it is not renewed.
        forget: () => undefined,
      });
    });
  }

  #up(client: Client, say: () => unknown): void {
    const { body } = client;
    if (!body.reachesQueue) return;
    client.arrivesAtMs = Math.max(client.arrivesAtMs, this.#clock.now() + this.#dice.between(0, TRAVEL_MS));
    this.#clock.schedule(client.arrivesAtMs - this.#clock.now(), () => {
      if (body.reachesQueue) say();
    });
  }

  #down({ body }: Client, hear: () => void): void {
    this.#clock.schedule(this.#dice.between(0, TRAVEL_MS), () => {
      if (body.reachesQueue) body.clock.schedule(0, hear);
    });
  }

  #tellLoss(client: Client): void {
    this.#down(client, () => {
      for (const listener of client.listeners) listener();
    });
  }
}
