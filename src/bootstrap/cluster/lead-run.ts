/**
 * Leads a run on this node: the coordinator with its committer and waves, under the dataset's lease. What
 * it needs comes from the store, so every node can do it.
 */
import { startLeader } from '../generation.ts';
import type { RouterMessage } from '../../actors/endpoint-router/router-messages.ts';
import type { Leadership } from '../../actors/cluster/singletons.ts';
import type { RunEnd } from '../../actors/messages.ts';
import { actorRef } from '../../actors/runtime/types.ts';
import type { Environment } from '../../config/environment.ts';
import { DlgforgeError, messageOf } from '../../kernel/errors.ts';
import type { RunId } from '../../kernel/ids.ts';
import type { LeaseGrant, RunStatus } from '../../ports/store.ts';
import type { ClusterNode } from './join.ts';
import { ROUTER } from './names.ts';
import { loadRunParts, type RunParts } from './run-parts.ts';

export interface LeadRunOptions {
  readonly node: ClusterNode;
  readonly environment: Environment;
  readonly runId: RunId;
  readonly lease: LeaseGrant;
}

/** The router may be new, or may have missed it. */
const REGISTER_MS = 2_000;

export async function leadRun({ node, environment, runId, lease }: LeadRunOptions): Promise<Leadership> {
  const { store, system, membership, logger } = node;
  // Whoever led it may have brought it to its end a moment ago.
  const isOn = (await store.activeRuns()).some(({ id }) => id === runId);
  if (!isOn) return { ended: Promise.resolve('done'), stop: () => Promise.resolve() };
  const queue = await node.queue();
  const parts = await loadRunParts({ store, runId, environment, logger });
  const ended = Promise.withResolvers<'done' | 'lost' | Error>();
  const registration = keepRegistered(node, parts);
  const leader = startLeader({
    system,
    store,
    lease,
    runId,
    parts,
    queue,
    fresh: false,
    livingWorkers: () =>
      membership
        .members()
        .filter(({ card }) => card.kind === 'worker')
        .map(({ card }) => card.node),
    wanted: () => store.runWanted(runId),
    onEnd: (end) => void finish(end),
  });
  logger.log('info', 'run', `[run] ${runId} is led by ${node.name} (epoch ${lease.epoch})`);

  const finish = async (end: Parameters<Parameters<typeof startLeader>[0]['onEnd']>[0]): Promise<void> => {
    if (end.type === 'superseded') return ended.resolve('lost');
    try {
      await store.setRunStatus(
        runId,
        lease,
        statusOf(end),
        end.type === 'failed' ? end.trouble.message : null,
      );
      queue.drop(runId);
      registration.end();
      ended.resolve('done');
    } catch (error) {
      ended.resolve(error instanceof DlgforgeError && error.code === 'stale_epoch' ? 'lost' : asError(error));
    }
  };

  return {
    ended: ended.promise,
    async stop() {
      registration.stop();
      await leader.stop();
    },
  };
}

const statusOf = (end: RunEnd): RunStatus => end.type;
const asError = (error: unknown): Error => (error instanceof Error ? error : new Error(messageOf(error)));

interface Registration {
  /** Others lead the run now, and register it. */
  stop(): void;
  /** The run is over. */
  end(): void;
}

/** Tells the router, whichever node runs it, what endpoints the run may use. */
function keepRegistered({ system, membership }: ClusterNode, parts: RunParts): Registration {
  const { runId, endpoints, strategy, roleStrategies } = parts;
  const tell = (message: RouterMessage): void => {
    const leader = membership.leaderOf(ROUTER);
    if (leader !== null) system.tell(actorRef<RouterMessage>(leader.node, ROUTER), message);
  };
  const register = (): void => tell({ type: 'RegisterRun', runId, endpoints, strategy, roleStrategies });
  register();
  const timer = setInterval(register, REGISTER_MS);
  const end = membership.onChange((change) => {
    if (change.type === 'leads') register();
  });
  const stop = (): void => {
    clearInterval(timer);
    end();
  };
  return {
    stop,
    end() {
      stop();
      tell({ type: 'UnregisterRun', runId });
    },
  };
}
