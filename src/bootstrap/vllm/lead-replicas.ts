/** The replicas of a run of the cluster, looked after by whoever leads the run. */
import { vllmHostRef } from '../../actors/vllm/host-messages.ts';
import { startReplicaController } from '../../actors/vllm/replica-controller.ts';
import { systemClock } from '../../kernel/clock.ts';
import type { ClusterNode } from '../cluster/join.ts';
import type { RunParts } from '../cluster/run-parts.ts';
import { endpointShape, wantedReplicas } from './replica-order.ts';

export interface LedReplicas {
  /** Resolves when a replica serves, or the run is not to go on for now, or `signal` aborts. */
  untilServed(signal: AbortSignal): Promise<void>;
  /** Why the run was paused from here; null when a person has asked for it. */
  whyPaused(): string | null;
  /** Others look after them now; the servers run on. */
  stop(): Promise<void>;
}

/** Null for a run that brings its endpoints with it. */
export function leadReplicas(node: ClusterNode, parts: RunParts): LedReplicas | null {
  const { config, restored, runId } = parts;
  if (config.llm.backend !== 'vllm_managed') return null;
  const { store, system, membership, logger } = node;
  let reason: string | null = null;
  const controller = startReplicaController({
    messenger: system,
    hosts: () =>
      new Map(
        membership
          .members()
          .filter(({ card }) => card.kind === 'agent')
          .map(({ card }) => [card.node, vllmHostRef(card.node)]),
      ),
    wanted: wantedReplicas(config, runId, null),
    endpoint: endpointShape(config, restored.roles),
    endpoints: {
      read: async () => (await store.runEndpoints(runId)).endpoints,
      write: (endpoint) => store.setRunEndpoint(runId, endpoint),
    },
    runWanted: async () => {
      const wanted = await store.runWanted(runId);
      if (wanted === 'run') reason = null;
      return wanted;
    },
    async onNoneLeft(why) {
      logger.log('error', 'run', `[run] ${runId} pauses: ${why}`);
      reason = `${why}\nPut it right and go on with: dlgforge runs resume ${runId}`;
      await store.setRunWanted(runId, 'pause');
    },
    clock: systemClock,
    logger,
  });
  return {
    untilServed: (signal) => controller.untilServed(signal),
    whyPaused: () => reason,
    stop: () => controller.stop(),
  };
}
