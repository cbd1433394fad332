/** Nodes of a cluster in one process: membership over the memory transport, on a simulated clock. */
import { joinMembership, type JoinedMembership } from '../../src/actors/cluster/membership.ts';
import type { MembershipTimings } from '../../src/actors/cluster/timings.ts';
import type { DlgforgeError } from '../../src/kernel/errors.ts';
import type { Logger } from '../../src/kernel/logger.ts';
import type { NodeCard } from '../../src/ports/membership.ts';
import type { TransportEndpoint } from '../../src/ports/transport.ts';
import {
  createMemoryTransport,
  type MemoryTransport,
  type MemoryTransportOptions,
} from '../../src/transport/memory-transport.ts';
import { FreezableClock } from './freezable-clock.ts';
import { SimulatedClock } from './simulated-clock.ts';

export interface BenchNode {
  readonly name: string;
  readonly clock: FreezableClock;
  readonly endpoint: TransportEndpoint;
  readonly membership: JoinedMembership;
  /** `joined b`, `lost b`, …, in order. */
  readonly changes: string[];
  /** Nodes that the transport was told are lost. */
  readonly lost: string[];
  readonly refused: DlgforgeError[];
  readonly log: string[];
  /** The process stands still, as after SIGSTOP. */
  freeze(): void;
  thaw(): void;
  kill(): void;
}

export class ClusterBench {
  readonly clock = new SimulatedClock(1_000_000);
  readonly transport: MemoryTransport;
  readonly nodes = new Map<string, BenchNode>();
  readonly #timings: Partial<MembershipTimings>;

  constructor(options: MemoryTransportOptions = {}, timings: Partial<MembershipTimings> = {}) {
    this.transport = createMemoryTransport({ clock: this.clock, detectLossMs: null, ...options });
    this.#timings = timings;
  }

  async join(name: string, card: Partial<NodeCard> = {}, membersMax = 1_000): Promise<BenchNode> {
    const clock = new FreezableClock(this.clock);
    const endpoint = await this.transport.attach(name, () => undefined);
    const log: string[] = [];
    const logger: Logger = { log: (_level, _category, message) => void log.push(message) };
    const refused: DlgforgeError[] = [];
    const membership = joinMembership({
      endpoint,
      card: { ...cardOf(name), startedAtMs: this.clock.now(), ...card },
      clock,
      logger,
      onRefused: (why) => void refused.push(why),
      timings: this.#timings,
      membersMax,
    });
    const changes: string[] = [];
    const lost: string[] = [];
    membership.onChange(({ type, member }) => {
      if (type !== 'mistaken') changes.push(`${type} ${member.card.node}`);
    });
    endpoint.onNodeLost((node) => void lost.push(node));
    const node: BenchNode = {
      name,
      clock,
      endpoint,
      membership,
      changes,
      lost,
      refused,
      log,
      freeze: () => {
        clock.freeze();
        this.transport.freeze(name);
      },
      thaw: () => {
        // What waits in the process's sockets is read before its timers run, or after: here before.
        this.transport.thaw(name);
        clock.thaw();
      },
      kill: () => {
        clock.freeze();
        this.transport.kill(name);
        this.nodes.delete(name);
      },
    };
    this.nodes.set(name, node);
    return node;
  }

  async joinAll(...names: readonly string[]): Promise<BenchNode[]> {
    const nodes: BenchNode[] = [];
    for (const name of names) nodes.push(await this.join(name));
    return nodes;
  }

  /** Lets `ms` pass, everything that happens in between included. */
  async pass(ms: number): Promise<void> {
    const untilMs = this.clock.now() + ms;
    await this.clock.settle();
    for (let next = this.clock.nextAtMs; next !== null && next <= untilMs; next = this.clock.nextAtMs) {
      this.clock.advance(next - this.clock.now());
      await this.clock.settle();
    }
    this.clock.advance(untilMs - this.clock.now());
  }

  /** How long it took. */
  async until(holds: () => boolean, limitMs = 60_000): Promise<number> {
    const sinceMs = this.clock.now();
    await this.clock.runUntil(holds, { limitMs });
    return this.clock.now() - sinceMs;
  }

  /** Everybody leaves; what is scheduled after that is a leak. */
  async close(): Promise<number> {
    for (const { membership } of this.nodes.values()) membership.leave();
    await this.clock.settle();
    for (const { endpoint } of this.nodes.values()) await endpoint.detach();
    return this.clock.pending;
  }
}

export const cardOf = (node: string): NodeCard => ({
  node,
  kind: 'agent',
  parent: null,
  host: 'h',
  pid: 1,
  startedAtMs: 1,
  protocol: 1,
  build: '1.0.0',
  labels: {},
  leads: [],
  status: {},
});

export const namesOf = (membership: JoinedMembership): string[] =>
  membership
    .members()
    .map(({ card }) => card.node)
    .toSorted();
