/**
 * Leads a run on this node: the coordinator with its committer and waves, under the dataset's lease. What
 * it needs comes from the store, so every node can do it.
 */
import type { RouterMessage } from '../../actors/endpoint-router/router-messages.ts';
import type { Leadership } from '../../actors/cluster/singletons.ts';
import type { RunEnd } from '../../actors/messages.ts';
import { actorRef } from '../../actors/runtime/types.ts';
import type { Environment } from '../../config/environment.ts';
import { DlgforgeError, isDlgforgeError, messageOf } from '../../kernel/errors.ts';
import type { RunId } from '../../kernel/ids.ts';
import type { LeaseGrant, RunStatus, Store } from '../../ports/store.ts';
import { decodeRunEvent, runEventsId } from '../../protocol/run-events.ts';
import type { EndpointPlan } from '../../llm/plan-endpoints.ts';
import { isServed } from '../endpoint-changes.ts';
import { type LeaderOptions, startLeader } from '../leader.ts';
import { type RunEndpoints, watchRunEndpoints } from '../run-endpoints.ts';
import { leadReplicas } from '../vllm/lead-replicas.ts';
import { lastEventSeq, unlessAborted } from './follow.ts';
import type { ClusterNode } from './join.ts';
import { ROUTER } from './names.ts';
import { loadRunParts, type RunParts } from './run-parts.ts';
import { readSpec } from './run-spec.ts';

export interface LeadRunOptions {
  readonly node: ClusterNode;
  readonly environment: Environment;
  readonly runId: RunId;
  readonly lease: LeaseGrant;
  /** Aborts when this node is not to lead it after all. */
  readonly signal: AbortSignal;
}

/** The router may be new, or may have missed it. */
const REGISTER_MS = 2_000;

/** @throws DlgforgeError when this node cannot lead it, `cancelled` when it is not to any more. */
export async function leadRun(options: LeadRunOptions): Promise<Leadership> {
  const { node, environment, runId, lease, signal } = options;
  const { store, system, membership, logger } = node;
  // Whoever led it may have brought it to its end a moment ago.
  const isOn = await unlessAborted(isStillOn(options), signal);
  if (isOn === false) return { ended: Promise.resolve('done'), stop: () => Promise.resolve() };
  const queue = await unlessAborted(node.queue(), signal);
  const parts = await unlessAborted(loadRunParts({ store, runId, environment, logger }), signal);
  if (queue === null || parts === null) throw notToLead();
  await using led = new AsyncDisposableStack();
  let registration: Registration | null = null;
  const endpoints = await unlessAborted(
    watchEndpoints(options, parts, () => registration?.now()),
    signal,
  );
  if (endpoints === null) throw notToLead();
  led.defer(() => endpoints.stop());
  registration = keepRegistered(node, parts, () => endpoints.plan);
  led.defer(() => registration.stop());
  const replicas = leadReplicas(node, parts);
  led.defer(() => replicas?.stop());
  // A conversation that is opened before anybody serves would only wait.
  await replicas?.untilServed(signal);
  if (signal.aborted) throw notToLead();
  const ended = Promise.withResolvers<'done' | 'lost' | Error>();

  const finish = async (end: Parameters<LeaderOptions['onEnd']>[0]): Promise<void> => {
    if (end.type === 'superseded') return ended.resolve('lost');
    try {
      await store.setRunStatus(runId, lease, statusOf(end), troubleOf(end));
      queue.drop(runId);
      endpoints.stop();
      registration.end();
      ended.resolve('done');
    } catch (error) {
      ended.resolve(isDlgforgeError(error, 'stale_epoch') ? 'lost' : asError(error));
    }
  };

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
    ...(replicas === null ? {} : { whyPaused: () => replicas.whyPaused() }),
    onEnd: (end) => void finish(end),
  });
  logger.log('info', 'run', `[run] ${runId} is led by ${node.name} (epoch ${lease.epoch})`);

  led.defer(() => leader.stop());
  const all = led.move();
  return { ended: ended.promise, stop: () => all.disposeAsync() };
}

const notToLead = (): DlgforgeError =>
  new DlgforgeError('cancelled', 'This node is not to lead the run any more.');

/** The run's endpoints, as they change. */
async function watchEndpoints(
  { node: { store, logger }, runId, signal }: LeadRunOptions,
  { plan }: RunParts,
  onChange: () => void,
): Promise<RunEndpoints> {
  // A leader sends nothing, so it lacks no key.
  const keyOf = () => () => '';
  const endpoints = await watchRunEndpoints({ store, runId, plan, keyOf, publishes: true, logger, onChange });
  if (signal.aborted) endpoints.stop();
  return endpoints;
}

/** False when it has ended; then its status says so. */
async function isStillOn({ node: { store }, runId, lease }: LeadRunOptions): Promise<boolean> {
  if (!(await store.activeRuns()).some(({ id }) => id === runId)) return false;
  const end = await unrecordedEnd(store, runId);
  if (end === null) return true;
  await store.setRunStatus(runId, lease, statusOf(end), troubleOf(end));
  return false;
}

/** The end that a leader has written into the events, and did not live to write into the status. */
async function unrecordedEnd(store: Store, runId: RunId): Promise<RunEnd | null> {
  const last = await lastEventSeq(store, runId);
  const { submittedAfter } = readSpec(runId, await store.runSpec(runId));
  if (last <= submittedAfter) return null;
  const [stored] = await store.journal.pick(runEventsId(runId), [last]);
  const event = stored === undefined ? null : decodeRunEvent(stored.event);
  return event?.type === 'RunEnded' ? event.end : null;
}

const troubleOf = (end: RunEnd): string | null => (end.type === 'failed' ? end.trouble.message : null);
const statusOf = (end: RunEnd): RunStatus => end.type;
const asError = (error: unknown): Error => (error instanceof Error ? error : new Error(messageOf(error)));

interface Registration {
  /** The endpoints have changed. */
  now(): void;
  /** Others lead the run now, and register it. */
  stop(): void;
  /** The run is over. */
  end(): void;
}

/** Tells the router, whichever node runs it, what endpoints the run may use. */
function keepRegistered(
  { system, membership }: ClusterNode,
  parts: RunParts,
  planNow: () => EndpointPlan,
): Registration {
  const { runId, specsOf, strategy, roleStrategies, asksFirst } = parts;
  const tell = (message: RouterMessage): void => {
    const leader = membership.leaderOf(ROUTER);
    if (leader !== null) system.tell(actorRef<RouterMessage>(leader.node, ROUTER), message);
  };
  const register = (): void => {
    const plan = planNow();
    // Calls of a run that the router does not know wait; those of a role without an endpoint would fail.
    if (!isServed(plan)) return;
    const endpoints = specsOf(plan);
    tell({ type: 'RegisterRun', runId, endpoints, strategy, roleStrategies, asksFirst });
  };
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
    now: register,
    stop,
    end() {
      stop();
      tell({ type: 'UnregisterRun', runId });
    },
  };
}
