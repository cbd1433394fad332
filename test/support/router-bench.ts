/**
 * A cluster's endpoint router in one process: real actor systems, membership and clients over the memory
 * transport, on a simulated clock. The model server counts the requests that it has open, as a real one would.
 */
import { createClusterRouterClient } from '../../src/actors/endpoint-router/cluster-client.ts';
import { endpointRouter, ROUTER_PATH } from '../../src/actors/endpoint-router/actor.ts';
import { createModelCalls, type ModelCalls } from '../../src/actors/endpoint-router/model-calls.ts';
import type { RunRegistration } from '../../src/actors/endpoint-router/permits.ts';
import type { RouterMessage } from '../../src/actors/endpoint-router/router-messages.ts';
import type { EndpointRouter } from '../../src/actors/endpoint-router/router.ts';
import { joinMembership, type JoinedMembership } from '../../src/actors/cluster/membership.ts';
import { createActorSystem } from '../../src/actors/runtime/actor-system.ts';
import { type ActorRef, actorRef, type ActorSystem } from '../../src/actors/runtime/types.ts';
import { DlgforgeError } from '../../src/kernel/errors.ts';
import { silentLogger } from '../../src/kernel/logger.ts';
import { below } from '../../src/kernel/random.ts';
import type { NodeKind } from '../../src/ports/membership.ts';
import type { AttemptOutcome, ModelPort } from '../../src/ports/model.ts';
import type { Transport, TransportEndpoint } from '../../src/ports/transport.ts';
import { createMemoryTransport, type MemoryTransport } from '../../src/transport/memory-transport.ts';
import { cardOf } from './cluster-bench.ts';
import { FreezableClock } from './freezable-clock.ts';
import { SimulatedClock } from './simulated-clock.ts';

export interface RouterBenchOptions {
  readonly seed: number;
  readonly runs: readonly RunRegistration[];
  /** Longest time that the model server takes for an answer. */
  readonly latencyMaxMs: number;
}

export interface RouterNode {
  readonly name: string;
  readonly clock: FreezableClock;
  readonly system: ActorSystem;
  readonly membership: JoinedMembership;
  /** The permits of a run. Only on workers. */
  readonly permits: (runId: string) => EndpointRouter;
  readonly calls: (runId: string, patienceMs?: number) => ModelCalls;
  /** Of its router. */
  epoch: number | null;
  router: ActorRef<never> | null;
}

const HOUSEKEEPING_MS = 500;
const REGISTER_MS = 1_000;

/** Has what it has open, per endpoint, and the most that it ever had. */
export class ModelServer {
  readonly open = new Map<string, number>();
  readonly mostOpen = new Map<string, number>();
  /** Per run. */
  readonly answered = new Map<string, number>();
  readonly #ofNode = new Map<string, Set<() => void>>();
  readonly #clock: SimulatedClock;
  readonly #seed: number;
  readonly #latencyMaxMs: number;
  requests = 0;
  /** Ended by their sender. */
  cancelled = 0;

  constructor(clock: SimulatedClock, seed: number, latencyMaxMs: number) {
    this.#clock = clock;
    this.#seed = seed;
    this.#latencyMaxMs = latencyMaxMs;
  }

  port(node: string, runId: string, clock: FreezableClock): ModelPort {
    return {
      endpoints: [],
      usedName: () => 'm',
      timeoutMs: () => 60_000,
      maxRetries: () => null,
      attempt: (endpoint, _request, signal) => this.#serve(node, runId, endpoint, clock, signal),
      check: () => Promise.resolve({ type: 'healthy', models: [] }),
      close: () => Promise.resolve(),
    };
  }

  /** The process has ended: its connections are closed. */
  closeAll(node: string): void {
    for (const close of this.#ofNode.get(node) ?? []) close();
  }

  #serve(
    node: string,
    runId: string,
    endpoint: string,
    nodeClock: FreezableClock,
    signal: AbortSignal,
  ): Promise<AttemptOutcome> {
    this.requests += 1;
    const latencyMs = 1 + below([this.#seed, 'latency', this.requests], this.#latencyMaxMs);
    this.#count(endpoint, 1);
    const connections = this.#ofNode.get(node) ?? new Set();
    this.#ofNode.set(node, connections);
    return new Promise((resolve, reject) => {
      let isOpen = true;
      const close = (): void => {
        if (!isOpen) return;
        isOpen = false;
        connections.delete(close);
        this.#count(endpoint, -1);
        cancelAnswer();
      };
      const cancelAnswer = this.#clock.schedule(latencyMs, () => {
        close();
        // A process that stands still reads the answer when it goes on.
        nodeClock.schedule(0, () => {
          this.answered.set(runId, (this.answered.get(runId) ?? 0) + 1);
          resolve(answered(endpoint, latencyMs));
        });
      });
      connections.add(close);
      signal.addEventListener('abort', () => {
        this.cancelled += isOpen ? 1 : 0;
        close();
        reject(new DlgforgeError('cancelled', 'the request was cancelled'));
      });
    });
  }

  #count(endpoint: string, change: number): void {
    const open = (this.open.get(endpoint) ?? 0) + change;
    this.open.set(endpoint, open);
    this.mostOpen.set(endpoint, Math.max(this.mostOpen.get(endpoint) ?? 0, open));
  }
}

const answered = (endpoint: string, latencyMs: number): AttemptOutcome => ({
  type: 'answered',
  answer: {
    content: '{}',
    toolCalls: [],
    finishReason: 'stop',
    usage: { promptTokens: 1, cachedTokens: 0, completionTokens: 1 },
    endpoint,
    model: 'm',
    latencyMs,
    rehearsal: true,
    raw: null,
  },
});

export class RouterBench {
  readonly clock = new SimulatedClock(1_000_000);
  readonly transport: MemoryTransport;
  readonly server: ModelServer;
  readonly nodes = new Map<string, RouterNode>();
  /** Epoch of the lease in the database. */
  leaseEpoch = 0;
  readonly #options: RouterBenchOptions;
  readonly #end = new AbortController();

  constructor(options: RouterBenchOptions) {
    this.#options = options;
    const { seed, latencyMaxMs } = options;
    this.transport = createMemoryTransport({
      clock: this.clock,
      seed,
      detectLossMs: null,
      delayMs: { min: 0, max: 5 },
    });
    this.server = new ModelServer(this.clock, seed, latencyMaxMs);
  }

  async join(name: string, kind: NodeKind): Promise<RouterNode> {
    const clock = new FreezableClock(this.clock);
    const { system, endpoint } = await this.#startSystem(name, clock);
    const card = { ...cardOf(name), kind, startedAtMs: this.clock.now() };
    const membership = joinMembership({ endpoint, card, clock, logger: silentLogger });
    const doors = kind === 'worker' ? this.#doors(name, clock, system, membership) : noDoors;
    const node: RouterNode = { name, clock, system, membership, ...doors, epoch: null, router: null };
    this.nodes.set(name, node);
    if (kind === 'agent') this.#keepHouse(node);
    return node;
  }

  async #startSystem(
    name: string,
    clock: FreezableClock,
  ): Promise<{ system: ActorSystem; endpoint: TransportEndpoint }> {
    let endpoint: TransportEndpoint | null = null;
    const transport: Transport = {
      attach: async (node, receive) => (endpoint = await this.transport.attach(node, receive)),
    };
    const system = await createActorSystem({ node: name, logger: silentLogger, clock, transport });
    if (endpoint === null) throw new Error('a system attaches itself');
    return { system, endpoint };
  }

  #doors(
    name: string,
    clock: FreezableClock,
    system: ActorSystem,
    membership: JoinedMembership,
  ): Pick<RouterNode, 'permits' | 'calls'> {
    const holder: ActorRef<never> = system.spawn('holder', {
      kind: 'holder',
      start: () => ({ receive: () => undefined }),
    });
    const client = createClusterRouterClient({
      messenger: system,
      clock,
      leaderOf: () => membership.leaderOf(ROUTER_PATH),
      onLeaderChange: (listener) => membership.onChange(() => listener()),
      inContact: () => membership.inContact(),
      onTakenForLost: (listener) =>
        membership.onChange(({ type, member }) => {
          if (type === 'mistaken') listener(member.card.node);
        }),
      name,
      holder,
    });
    this.#end.signal.addEventListener('abort', () => client.close());
    return {
      permits: (runId) => client.forRun(runId),
      calls: (runId, patienceMs = 3_600_000) =>
        createModelCalls({
          router: client.forRun(runId),
          port: this.server.port(name, runId, clock),
          clock,
          patienceMs,
          logger: silentLogger,
          random: () => 0.5,
        }),
    };
  }

  /** What an agent does: contends for the router, and registers the runs with whoever leads it. */
  #keepHouse(node: RouterNode): void {
    const { clock, membership, system } = node;
    const contend = (): void => {
      if (this.#end.signal.aborted) return;
      const leader = membership.leaderOf(ROUTER_PATH);
      if (node.epoch !== null && (node.epoch < this.leaseEpoch || (leader?.epoch ?? 0) > node.epoch))
        this.depose(node);
      if (node.epoch === null && membership.isWarm() && leader === null) this.lead(node);
      clock.schedule(HOUSEKEEPING_MS, contend);
    };
    const register = (): void => {
      if (this.#end.signal.aborted) return;
      const leader = membership.leaderOf(ROUTER_PATH);
      if (leader !== null)
        for (const run of this.#options.runs)
          system.tell(actorRef<RouterMessage>(leader.node, ROUTER_PATH), { type: 'RegisterRun', ...run });
      clock.schedule(REGISTER_MS, register);
    };
    contend();
    register();
  }

  lead(node: RouterNode): void {
    this.leaseEpoch += 1;
    node.epoch = this.leaseEpoch;
    const { membership, system } = node;
    void this.#stopRouter(node).then(() => {
      node.router = system.spawn(
        ROUTER_PATH,
        endpointRouter({
          epoch: node.epoch ?? 0,
          inContact: () => membership.inContact(),
          departed: (name) => membership.departed(name),
          adoptFrom: () =>
            membership
              .members()
              .filter(({ card }) => card.kind === 'worker')
              .map(({ card }) => card.node),
        }),
      );
      membership.announce({ leads: [{ name: ROUTER_PATH, epoch: node.epoch ?? 0 }] });
    });
  }

  depose(node: RouterNode): void {
    node.epoch = null;
    node.membership.announce({ leads: [] });
    void this.#stopRouter(node);
  }

  async #stopRouter(node: RouterNode): Promise<void> {
    const { router, system } = node;
    node.router = null;
    if (router !== null) await system.stopActor(router);
  }

  kill(node: RouterNode): void {
    node.clock.freeze();
    this.transport.kill(node.name);
    this.server.closeAll(node.name);
    this.nodes.delete(node.name);
  }

  freeze(node: RouterNode): void {
    node.clock.freeze();
    this.transport.freeze(node.name);
  }

  thaw(node: RouterNode): void {
    this.transport.thaw(node.name);
    node.clock.thaw();
  }

  /** Calls of a run on a node, `side` of them side by side, until the end of the bench. */
  work(node: RouterNode, runId: string, side: number, patienceMs?: number): void {
    const calls = node.calls(runId, patienceMs);
    const { signal } = this.#end;
    const loop = async (lane: number): Promise<void> => {
      const request = { role: 'user', messages: [], tools: [], output: { name: 'o', schema: {} } } as const;
      for (let call = 0; !signal.aborted; call += 1)
        await calls.call(request, { conversation: `${runId}-${lane}`, priority: call, signal });
    };
    for (let lane = 0; lane < side; lane += 1)
      loop(lane).catch((error: unknown) => {
        if (!signal.aborted) this.failures.push(error);
      });
  }

  /** Calls that ended otherwise than by the end of the bench. */
  readonly failures: unknown[] = [];

  async pass(ms: number): Promise<void> {
    const untilMs = this.clock.now() + ms;
    await this.clock.settle();
    for (let next = this.clock.nextAtMs; next !== null && next <= untilMs; next = this.clock.nextAtMs) {
      this.clock.advance(next - this.clock.now());
      await this.clock.settle();
    }
    this.clock.advance(untilMs - this.clock.now());
  }

  async close(): Promise<void> {
    this.#end.abort();
    await this.clock.settle();
    for (const { membership, system } of this.nodes.values()) {
      membership.leave();
      await system.stop();
    }
  }
}

const none = (): never => {
  throw new Error('only workers send requests');
};
const noDoors: Pick<RouterNode, 'permits' | 'calls'> = { permits: none, calls: none };
