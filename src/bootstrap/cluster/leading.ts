/**
 * What a node does so that no singleton is ever missing: it contends for the router, and for every run
 * that is to go on. Owns the contenders of this process.
 */
import { runSingleton } from '../../actors/directory.ts';
import { endpointRouter, ROUTER_PATH } from '../../actors/endpoint-router/actor.ts';
import { confirmedLease } from '../../actors/cluster/confirmed-lease.ts';
import { contend, type Contender, type Leadership } from '../../actors/cluster/singletons.ts';
import type { Environment } from '../../config/environment.ts';
import { systemClock } from '../../kernel/clock.ts';
import { messageOf } from '../../kernel/errors.ts';
import type { RunId } from '../../kernel/ids.ts';
import type { LeaseGrant } from '../../ports/store.ts';
import { tellRouter } from '../metrics/router-metrics.ts';
import type { ClusterNode } from './join.ts';
import { ROUTER } from './names.ts';

export interface LeadingOptions {
  readonly node: ClusterNode;
  readonly environment: Environment;
  /** Told of runs that go on, and when none does. */
  readonly onActive: (runs: readonly RunId[]) => void;
}

export interface Leading {
  /** Looks for runs now instead of at the next interval. */
  look(): void;
  /** Gives everything up, so that others take it at once. */
  stop(): Promise<void>;
}

const LOOK_MS = 500;

export function startLeading({ node, environment, onActive }: LeadingOptions): Leading {
  const { membership, store, logger, holder } = node;
  const common = { membership, store, holder, clock: systemClock, logger };
  const contenders = new Map<RunId, Contender>();
  const leaving = new Set<Contender>();
  const router = contend({
    ...common,
    name: ROUTER,
    start: (lease) => leadRouter(node, lease),
  });
  let stopped = false;
  let looking = false;

  const look = async (): Promise<void> => {
    if (looking || stopped) return;
    looking = true;
    try {
      const active = await store.activeRuns();
      if (stopped) return;
      const ids = new Set(active.map(({ id }) => id));
      for (const { id, datasetId } of active) {
        if (contenders.has(id)) continue;
        contenders.set(
          id,
          contend({
            ...common,
            name: runSingleton(id),
            // The lease that a local run takes too: a dataset has one writer, wherever it runs (I2).
            leaseName: `dataset/${datasetId}`,
            start: async (lease: LeaseGrant, signal: AbortSignal) => {
              const { leadRun } = await import('./lead-run.ts');
              const leadership = await leadRun({ node, environment, runId: id, lease, signal });
              // A run that is resumed later has a contender anew.
              void leadership.ended.then((end) => end === 'done' && contenders.delete(id));
              return leadership;
            },
          }),
        );
      }
      for (const [id, contender] of contenders) {
        if (ids.has(id)) continue;
        contenders.delete(id);
        // Not waited for: it may take a while, and other runs are to be seen meanwhile.
        leaving.add(contender);
        void contender.stop().finally(() => leaving.delete(contender));
      }
      onActive([...ids]);
    } catch (error) {
      logger.log('warn', 'cluster', `[cluster] cannot look for runs: ${messageOf(error)}`);
    } finally {
      looking = false;
    }
  };
  const timer = setInterval(() => void look(), LOOK_MS);
  void look();

  return {
    look: () => void look(),
    async stop() {
      stopped = true;
      clearInterval(timer);
      await Promise.all([router, ...leaving, ...contenders.values()].map((contender) => contender.stop()));
      contenders.clear();
    },
  };
}

/** One router for all runs and nodes (I7). */
function leadRouter(node: ClusterNode, lease: LeaseGrant): Promise<Leadership> {
  const { system, membership, store } = node;
  const ended = Promise.withResolvers<'done' | 'lost' | Error>();
  const ref = system.spawn(
    ROUTER_PATH,
    endpointRouter({
      runs: [],
      epoch: lease.epoch,
      // In contact is not enough: after a standstill the successor may not have been heard of yet.
      inContact: confirmedLease({ membership, store, lease, onLost: () => ended.resolve('lost') }),
      departed: (name) => membership.departed(name),
      adoptFrom: () =>
        membership
          .members()
          .filter(({ card }) => card.kind === 'worker')
          .map(({ card }) => card.node),
    }),
  );
  const endMetrics = tellRouter(node, ref);
  system.watch(ref, ({ error }) => {
    endMetrics();
    ended.resolve(error instanceof Error ? error : 'done');
  });
  return Promise.resolve({ ended: ended.promise, stop: () => system.stopActor(ref) });
}
