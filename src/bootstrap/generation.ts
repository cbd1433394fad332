/** Wires the actors of a run in this process: the only place where adapters meet actors. */
import { coordinator } from '../actors/coordinator.ts';
import { createDirectory } from '../actors/directory.ts';
import type { EarlierCounts } from '../actors/earlier-counts.ts';
import { createRouterClient, endpointRouter } from '../actors/endpoint-router/actor.ts';
import { createModelCalls, type ModelCalls } from '../actors/endpoint-router/model-calls.ts';
import type { Strategy } from '../actors/endpoint-router/choose.ts';
import { exporter } from '../actors/exporter.ts';
import type {
  CoordinatorMessage,
  ExporterMessage,
  RunEnd,
  RunTrouble,
  RunView,
  WorkerMessage,
} from '../actors/messages.ts';
import { retriever } from '../actors/retriever.ts';
import { createActorSystem } from '../actors/runtime/actor-system.ts';
import type { ActorInfo } from '../actors/runtime/types.ts';
import { worker } from '../actors/worker.ts';
import type { DialogueContext } from '../dialogue/conversation.ts';
import type { InputsBase } from '../dialogue/conversation-record.ts';
import type { Role } from '../dialogue/chat.ts';
import type { Clock } from '../kernel/clock.ts';
import type { DatasetId, RunId } from '../kernel/ids.ts';
import { DlgforgeError, messageOf } from '../kernel/errors.ts';
import type { Logger } from '../kernel/logger.ts';
import type { ModelPort } from '../ports/model.ts';
import type { Retriever, WebSearch } from '../ports/retriever.ts';
import type { LeaseGrant, Store } from '../ports/store.ts';
import { createMemoryWorkQueue } from '../transport/memory-work-queue.ts';

export interface GenerationOptions {
  readonly store: Store;
  readonly datasetId: DatasetId;
  readonly runId: RunId;
  readonly lease: LeaseGrant;
  readonly dialogue: DialogueContext;
  readonly inputs: InputsBase;
  readonly totalSamples: number;
  /** What 0.1.0 had done of this run. @default nothing */
  readonly earlier?: readonly EarlierCounts[];
  /** Conversations that are generated side by side. */
  readonly batchSize: number;
  readonly consecutiveDropsMax: number;
  readonly port: ModelPort;
  readonly strategy: Strategy;
  readonly roleStrategies: Partial<Record<Role, Strategy>>;
  readonly retriever: Retriever;
  readonly webSearch: WebSearch | null;
  /** Appends what is committed to the files. */
  readonly project: () => Promise<void>;
  readonly patienceMs: number;
  readonly shutdownGraceMs: number;
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
  readonly view: () => Promise<RunView>;
  readonly calls: ModelCalls;
  readonly actors: () => readonly ActorInfo[];
  /** Brings the files up to date. @throws DlgforgeError `output`. */
  readonly flush: () => Promise<void>;
  close(): Promise<void>;
}

function troubleOf(error: unknown): RunTrouble {
  return {
    code: error instanceof DlgforgeError ? error.code : 'run_failed',
    message: `${messageOf(error)} (see logs/run.log)`,
  };
}

const NODE = 'local';
const CONVERSATIONS_PER_WORKER = 64;
/** Finished conversations that may wait for lower ranks, per open one. */
const WAITING_PER_OPEN = 4;
const WAITING_MIN = 64;
const LOOK_UPS_AT_ONCE = 4;
const EXPORT_PAUSE_MS = 300;
const FLUSH_TIMEOUT_MS = 24 * 3_600_000;

export function startGeneration(options: GenerationOptions): Generation {
  const { store, port, clock, logger, dialogue, batchSize } = options;
  const { languages } = dialogue.settings;
  const system = createActorSystem({
    node: NODE,
    logger,
    clock,
    ...(options.strictMessages === undefined ? {} : { strictMessages: options.strictMessages }),
  });
  const directory = createDirectory();
  const queue = createMemoryWorkQueue();

  const router = system.spawn(
    'endpoint-router',
    endpointRouter({
      runs: [
        {
          runId: options.runId,
          endpoints: port.endpoints,
          strategy: options.strategy,
          roleStrategies: options.roleStrategies,
        },
      ],
    }),
  );
  const calls = createModelCalls({
    router: createRouterClient({ messenger: system, router, runId: options.runId, name: NODE }),
    port,
    clock,
    logger,
    patienceMs: options.patienceMs,
    ...(options.random === undefined ? {} : { random: options.random }),
  });
  const exporterRef = system.spawn(
    'exporter',
    exporter({ catchUp: options.project, pauseMs: EXPORT_PAUSE_MS }),
  );

  const waitingMax = Math.max(WAITING_MIN, WAITING_PER_OPEN * batchSize);
  const window = batchSize + waitingMax;
  directory.retriever = system.spawn(
    'retriever',
    retriever({ retriever: options.retriever, parallel: LOOK_UPS_AT_ONCE, waitingMax: 16 * window }),
  );
  const workerCount = Math.ceil(window / CONVERSATIONS_PER_WORKER);
  const workers = Array.from({ length: workerCount }, (_, number) =>
    system.spawn<WorkerMessage>(
      `worker-${number}`,
      worker({
        dialogue,
        inputs: options.inputs,
        journal: store.journal,
        modelCalls: calls,
        usedName: (role, endpoint) => port.usedName(role, endpoint),
        webSearch: options.webSearch,
        directory,
        queue,
        capacity: CONVERSATIONS_PER_WORKER,
      }),
    ),
  );

  let ended: (end: RunEnd) => void = () => undefined;
  const end = new Promise<RunEnd>((resolve) => {
    ended = resolve;
  });
  const coordinatorRef = system.spawn<CoordinatorMessage>(
    'coordinator',
    coordinator({
      store,
      datasetId: options.datasetId,
      runId: options.runId,
      lease: options.lease,
      languages: languages.map((language) => language.name),
      totalSamples: options.totalSamples,
      earlier: options.earlier ?? [],
      limits: { openMax: batchSize, waitingMax, consecutiveDropsMax: options.consecutiveDropsMax },
      turnCountOf: (rank) => dialogue.planner.conversation(rank.languageIndex, rank.index).turnCount,
      queue,
      directory,
      workers,
      exporter: exporterRef,
      shutdownGraceMs: options.shutdownGraceMs,
      onEnd: ended,
    }),
  );
  for (const ref of [coordinatorRef, router, exporterRef, directory.retriever, ...workers]) {
    system.watch(ref, ({ reason, error }) => {
      if (reason !== 'stopped') ended({ type: 'failed', trouble: troubleOf(error) });
    });
  }

  return {
    end,
    calls,
    stop: () => system.tell<CoordinatorMessage>(coordinatorRef, { type: 'StopRun' }),
    view: () =>
      system.ask<CoordinatorMessage, RunView>(coordinatorRef, (replyTo) => ({ type: 'GetRunView', replyTo })),
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
