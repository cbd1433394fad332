/** What a cluster looks like now: nodes, runs, endpoints, queue. */
import { runSingleton } from '../../actors/directory.ts';
import type { EndpointStats } from '../../actors/endpoint-router/endpoint-state.ts';
import type { RouterMessage } from '../../actors/endpoint-router/router-messages.ts';
import { actorRef, type ActorInfo } from '../../actors/runtime/types.ts';
import { messageOf } from '../../kernel/errors.ts';
import { runId } from '../../kernel/ids.ts';
import { runsOf, type RunSummary } from '../runs.ts';
import { askNode, nodesOf } from './client.ts';
import type { ClusterNode } from './join.ts';
import { ROUTER } from './names.ts';

export interface NodeStatus {
  readonly node: string;
  readonly kind: string;
  readonly host: string;
  readonly pid: number;
  readonly build: string;
  readonly protocol: number;
  readonly startedAt: string;
  readonly heartbeatAgeMs: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly leads: readonly string[];
  readonly status: Readonly<Record<string, unknown>>;
  readonly workers: readonly {
    readonly node: string;
    readonly pid: number;
    readonly heartbeatAgeMs: number;
    readonly status: Readonly<Record<string, unknown>>;
  }[];
}

export interface ClusterStatus {
  readonly namespace: string;
  readonly nodes: readonly NodeStatus[];
  readonly runs: readonly (RunSummary & { readonly leader: string | null; readonly epoch: number | null })[];
  readonly endpoints: readonly EndpointStats[];
  /** Conversations that wait for a worker; null when it cannot be told. */
  readonly queued: number | null;
  /** What could not be found out, and why. */
  readonly problems: readonly string[];
}

const ASK_MS = 2_000;

export async function clusterStatus(client: ClusterNode): Promise<ClusterStatus> {
  const problems: string[] = [];
  const orNull = async <T>(what: string, value: Promise<T>): Promise<T | null> => {
    try {
      return await value;
    } catch (error) {
      problems.push(`${what}: ${messageOf(error)}`);
      return null;
    }
  };
  const [runs, endpoints, queued] = await Promise.all([
    orNull('runs', activeRuns(client)),
    orNull('endpoints', endpointsOf(client)),
    orNull(
      'queue',
      client
        .queue()
        .then((queue) => queue.counts())
        .then(({ waiting }) => waiting),
    ),
  ]);
  return {
    namespace: client.address.namespace,
    nodes: nodeStatuses(client),
    runs: runs ?? [],
    endpoints: endpoints ?? [],
    queued,
    problems,
  };
}

export function nodeStatuses(client: ClusterNode): readonly NodeStatus[] {
  const members = client.membership.members();
  const nowMs = Date.now();
  return nodesOf(client)
    .map(({ card, lastHeardMs }) => ({
      node: card.node,
      kind: card.kind,
      host: card.host,
      pid: card.pid,
      build: card.build,
      protocol: card.protocol,
      startedAt: new Date(card.startedAtMs).toISOString(),
      heartbeatAgeMs: Math.max(0, nowMs - lastHeardMs),
      labels: card.labels,
      leads: card.leads.map(({ name }) => name),
      status: card.status,
      workers: members
        .filter(({ card: worker }) => worker.kind === 'worker' && worker.parent === card.node)
        .map(({ card: worker, lastHeardMs: heard }) => ({
          node: worker.node,
          pid: worker.pid,
          heartbeatAgeMs: Math.max(0, nowMs - heard),
          status: worker.status,
        })),
    }))
    .toSorted((a, b) => a.startedAt.localeCompare(b.startedAt));
}

async function activeRuns({ store, membership }: ClusterNode): Promise<ClusterStatus['runs']> {
  const ids = new Set((await store.activeRuns()).map(({ id }) => String(id)));
  return (await runsOf(store, ids)).map((run) => {
    const leader = membership.leaderOf(runSingleton(runId(run.id)));
    return { ...run, leader: leader?.node ?? null, epoch: leader?.epoch ?? null };
  });
}

async function endpointsOf({ membership, system }: ClusterNode): Promise<readonly EndpointStats[]> {
  const leader = membership.leaderOf(ROUTER);
  if (leader === null) return [];
  return await system.ask<RouterMessage, readonly EndpointStats[]>(
    actorRef<RouterMessage>(leader.node, ROUTER),
    (replyTo) => ({ type: 'GetStats', replyTo }),
    { timeoutMs: ASK_MS },
  );
}

export interface NodeTree {
  readonly node: string;
  readonly kind: string;
  readonly actors: readonly ActorInfo[];
  /** Why it could not be asked; null when it was. */
  readonly problem: string | null;
}

/** The supervision tree over all nodes; with a run, only what belongs to it. */
export async function actorTree(client: ClusterNode, run: string | null): Promise<readonly NodeTree[]> {
  const members = client.membership.members().filter(({ card }) => card.kind !== 'client');
  return await Promise.all(
    members.map(async ({ card: { node, kind } }): Promise<NodeTree> => {
      try {
        const { actors } = await askNode<{ readonly actors: readonly ActorInfo[] }>(
          client,
          node,
          (replyTo) => ({
            type: 'GetTree',
            replyTo,
          }),
        );
        return {
          node,
          kind,
          actors: run === null ? actors : actors.filter(({ path }) => belongsTo(path, run)),
          problem: null,
        };
      } catch (error) {
        return { node, kind, actors: [], problem: messageOf(error) };
      }
    }),
  );
}

/** Actors of a run have its encoded id in the first part of their path. */
const belongsTo = (path: string, run: string): boolean =>
  (path.split('/')[0] ?? '').split(':').includes(encodeURIComponent(run));
