/** Working in a simulated cluster: what `bootstrap/cluster/worker.ts` does, by the process's own clock. */
import { clusterDirectory } from '../../../src/actors/directory.ts';
import { createClusterRouterClient } from '../../../src/actors/endpoint-router/cluster-client.ts';
import { createModelCalls, type ModelCalls } from '../../../src/actors/endpoint-router/model-calls.ts';
import { NODE_PATH, nodeActor } from '../../../src/actors/node.ts';
import { retriever } from '../../../src/actors/retriever.ts';
import { conversationPersistenceId } from '../../../src/actors/conversation.ts';
import { ROUTER } from '../../../src/bootstrap/cluster/names.ts';
import { refreshedPort, type RunEndpoints, watchRunEndpoints } from '../../../src/bootstrap/run-endpoints.ts';
import { type RunWorker, startRunWorker } from '../../../src/bootstrap/run-worker.ts';
import type { DialogueContext } from '../../../src/dialogue/conversation.ts';
import { conversationIdOf } from '../../../src/dialogue/settings.ts';
import { messageOf } from '../../../src/kernel/errors.ts';
import type { RunId } from '../../../src/kernel/ids.ts';
import { INPUTS } from '../dialogue-context.ts';
import { memoryRetriever, seaPassages } from '../memory-retriever.ts';
import type { Referee } from './referee.ts';
import { repeatedly, type SimNode } from './sim-node.ts';

interface RunInHand {
  readonly worker: RunWorker;
  readonly endpoints: RunEndpoints;
}

export interface SimWorking {
  readonly conversations: number;
  /** Gives the conversations back. @throws DlgforgeError `timeout`. */
  drain(): Promise<void>;
}

const LOOK_MS = 500;
const DRAIN_MS = 60_000;
const PATIENCE_MS = 900_000;

export function startWorking(node: SimNode, dialogue: DialogueContext, referee: Referee): SimWorking {
  const { system, membership, store, queue, port, clock, logger, dice } = node;
  const holder = system.spawn(
    NODE_PATH,
    nodeActor({
      node: node.name,
      tree: () => system.tree(),
      status: () => ({}),
      onDrain: () => undefined,
      onStop: () => undefined,
    }),
  );
  const router = createClusterRouterClient({
    messenger: system,
    leaderOf: () => membership.leaderOf(ROUTER),
    onLeaderChange: (listener) => membership.onChange(listener),
    inContact: () => membership.inContact(),
    onTakenForLost: (listener) =>
      membership.onChange(({ type, member }) => {
        if (type === 'mistaken') listener(member.card.node);
      }),
    name: node.name,
    holder,
    clock,
  });
  const retrieverRef = system.spawn(
    'retriever',
    retriever({ retriever: memoryRetriever(seaPassages()), parallel: 4, waitingMax: 1_000 }),
  );
  const runs = new Map<RunId, RunInHand>();
  let looking: Promise<void> | null = null;

  const takePart = async (runId: RunId): Promise<RunInHand> => {
    const endpoints = await watchRunEndpoints({
      store,
      runId,
      plan: port.plan,
      keyOf: () => () => null,
      logger,
      clock,
      onChange: (plan) => port.setEndpoints(plan.endpoints),
    });
    const worker = startRunWorker({
      system,
      store,
      parts: { runId, dialogue, inputs: INPUTS, webSearch: null, lacks: [], port },
      modelCalls: named(
        createModelCalls({
          router: router.forRun(runId),
          port: refreshedPort(port, endpoints, clock),
          clock,
          logger,
          patienceMs: PATIENCE_MS,
          random: () => dice.unit(),
        }),
        runId,
        dialogue,
        referee,
      ),
      directory: clusterDirectory({ membership, runId, retriever: () => retrieverRef }),
      queue,
      onGivenUp: (error) =>
        referee.broken('liveness', `${node.name} gives its worker up: ${messageOf(error)}`),
    });
    return { worker, endpoints };
  };

  const look = async (): Promise<void> => {
    try {
      const active = await store.activeRuns();
      for (const [id, { worker, endpoints }] of runs) {
        if (active.some((run) => run.id === id)) continue;
        runs.delete(id);
        endpoints.stop();
        await worker.stop();
      }
      for (const { id } of active) if (!runs.has(id)) runs.set(id, await takePart(id));
    } catch (error) {
      logger.log('warn', 'cluster', `[worker] cannot look for runs: ${messageOf(error)}`);
    }
  };
  const endLooking = repeatedly(clock, LOOK_MS, () => {
    looking ??= look().finally(() => {
      looking = null;
    });
  });

  return {
    get conversations() {
      return [...runs.values()].reduce((sum, { worker }) => sum + worker.conversations(), 0);
    },
    async drain() {
      endLooking();
      await looking;
      await Promise.all([...runs.values()].map(({ worker }) => worker.handBack(DRAIN_MS)));
      for (const { endpoints } of runs.values()) endpoints.stop();
      await Promise.all([...runs.values()].map(({ worker }) => worker.stop()));
      router.close();
    },
  };
}

/** The referee learns which conversation each request is of. */
function named(calls: ModelCalls, runId: RunId, { settings }: DialogueContext, referee: Referee): ModelCalls {
  const journals = new Map<string, string>();
  for (const languageIndex of settings.languages.keys())
    for (let index = 0; index < 200; index += 1)
      journals.set(
        conversationIdOf(settings, languageIndex, index),
        conversationPersistenceId(runId, languageIndex, index),
      );
  return {
    call(request, options) {
      referee.asks(request, journals.get(options.conversation) ?? '?');
      return calls.call(request, options);
    },
    stats: () => calls.stats(),
    counted: () => calls.counted(),
  };
}
