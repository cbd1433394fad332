/** Leading in a simulated cluster: what `bootstrap/cluster/{leading,lead-run}.ts` do, by the process's own clock. */
import { confirmedLease } from '../../../src/actors/cluster/confirmed-lease.ts';
import { contend, type Contender, type Leadership } from '../../../src/actors/cluster/singletons.ts';
import { runSingleton } from '../../../src/actors/directory.ts';
import { endpointRouter, ROUTER_PATH } from '../../../src/actors/endpoint-router/actor.ts';
import type { RouterMessage } from '../../../src/actors/endpoint-router/router-messages.ts';
import type { Outcome, RunEnd } from '../../../src/actors/messages.ts';
import { actorRef } from '../../../src/actors/runtime/types.ts';
import { ROUTER } from '../../../src/bootstrap/cluster/names.ts';
import { type LeaderParts, startLeader } from '../../../src/bootstrap/leader.ts';
import { type RunEndpoints, watchRunEndpoints } from '../../../src/bootstrap/run-endpoints.ts';
import { isDlgforgeError, messageOf } from '../../../src/kernel/errors.ts';
import type { RunId } from '../../../src/kernel/ids.ts';
import type { LeaseGrant } from '../../../src/ports/store.ts';
import { specsOf } from './model-server.ts';
import { repeatedly, type SimNode } from './sim-node.ts';

export interface SimLeading {
  /** Gives everything up, so that others take it at once. */
  stop(): Promise<void>;
}

const LOOK_MS = 500;
const REGISTER_MS = 2_000;

export function startLeading(node: SimNode, parts: LeaderParts): SimLeading {
  const { membership, store, holder, clock, logger } = node;
  const common = { membership, store, holder, clock, logger };
  const contenders = new Map<RunId, Contender>();
  const router = contend({
    ...common,
    name: ROUTER,
    start: (lease) => Promise.resolve(leadRouter(node, lease)),
  });
  let isLooking = false;

  const look = async (): Promise<void> => {
    if (isLooking) return;
    isLooking = true;
    try {
      const active = await store.activeRuns();
      for (const { id, datasetId } of active) {
        if (contenders.has(id)) continue;
        const contender = contend({
          ...common,
          name: runSingleton(id),
          leaseName: `dataset/${datasetId}`,
          start: async (lease) => {
            const leadership = await leadRun(node, parts, id, lease);
            void leadership.ended.then((end) => end === 'done' && contenders.delete(id));
            return leadership;
          },
        });
        contenders.set(id, contender);
      }
      for (const [id, contender] of contenders) {
        if (active.some((run) => run.id === id)) continue;
        contenders.delete(id);
        await contender.stop();
      }
    } catch (error) {
      logger.log('warn', 'cluster', `[cluster] cannot look for runs: ${messageOf(error)}`);
    } finally {
      isLooking = false;
    }
  };
  const endLooking = repeatedly(clock, LOOK_MS, () => void look());

  return {
    async stop() {
      endLooking();
      await Promise.all([router, ...contenders.values()].map((contender) => contender.stop()));
    },
  };
}

function leadRouter({ system, membership, store }: SimNode, lease: LeaseGrant): Leadership {
  const ended = Promise.withResolvers<'done' | 'lost' | Error>();
  const adoptFrom = (): readonly string[] =>
    membership
      .members()
      .filter(({ card }) => card.kind === 'worker')
      .map(({ card }) => card.node);
  const ref = system.spawn(
    ROUTER_PATH,
    endpointRouter({
      runs: [],
      epoch: lease.epoch,
      inContact: confirmedLease({ membership, store, lease, onLost: () => ended.resolve('lost') }),
      departed: (name) => membership.departed(name),
      adoptFrom,
    }),
  );
  system.watch(ref, ({ error }) => ended.resolve(error instanceof Error ? error : 'done'));
  return { ended: ended.promise, stop: () => system.stopActor(ref) };
}

async function leadRun(
  node: SimNode,
  parts: LeaderParts,
  runId: RunId,
  lease: LeaseGrant,
): Promise<Leadership> {
  const { store, system, membership, queue } = node;
  const isOn = (await store.activeRuns()).some(({ id }) => id === runId);
  if (!isOn) return { ended: Promise.resolve('done'), stop: () => Promise.resolve() };
  // The spec is read from the store.
  await store.runSpec(runId);
  let register: (() => void) | null = null;
  const endpoints = await watchRunEndpoints({
    store,
    runId,
    plan: node.port.plan,
    keyOf: () => () => null,
    publishes: true,
    logger: node.logger,
    clock: node.clock,
    onChange: () => register?.(),
  });
  const ended = Promise.withResolvers<'done' | 'lost' | Error>();
  const registration = keepRegistered(node, runId, endpoints);
  register = registration.now;
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
    onEnd: (outcome) => void finish(outcome),
  });

  const finish = async (outcome: Outcome): Promise<void> => {
    if (outcome.type === 'superseded') return ended.resolve('lost');
    try {
      await store.setRunStatus(runId, lease, outcome.type, troubleIn(outcome));
      queue.drop(runId);
      endpoints.stop();
      ended.resolve('done');
    } catch (error) {
      ended.resolve(isDlgforgeError(error, 'stale_epoch') ? 'lost' : new Error(messageOf(error)));
    }
  };

  return {
    ended: ended.promise,
    async stop() {
      endpoints.stop();
      registration.end();
      await leader.stop();
    },
  };
}

const troubleIn = (end: RunEnd): string | null => (end.type === 'failed' ? end.trouble.message : null);

interface Registration {
  readonly now: () => void;
  readonly end: () => void;
}

function keepRegistered(
  { system, membership, clock }: SimNode,
  runId: RunId,
  endpoints: RunEndpoints,
): Registration {
  const register = (): void => {
    const leader = membership.leaderOf(ROUTER);
    if (leader === null) return;
    system.tell(actorRef<RouterMessage>(leader.node, ROUTER), {
      type: 'RegisterRun',
      runId,
      endpoints: specsOf(endpoints.plan),
      strategy: 'weighted_least_inflight',
      roleStrategies: {},
    });
  };
  const endRepeating = repeatedly(clock, REGISTER_MS, register);
  const endListening = membership.onChange(({ type }) => {
    if (type === 'leads') register();
  });
  return {
    now: register,
    end() {
      endRepeating();
      endListening();
    },
  };
}
