/**
 * A whole cluster in one process, on one simulated clock: nodes with their agents and workers, the network,
 * the work queue, the database and the model endpoint between them. Everything that is left to chance comes
 * from one seed. Owns the processes, and what is wrong with each of them.
 */
import { type LeaderParts, waitingMaxOf } from '../../../src/bootstrap/leader.ts';
import type { DialogueContext } from '../../../src/dialogue/conversation.ts';
import type { Clock } from '../../../src/kernel/clock.ts';
import type { NodeKind } from '../../../src/ports/membership.ts';
import { CLUSTER_HOST, type RunEndpoint, type RunWanted, type Store } from '../../../src/ports/store.ts';
import type { Transport } from '../../../src/ports/transport.ts';
import { createMemoryTransport, type MemoryTransport } from '../../../src/transport/memory-transport.ts';
import { MemoryStore } from '../../../src/store/memory-store.ts';
import { SimulatedClock } from '../simulated-clock.ts';
import { DATASET, openRun, RUN } from '../world.ts';
import { Body } from './body.ts';
import { Dice } from './dice.ts';
import { ModelServer, type SimPort } from './model-server.ts';
import { QueueServer } from './queue-server.ts';
import { Referee } from './referee.ts';
import { type SimLeading, startLeading } from './sim-leading.ts';
import { type SimNode, startNode } from './sim-node.ts';
import { type SimWorking, startWorking } from './sim-working.ts';
import { openStoreLink, type StoreFaults, type StoreLink } from './store-link.ts';
import { Trace } from './trace.ts';

/** Mistakes that a test makes on purpose, in the place of what a process stands on. */
export interface Flaws {
  /** The database as all processes reach it. */
  readonly store?: (store: Store) => Store;
  /** The store as the actors of each process have it. */
  readonly journaling?: (store: Store, clock: Clock) => Store;
  /** What arrives at each process, before it is looked at. */
  readonly arriving?: (envelope: unknown) => unknown;
}

export interface WorldOptions {
  readonly seed: string;
  readonly dialogue: DialogueContext;
  readonly parts: LeaderParts;
  readonly maxInFlight: number;
  /** False where two routers may serve for a while (I7): see `FaultSchedule`. */
  readonly judgesOpenCalls: boolean;
  readonly latencyMs: readonly [min: number, max: number];
  readonly troubleRate: number;
  readonly storeFaults: Pick<StoreFaults, 'lossRate' | 'surfaceRate'>;
  readonly keepTrace: boolean;
  readonly flaws?: Flaws;
}

export interface Process {
  readonly body: Body;
  readonly kind: NodeKind;
  readonly parent: string | null;
  readonly link: StoreLink;
  node: SimNode | null;
  leading: SimLeading | null;
  working: SimWorking | null;
  isLeaving: boolean;
}

/** Far more than these small runs have to say, far less than what repeats without end comes to. */
const MAILBOX_MAX = 200;
const START_MS = 1_000_000;
const NETWORK_DELAY_MS = { min: 0, max: 4 };
/** A parent sees its worker's process end. */
const SEES_END_MS = 20;

export class ClusterWorld {
  readonly clock = new SimulatedClock(START_MS);
  readonly truth = new MemoryStore(this.clock);
  readonly transport: MemoryTransport;
  readonly trace: Trace;
  readonly referee: Referee;
  readonly queue: QueueServer;
  readonly model: ModelServer;
  readonly storeFaults: StoreFaults;
  readonly processes: Process[] = [];
  readonly #options: WorldOptions;
  readonly #dice: Dice;
  readonly #store: Store;
  #names = 0;

  constructor(options: WorldOptions) {
    const { seed, maxInFlight, latencyMs, troubleRate } = options;
    const { clock } = this;
    this.#options = options;
    this.#dice = new Dice(`${seed} world`);
    this.trace = new Trace(clock, options.keepTrace);
    this.referee = new Referee(this.trace, options.judgesOpenCalls ? maxInFlight : Number.POSITIVE_INFINITY);
    this.transport = createMemoryTransport({ clock, seed, delayMs: NETWORK_DELAY_MS, detectLossMs: null });
    this.queue = new QueueServer(clock, this.#dice.apart('queue'), this.trace);
    const dice = this.#dice.apart('model');
    this.model = new ModelServer({ clock, dice, referee: this.referee, maxInFlight, latencyMs, troubleRate });
    this.storeFaults = { ...options.storeFaults, isAway: false, surfaced: 0 };
    this.#store = options.flaws?.store?.(this.truth) ?? this.truth;
  }

  /** The run as a person has submitted it. */
  async submit(): Promise<void> {
    await openRun(this.truth);
    const holder = { host: CLUSTER_HOST, pid: 1, processKey: 'person', command: 'run', sinceMs: 0 };
    const granted = await this.truth.acquireLease(`dataset/${DATASET}`, holder, 1_000, () => false);
    if (granted.type !== 'granted') throw new Error('the dataset is held');
    await this.truth.saveRunSpec(RUN, granted.lease, { simulated: true });
    await this.truth.releaseLease(granted.lease);
  }

  /** Those that a test may do something to. */
  get living(): readonly Process[] {
    return this.processes.filter(({ body, isLeaving }) => !body.isDead && !isLeaving);
  }

  startAgent(): Process {
    return this.#start('agent', null);
  }

  startWorker(parent: Process): Process {
    return this.#start('worker', parent.body.name);
  }

  /** I9: nothing has piled up. */
  inspect(): void {
    for (const { body, node } of this.living) {
      const longest = Math.max(0, ...(node?.system.tree() ?? []).map(({ mailboxLength }) => mailboxLength));
      if (longest > MAILBOX_MAX)
        this.referee.broken('I9', `${longest} messages wait for an actor of ${body.name}`);
    }
    const { waiting } = this.queue;
    if (waiting > this.#options.parts.batchSize + waitingMaxOf(this.#options.parts.batchSize))
      this.referee.broken('I9', `${waiting} conversations wait in the queue`);
  }

  async want(wanted: RunWanted): Promise<void> {
    this.trace.note('FAULT', `a person wants: ${wanted}`);
    await this.truth.setRunWanted(RUN, wanted);
  }

  async setEndpoint(endpoint: RunEndpoint): Promise<void> {
    this.trace.note('FAULT', `a person wants of ${endpoint.name}: ${endpoint.wanted}`);
    await this.truth.setRunEndpoint(RUN, endpoint);
  }

  kill(process: Process): void {
    const { body, parent } = process;
    if (body.isDead) return;
    this.trace.note('FAULT', `${body.name} is killed`);
    if (body.isFrozen) this.transport.thaw(body.name);
    body.kill();
    this.transport.kill(body.name);
    this.model.killed(body);
    this.queue.killed(body);
    const agent = this.processes.find((other) => other.body.name === parent);
    agent?.body.clock.schedule(SEES_END_MS, () => agent.node?.membership.declareLost(body.name));
    // A worker ends with its agent.
    for (const other of this.processes) if (other.parent === body.name) this.kill(other);
  }

  freeze({ body }: Process): void {
    if (!body.isRunning) return;
    this.trace.note('FAULT', `${body.name} stands still`);
    body.freeze();
    this.transport.freeze(body.name);
  }

  thaw({ body }: Process): void {
    if (!body.isFrozen) return;
    this.trace.note('FAULT', `${body.name} goes on`);
    // What waits in its sockets is read before its timers run, or after.
    const socketsFirst = this.#dice.falls(0.5);
    if (socketsFirst) this.transport.thaw(body.name);
    body.thaw();
    if (!socketsFirst) this.transport.thaw(body.name);
  }

  cutOff({ body }: Process): void {
    this.trace.note('FAULT', `${body.name} is cut off from the others`);
    body.reachesQueue = false;
    this.transport.cutOff(body.name);
  }

  restore({ body }: Process): void {
    this.trace.note('FAULT', `${body.name} reaches the others again`);
    body.reachesQueue = true;
    this.transport.restore(body.name);
    this.queue.reached(body);
  }

  /** Hands over what it has, and leaves. */
  async drain(process: Process): Promise<void> {
    if (process.isLeaving) return;
    process.isLeaving = true;
    this.trace.note('FAULT', `${process.body.name} is drained`);
    const below = this.processes.filter(({ parent }) => parent === process.body.name);
    await Promise.all(below.map((worker) => this.drain(worker)));
    await process.leading?.stop();
    await process.working?.drain().catch(() => this.trace.note(process.body.name, 'is not drained in time'));
    await process.node?.leave();
    this.trace.note(process.body.name, 'has left');
    this.queue.killed(process.body);
  }

  /** Ends every process. */
  async close(): Promise<void> {
    this.transport.setWeather({});
    const ends = this.processes.map(async (process) => {
      const { body, node, link } = process;
      process.isLeaving = true;
      link.close();
      if (body.isDead || body.isFrozen) body.bury();
      await node?.system.stop();
    });
    let isOver = false;
    void Promise.all(ends).then(() => {
      isOver = true;
    });
    await this.clock.runUntil(() => isOver, { limitMs: 300_000 });
  }

  #start(kind: NodeKind, parent: string | null): Process {
    this.#names += 1;
    const name = `${kind === 'agent' ? 'a' : 'w'}${this.#names}`;
    const body = new Body(name, this.clock);
    const link = openStoreLink({
      body,
      store: this.referee.watch(this.#store, name),
      clock: this.clock,
      dice: this.#dice.apart(`store ${name}`),
      faults: this.storeFaults,
      trace: this.trace,
    });
    const process: Process = {
      body,
      kind,
      parent,
      link,
      node: null,
      leading: null,
      working: null,
      isLeaving: false,
    };
    this.processes.push(process);
    this.trace.note('START', `${name}${parent === null ? '' : ` of ${parent}`}`);
    void this.#run(process, this.model.portOf(body));
    return process;
  }

  async #run(process: Process, port: SimPort): Promise<void> {
    const { body, kind, parent, link } = process;
    const { dialogue, parts, flaws } = this.#options;
    const node = await startNode({
      body,
      kind,
      parent,
      link:
        flaws?.journaling === undefined ? link : { ...link, store: flaws.journaling(link.store, body.clock) },
      port,
      transport: arrivingBy(this.transport, flaws?.arriving),
      queue: this.queue.clientOf(body),
      dice: this.#dice.apart(`calls ${body.name}`),
      logger: this.trace.loggerOf(body.name),
    });
    process.node = node;
    try {
      await node.membership.ready();
    } catch {
      // It hears nothing of the others, and ends as a real one does.
      return this.kill(process);
    }
    if (process.isLeaving || body.isDead) return;
    if (kind === 'agent') process.leading = startLeading(node, parts);
    else process.working = startWorking(node, dialogue, this.referee);
  }
}

const arrivingBy = (transport: Transport, change: Flaws['arriving']): Transport =>
  change === undefined
    ? transport
    : { attach: (node, receive) => transport.attach(node, (envelope) => receive(change(envelope))) };
