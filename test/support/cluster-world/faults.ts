/** What can go wrong in a simulated cluster, and how it is undone. Whom it strikes is drawn. */
import type { Weather } from '../../../src/transport/memory-transport.ts';
import type { ClusterWorld, Process } from './cluster-world.ts';
import type { Dice } from './dice.ts';

export interface FaultsOptions {
  readonly world: ClusterWorld;
  readonly dice: Dice;
  readonly processesMax: number;
  /**
   * Whether two nodes may lose each other while both reach the server in the network's middle, which one
   * server never does to its clients: a cluster of servers can.
   */
  readonly splits: boolean;
  /** Only what costs no call: nodes come and go in good order, and the queue is lost. */
  readonly isCalm: boolean;
}

/** Has something done later, or at the end of the bad time. */
export type Again = (afterMs: number, undo: () => void) => void;
/** True when it struck: there may be nobody to strike. */
export type Fault = (again: Again) => boolean;

/** A drain of the last agent would leave nobody who leads. */
const AGENTS_MIN = 1;
/** Those that cost no call. */
export const GENTLE: ReadonlySet<string> = new Set(['queue lost', 'add', 'drain', 'pause']);
const ABOUT_LOST_MS = [5_000, 8_000] as const;
const STORM: Weather = { drop: 0.05, duplicate: 0.1, reorder: 0.15 };
const RAIN: Weather = { drop: 0.01, duplicate: 0.02, reorder: 0.05 };

export class Faults {
  readonly #options: FaultsOptions;

  constructor(options: FaultsOptions) {
    this.#options = options;
  }

  /** By name; the more likely ones are there twice. */
  get all(): readonly [string, Fault][] {
    const { splits, isCalm } = this.#options;
    return [
      ...this.#gentle(),
      ...(isCalm ? [] : this.#harsh()),
      ...(splits && !isCalm ? this.#splits() : []),
    ];
  }

  /** Somebody must be able to lead, and somebody to work. */
  repair(): void {
    const { world } = this.#options;
    const agents = this.#agents();
    if (agents.length === 0) this.#startNode();
    else if (this.#workers().length === 0) for (const agent of agents) world.startWorker(agent);
  }

  #gentle(): [string, Fault][] {
    return [
      ['queue lost', () => this.#loseQueue()],
      ['add', () => this.#add()],
      ['drain', () => this.#drain()],
      ['pause', (again) => this.#pauseRun(again)],
    ];
  }

  #harsh(): [string, Fault][] {
    return [
      ['kill a worker', (again) => this.#killWorker(again)],
      ['kill a node', (again) => this.#killNode(this.#anyAgent(), again)],
      ['kill a leader', (again) => this.#killNode(this.#aLeader(), again)],
      ['freeze', (again) => this.#freeze(this.#anyone(), again)],
      ['freeze', (again) => this.#freeze(this.#anyone(), again)],
      ['freeze a leader', (again) => this.#freeze(this.#aLeader(), again)],
      ['cut off', (again) => this.#cutOff(this.#anyone(), again)],
      ['cut off a leader', (again) => this.#cutOff(this.#aLeader(), again)],
      ['weather', (again) => this.#weather(again)],
      ['store away', (again) => this.#storeAway(again)],
      ['store cut', (again) => this.#storeCut(again)],
    ];
  }

  #splits(): [string, Fault][] {
    return [
      ['cut one way', (again) => this.#cutOneWay(again)],
      ['partition', (again) => this.#partition(again)],
    ];
  }

  #killWorker(again: Again): boolean {
    const { world, dice } = this.#options;
    const worker = this.#pick(this.#workers());
    if (worker === undefined) return false;
    world.kill(worker);
    const agent = world.processes.find(({ body }) => body.name === worker.parent);
    again(dice.between(200, 3_000), () => {
      if (agent !== undefined && world.living.includes(agent)) world.startWorker(agent);
    });
    return true;
  }

  #killNode(victim: Process | undefined, again: Again): boolean {
    const { world, dice } = this.#options;
    if (victim === undefined) return false;
    world.kill(victim);
    again(dice.between(500, 12_000), () => this.#startNode());
    return true;
  }

  #freeze(victim: Process | undefined, again: Again): boolean {
    const { world } = this.#options;
    if (victim === undefined || !victim.body.isRunning) return false;
    world.freeze(victim);
    again(this.#spell(), () => world.thaw(victim));
    return true;
  }

  #cutOff(victim: Process | undefined, again: Again): boolean {
    const { world } = this.#options;
    if (victim === undefined || !victim.body.reachesQueue) return false;
    world.cutOff(victim);
    again(this.#spell(), () => world.restore(victim));
    return true;
  }

  #cutOneWay(again: Again): boolean {
    const { world, dice } = this.#options;
    const [from, to] = dice.shuffled(world.living).map(({ body }) => body.name);
    if (from === undefined || to === undefined) return false;
    world.trace.note('FAULT', `nothing gets from ${from} to ${to}`);
    world.transport.cut(from, to);
    again(this.#spell(), () => {
      world.trace.note('FAULT', `messages get from ${from} to ${to} again`);
      world.transport.mend(from, to);
    });
    return true;
  }

  #partition(again: Again): boolean {
    const { world, dice } = this.#options;
    const names = dice.shuffled(world.living).map(({ body }) => body.name);
    const [some, others] = [names.slice(0, names.length >> 1), names.slice(names.length >> 1)];
    world.trace.note('FAULT', `${some.join()} and ${others.join()} do not reach each other`);
    const each = (act: (a: string, b: string) => void): void => {
      for (const a of some) for (const b of others) act(a, b);
    };
    each((a, b) => world.transport.partition(a, b));
    again(this.#spell(), () => {
      world.trace.note('FAULT', `${some.join()} and ${others.join()} reach each other again`);
      each((a, b) => world.transport.heal(a, b));
    });
    return true;
  }

  #weather(again: Again): boolean {
    const { world, dice } = this.#options;
    const weather = dice.falls(0.5) ? STORM : RAIN;
    world.trace.note('FAULT', weather === STORM ? 'a storm' : 'rain');
    world.transport.setWeather(weather);
    again(dice.between(1_000, 8_000), () => {
      world.trace.note('FAULT', 'fair weather');
      world.transport.setWeather({});
    });
    return true;
  }

  #storeAway(again: Again): boolean {
    const { world, dice } = this.#options;
    if (world.storeFaults.isAway) return false;
    world.trace.note('FAULT', 'the database is away');
    world.storeFaults.isAway = true;
    again(dice.between(200, 8_000), () => {
      world.trace.note('FAULT', 'the database is back');
      world.storeFaults.isAway = false;
    });
    return true;
  }

  #storeCut(again: Again): boolean {
    const { world } = this.#options;
    const victim = this.#anyone();
    if (victim === undefined || !victim.body.reachesStore) return false;
    world.trace.note('FAULT', `${victim.body.name} does not reach the database`);
    victim.body.reachesStore = false;
    again(this.#spell(), () => {
      world.trace.note('FAULT', `${victim.body.name} reaches the database again`);
      victim.body.reachesStore = true;
    });
    return true;
  }

  #pauseRun(again: Again): boolean {
    const { world, dice } = this.#options;
    void world.want('pause');
    again(dice.between(500, 6_000), () => void world.want('run'));
    return true;
  }

  #loseQueue(): boolean {
    const { world } = this.#options;
    world.trace.note('FAULT', `the queue is lost, with ${world.queue.waiting} that waited`);
    world.queue.lose();
    return true;
  }

  #add(): boolean {
    if (this.#options.world.living.length >= this.#options.processesMax) return false;
    this.#startNode();
    return true;
  }

  #drain(): boolean {
    const { world, dice } = this.#options;
    const agents = this.#agents();
    const workers = this.#workers().filter(({ body }) => body.isRunning);
    const victim = dice.falls(0.5) && agents.length > AGENTS_MIN ? this.#anyAgent() : this.#pick(workers);
    if (victim === undefined || workers.length < 2) return false;
    void world.drain(victim);
    return true;
  }

  /** How long it lasts: often about as long as it takes until a silent node is replaced. */
  #spell(): number {
    const { dice } = this.#options;
    return dice.falls(0.5) ? dice.between(600, 9_000) : dice.between(...ABOUT_LOST_MS);
  }

  // Whom.

  #startNode(): void {
    const { world, processesMax } = this.#options;
    if (world.living.length >= processesMax && this.#workers().length > 0) return;
    world.startWorker(world.startAgent());
  }

  #pick(processes: readonly Process[]): Process | undefined {
    return this.#options.dice.pick(processes);
  }

  #agents(): Process[] {
    return this.#options.world.living.filter(({ kind }) => kind === 'agent');
  }

  #workers(): Process[] {
    return this.#options.world.living.filter(({ kind }) => kind === 'worker');
  }

  #anyAgent(): Process | undefined {
    return this.#pick(this.#agents());
  }

  #anyone(): Process | undefined {
    return this.#pick(this.#options.world.living);
  }

  #aLeader(): Process | undefined {
    const leading = this.#agents().filter(({ node }) => {
      const own = node?.membership.members().find(({ card }) => card.node === node.name);
      return (own?.card.leads.length ?? 0) > 0;
    });
    return this.#pick(leading) ?? this.#anyAgent();
  }
}
