/**
 * What a node offers to run model servers on: its GPUs, and its replicas by run and index.
 *
 * Owns: which GPU is whose, and the actors of the servers. Invariants: 1. a GPU has at most one replica; 2. what
 * is started is what the store says of the run, never what a message says; 3. replicas of a run that is over are
 * stopped here, whether or not anybody leads it; 4. when the host has stopped, nothing is left but servers that
 * are to be kept.
 */
import { type DlgforgeError, isDlgforgeError, messageOf } from '../../kernel/errors.ts';
import type { RunId } from '../../kernel/ids.ts';
import type {
  KeptServer,
  ServerOrder,
  ServerProbe,
  ServerProcess,
  ServerProcesses,
} from '../../ports/server-process.ts';
import type { ActorContext, ActorDefinition, ActorRef, Behaviour, ReplyTo } from '../runtime/types.ts';
import {
  decodeHostMessage,
  type HostMessage,
  type HostReply,
  type HostReport,
  type ReplicaReport,
} from './host-messages.ts';
import { type FoundGpus, freeGpus, hostReport, replicaReports } from './host-report.ts';
import { type ServerLimits, type ServerState, vllmServer } from './vllm-server.ts';

/** What a replica of a run is, as the run's stored configuration says. */
export interface ReplicaOrder {
  readonly server: Omit<ServerOrder, 'gpus'>;
  /** Whole GPUs; 0: none. */
  readonly gpuCount: number;
  /** What its servers have to list. */
  readonly models: readonly string[];
  readonly key: () => string | null;
  /** Where others find that key; null when none is demanded. */
  readonly keyVariable: string | null;
  readonly limits: ServerLimits;
  /** The base URL that others reach it by. */
  readonly baseUrl: (port: number) => string;
}

export interface VllmHostOptions {
  readonly node: string;
  readonly processes: ServerProcesses;
  readonly probe: ServerProbe;
  /** GPUs that this node offers, asked anew for each report. */
  readonly gpus: () => Promise<FoundGpus>;
  /** @throws DlgforgeError when this node may not start this program. */
  readonly allows: (program: string) => void;
  /** @throws DlgforgeError when this node cannot run it. */
  readonly orderOf: (runId: RunId, index: number) => Promise<ReplicaOrder>;
  /** Told of every change. @default nobody */
  readonly onChange?: (replicas: readonly ReplicaReport[]) => void;
}

interface Replica {
  readonly runId: RunId;
  readonly index: number;
  state: ReplicaReport['state'];
  text: string;
  gpus: number[];
  baseUrl: string | null;
  keyVariable: string | null;
  server: ActorRef<never> | null;
  /** Looks at the store in which the run was not on. */
  absences: number;
  /** Why its server is being stopped; null while it is not. */
  ending: 'stop' | 'over' | null;
}

interface Preparation {
  readonly order: ReplicaOrder;
  readonly found: ServerProcess | null;
  readonly offered: FoundGpus;
  readonly kept: readonly KeptServer[];
}

/** What the host tells itself. */
type OwnMessage =
  | { readonly type: 'Prepared'; readonly replica: Replica; readonly preparation: Preparation }
  | { readonly type: 'CannotRun'; readonly replica: Replica; readonly error: unknown }
  | { readonly type: 'ServerEnded'; readonly replica: Replica; readonly error: unknown }
  | { readonly type: 'Reported'; readonly report: HostReport; readonly replyTo: ReplyTo<HostReport> }
  | { readonly type: 'NotReported'; readonly error: unknown }
  | { readonly type: 'LookedFor'; readonly reply: HostReply; readonly replyTo: ReplyTo<HostReply> };

type Message = HostMessage | OwnMessage;

/** A run that has just begun may be missing in a look that was under way. */
const ABSENCES = 2;
const REPLICAS_MAX = 256;

export const vllmHost = (options: VllmHostOptions): ActorDefinition<Message> => ({
  kind: 'vllm-host',
  decode: decodeHostMessage,
  async start(context) {
    const left = await options.processes.sweep();
    if (left > 0)
      context.logger.log('warn', 'llm', `[vllm] ended ${left} server(s) that an earlier process had left`);
    return new VllmHost(options, context);
  },
});

class VllmHost implements Behaviour<Message> {
  readonly #options: VllmHostOptions;
  readonly #context: ActorContext<Message>;
  readonly #replicas = new Map<string, Replica>();
  #servers = 0;
  #isLeaving = false;

  constructor(options: VllmHostOptions, context: ActorContext<Message>) {
    this.#options = options;
    this.#context = context;
  }

  receive(message: Message): void {
    switch (message.type) {
      case 'StartReplica':
        return this.#context.reply(message.replyTo, this.#startReplica(message.runId, message.index));
      case 'StopReplica':
        this.#end(this.#replicas.get(keyOf(message.runId, message.index)), 'stop');
        return this.#context.reply(message.replyTo, { type: 'accepted' });
      case 'ListReplicas':
        return this.#context.pipe(
          this.#report(),
          (report) => ({ type: 'Reported', report, replyTo: message.replyTo }),
          (error) => ({ type: 'NotReported', error }),
        );
      case 'LookFor':
        return this.#context.pipe(
          this.#require(message.program),
          () => ({ type: 'LookedFor', reply: { type: 'accepted' }, replyTo: message.replyTo }),
          (error) => ({
            type: 'LookedFor',
            reply: { type: 'refused', reason: messageOf(error) },
            replyTo: message.replyTo,
          }),
        );
      case 'LookedFor':
        return this.#context.reply(message.replyTo, message.reply);
      case 'Reported':
        return this.#context.reply(message.replyTo, message.report);
      case 'NotReported':
        // Who asks hears that nobody answered, and asks again.
        return this.#context.logger.log('warn', 'llm', `[vllm] no report: ${messageOf(message.error)}`);
      case 'RunsOn':
        return this.#runsOn(new Set(message.runs));
      case 'Leave':
        this.#isLeaving = true;
        return this.#told();
      case 'Prepared':
        return this.#prepared(message.replica, message.preparation);
      case 'CannotRun':
        return this.#cannot(message.replica, message.error);
      case 'ServerEnded':
        return this.#ended(message.replica, message.error);
    }
  }

  #startReplica(runId: RunId, index: number): HostReply {
    const key = keyOf(runId, index);
    if (this.#replicas.has(key)) return { type: 'accepted' };
    if (this.#isLeaving) return { type: 'refused', reason: 'this node is leaving' };
    if (this.#replicas.size >= REPLICAS_MAX)
      return { type: 'refused', reason: `this node has ${REPLICAS_MAX} replicas` };
    const replica: Replica = {
      runId,
      index,
      state: 'starting',
      text: 'starting',
      gpus: [],
      baseUrl: null,
      keyVariable: null,
      server: null,
      ending: null,
      absences: 0,
    };
    this.#replicas.set(key, replica);
    this.#context.pipe(
      this.#prepare(replica),
      (preparation) => ({ type: 'Prepared', replica, preparation }),
      (error) => ({ type: 'CannotRun', replica, error }),
    );
    this.#told();
    return { type: 'accepted' };
  }

  /** Invariant 2. */
  async #prepare({ runId, index }: Replica): Promise<Preparation> {
    const { processes, orderOf } = this.#options;
    const order = await orderOf(runId, index);
    await this.#require(order.server.program);
    const { server, gpuCount } = order;
    // Which GPUs does not matter to whether it is the same, how many does.
    const some = gpuCount === 0 ? null : Array.from({ length: gpuCount }, (_, gpu) => gpu);
    const found = await processes.findKept({ ...server, gpus: some });
    const [offered, kept] = await Promise.all([this.#options.gpus(), processes.kept()]);
    return { order, found, offered, kept };
  }

  async #require(program: string): Promise<void> {
    this.#options.allows(program);
    await this.#options.processes.require(program);
  }

  #prepared(replica: Replica, { order, found, offered, kept }: Preparation): void {
    // Invariant 1: from here to the reservation nothing else happens.
    const free = freeGpus(offered, kept, this.#replicas.values());
    const gpus = found === null ? free.slice(0, order.gpuCount) : (found.gpus ?? []);
    // Another replica was faster; whoever asked sees that it is not there, and where there is room.
    const hasRoom = found !== null || gpus.length === order.gpuCount;
    if (replica.ending === null && hasRoom) {
      replica.gpus = [...gpus];
      return this.#spawn(replica, order, found);
    }
    if (order.server.keep) found?.release();
    else void found?.stop();
    this.#forget(replica);
  }

  #spawn(replica: Replica, order: ReplicaOrder, found: ServerProcess | null): void {
    const { processes, probe } = this.#options;
    this.#servers += 1;
    const gpus = order.gpuCount === 0 ? null : replica.gpus;
    const ref = this.#context.spawn(
      `${encodeURIComponent(replica.runId)}.${replica.index}.${this.#servers}`,
      vllmServer({
        processes,
        probe,
        order: { ...order.server, gpus },
        found,
        models: order.models,
        key: order.key,
        limits: order.limits,
        mayKeep: () => replica.state === 'serving' && replica.ending !== 'stop',
        onState: (state) => this.#heard(replica, state, order),
      }),
    );
    replica.server = ref;
    this.#context.watch(ref, ({ reason, error }) => ({
      type: 'ServerEnded',
      replica,
      error: reason === 'stopped' ? null : error,
    }));
  }

  #heard(replica: Replica, state: ServerState, order: ReplicaOrder): void {
    replica.state = state.type;
    replica.text = state.type === 'serving' ? 'serving' : state.text;
    replica.baseUrl = state.type === 'serving' ? order.baseUrl(state.port) : null;
    replica.keyVariable = order.keyVariable;
    this.#told();
  }

  /** Its actor has ended: nothing of it is left, so its GPUs are free. */
  #ended(replica: Replica, error: unknown): void {
    replica.server = null;
    replica.gpus = [];
    replica.baseUrl = null;
    if (replica.ending !== null) return this.#forget(replica);
    if (error !== null) replica.text = messageOf(error);
    replica.state = 'given_up';
    this.#context.logger.log('error', 'llm', `[vllm] replica ${replica.index} is given up: ${replica.text}`);
    this.#told();
  }

  #cannot(replica: Replica, error: unknown): void {
    if (replica.ending !== null || isPassing(error)) return this.#forget(replica);
    replica.state = 'unable';
    replica.text = messageOf(error);
    this.#context.logger.log(
      'error',
      'llm',
      `[vllm] replica ${replica.index} cannot run here: ${replica.text}`,
    );
    this.#told();
  }

  /** `over`: its run has ended, so a server that is to be kept goes on without us. */
  #end(replica: Replica | undefined, ending: 'stop' | 'over'): void {
    if (replica === undefined || replica.ending === 'stop') return;
    const isNew = replica.ending === null;
    replica.ending = ending;
    const { server, state } = replica;
    if (!isNew) return;
    if (server !== null) void this.#context.stop(server);
    else if (state === 'given_up' || state === 'unable') this.#forget(replica);
  }

  /** Invariant 3. */
  #runsOn(runs: ReadonlySet<RunId>): void {
    for (const replica of this.#replicas.values()) {
      replica.absences = runs.has(replica.runId) ? 0 : replica.absences + 1;
      if (replica.absences >= ABSENCES) this.#end(replica, 'over');
    }
  }

  #forget(replica: Replica): void {
    const key = keyOf(replica.runId, replica.index);
    if (this.#replicas.get(key) === replica) this.#replicas.delete(key);
    this.#told();
  }

  async #report(): Promise<HostReport> {
    const { node, processes, gpus } = this.#options;
    const [offered, kept] = await Promise.all([gpus(), processes.kept()]);
    const replicas = replicaReports(this.#replicas.values());
    return hostReport({ node, isLeaving: this.#isLeaving, offered, kept, replicas });
  }

  #told(): void {
    this.#options.onChange?.(replicaReports(this.#replicas.values()));
  }
}

const keyOf = (runId: RunId, index: number): string => `${runId}/${index}`;

/** The database was away, or this node is ending: nothing is known about whether it can run a replica. */
const isPassing = (error: unknown): error is DlgforgeError =>
  isDlgforgeError(error, 'store') || isDlgforgeError(error, 'cancelled');
