/**
 * Wires the actors of a run in this process: the only place where adapters meet actors. The two halves of a
 * run, leading it (`leader.ts`) and working on it (`run-worker.ts`), are the same in a cluster.
 */
import { localDirectory } from '../actors/directory.ts';
import { createRouterClient, endpointRouter } from '../actors/endpoint-router/actor.ts';
import { createModelCalls, type ModelCalls } from '../actors/endpoint-router/model-calls.ts';
import type { Strategy } from '../actors/endpoint-router/choose.ts';
import type { RunRegistration } from '../actors/endpoint-router/permits.ts';
import { exporter } from '../actors/exporter.ts';
import type { ExporterMessage, Outcome, RunEnd, RunView } from '../actors/messages.ts';
import { retriever } from '../actors/retriever.ts';
import { createActorSystem } from '../actors/runtime/actor-system.ts';
import type { ActorInfo } from '../actors/runtime/types.ts';
import type { InputsBase } from '../dialogue/conversation-record.ts';
import type { Role } from '../dialogue/chat.ts';
import type { Clock } from '../kernel/clock.ts';
import type { RunId } from '../kernel/ids.ts';
import { DlgforgeError } from '../kernel/errors.ts';
import type { Logger } from '../kernel/logger.ts';
import type { ModelPort } from '../ports/model.ts';
import type { Retriever, WebSearch } from '../ports/retriever.ts';
import type { LeaseGrant, RunWanted, Store } from '../ports/store.ts';
import { createMemoryWorkQueue } from '../transport/memory-work-queue.ts';
import { type LeaderParts, startLeader, troubleOf, waitingMaxOf } from './leader.ts';
import { startRunWorker } from './run-worker.ts';

export { type Leader, type LeaderOptions, type LeaderParts, startLeader } from './leader.ts';
export { type RunWorker, type RunWorkerOptions, startRunWorker } from './run-worker.ts';

export interface GenerationOptions extends LeaderParts {
  readonly store: Store;
  readonly runId: RunId;
  readonly lease: LeaseGrant;
  readonly inputs: InputsBase;
  /** What a person wants of the run, asked about every second. @default that it goes on */
  readonly wanted?: () => Promise<RunWanted>;
  readonly port: ModelPort;
  /** Why calls of a role wait for a person; null when they do not. @default that nobody knows */
  readonly whyWaiting?: (role: Role) => string | null;
  readonly strategy: Strategy;
  readonly roleStrategies: Partial<Record<Role, Strategy>>;
  /** @default false */
  readonly asksFirst?: boolean;
  readonly retriever: Retriever;
  readonly webSearch: WebSearch | null;
  /** Appends what is committed to the files. */
  readonly project: () => Promise<void>;
  readonly patienceMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Spreads retries over time; never decides content. */
  readonly random?: () => number;
  /** Messages are copied through JSON: for tests. */
  readonly strictMessages?: boolean;
}

export interface Generation {
  /** How it ended; the actors are still there for `view` until `close`. */
  readonly end: Promise<RunEnd>;
  /** Admits nothing more; what is in flight may finish within the grace. */
  stop(): void;
  /** The router knows the endpoints of the port as they are now. */
  endpointsChanged(): void;
  readonly view: () => Promise<RunView>;
  readonly calls: ModelCalls;
  readonly actors: () => readonly ActorInfo[];
  /** Brings the files up to date. @throws DlgforgeError `output`. */
  readonly flush: () => Promise<void>;
  close(): Promise<void>;
}

const NODE = 'local';
const CONVERSATIONS_PER_WORKER = 64;
const LOOK_UPS_AT_ONCE = 4;
const EXPORT_PAUSE_MS = 300;
const FLUSH_TIMEOUT_MS = 24 * 3_600_000;

export function startGeneration(options: GenerationOptions): Generation {
  const { store, port, clock, logger, batchSize, lease, runId } = options;
  const system = createActorSystem({
    node: NODE,
    logger,
    clock,
    ...(options.strictMessages === undefined ? {} : { strictMessages: options.strictMessages }),
  });
  const queue = createMemoryWorkQueue();
  const registration = (): RunRegistration => ({
    runId,
    endpoints: port.endpoints,
    strategy: options.strategy,
    roleStrategies: options.roleStrategies,
    asksFirst: options.asksFirst ?? false,
  });
  const router = system.spawn('endpoint-router', endpointRouter({ runs: [registration()] }));
  const calls = createModelCalls({
    router: createRouterClient({ messenger: system, router, runId, name: NODE }),
    port,
    clock,
    logger,
    patienceMs: options.patienceMs,
    ...(options.whyWaiting === undefined ? {} : { whyWaiting: options.whyWaiting }),
    ...(options.random === undefined ? {} : { random: options.random }),
  });
  const exporterRef = system.spawn<ExporterMessage>(
    'exporter',
    exporter({ catchUp: options.project, pauseMs: EXPORT_PAUSE_MS }),
  );
  const window = batchSize + waitingMaxOf(batchSize);
  const retrieverRef = system.spawn(
    'retriever',
    retriever({ retriever: options.retriever, parallel: LOOK_UPS_AT_ONCE, waitingMax: 16 * window }),
  );

  const end = Promise.withResolvers<RunEnd>();
  const failed = (error: unknown): void => end.resolve({ type: 'failed', trouble: troubleOf(error) });
  const leader = startLeader({
    system,
    store,
    lease,
    runId,
    parts: options,
    queue,
    // A person has just started this process.
    fresh: true,
    livingWorkers: () => [NODE],
    ...(options.wanted === undefined ? {} : { wanted: options.wanted }),
    onSettled: () => system.tell(exporterRef, { type: 'CatchUp' }),
    onEnd: (outcome) => end.resolve(endOf(outcome)),
  });
  for (const ref of [router, exporterRef, retrieverRef]) {
    system.watch(ref, ({ reason, error }) => {
      if (reason !== 'stopped') failed(error);
    });
  }
  const directory = localDirectory({ node: NODE, runId, epoch: lease.epoch, retriever: () => retrieverRef });
  for (let number = 0; number < Math.ceil(window / CONVERSATIONS_PER_WORKER); number += 1) {
    startRunWorker({
      system,
      store,
      parts: { ...options, lacks: [] },
      name: `worker-${number}`,
      modelCalls: calls,
      directory,
      queue,
      onGivenUp: failed,
    });
  }

  return {
    end: end.promise,
    calls,
    stop: () => leader.stopRun(),
    endpointsChanged: () => system.tell(router, { type: 'RegisterRun', ...registration() }),
    view: () => leader.view(),
    actors: () => system.tree(),
    async flush() {
      const { error } = await system.ask<ExporterMessage, { readonly error: string | null }>(
        exporterRef,
        (replyTo) => ({ type: 'Flush', replyTo }),
        { timeoutMs: FLUSH_TIMEOUT_MS },
      );
      if (error !== null) throw new DlgforgeError('output', error);
    },
    close: () => system.stop(),
  };
}

/** A process of its own has nobody that the run could go on with. */
function endOf(outcome: Outcome): RunEnd {
  if (outcome.type !== 'superseded') return outcome;
  return {
    type: 'failed',
    trouble: { code: 'held', message: `Another process has taken this dataset over: ${outcome.message}` },
  };
}
