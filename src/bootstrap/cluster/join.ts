/**
 * Makes this process a node of a cluster: network, store, actor system, membership. Everything that a
 * process does in a cluster stands on what this returns.
 */
import { hostname } from 'node:os';
import { type Metrics, noMetrics } from '../../kernel/metrics.ts';
import { joinMembership, type JoinedMembership } from '../../actors/cluster/membership.ts';
import { watchStore } from '../../actors/cluster/store-sight.ts';
import { createActorSystem } from '../../actors/runtime/actor-system.ts';
import type { ActorSystem } from '../../actors/runtime/types.ts';
import { systemClock } from '../../kernel/clock.ts';
import { type DlgforgeError, invariant } from '../../kernel/errors.ts';
import { freshHexId } from '../../kernel/ids.ts';
import type { Logger } from '../../kernel/logger.ts';
import type { BlobStore } from '../../ports/blob-store.ts';
import type { NodeKind } from '../../ports/membership.ts';
import { CLUSTER_HOST, type HolderInfo, type Store } from '../../ports/store.ts';
import type { Transport, TransportEndpoint } from '../../ports/transport.ts';
import type { WorkQueue } from '../../ports/work-queue.ts';
import { openStore } from '../../store/open-store.ts';
import { connectNats, type NatsLink } from '../../transport/nats/connection.ts';
import { meteredQueue } from '../metrics/metered-queue.ts';
import { meteredStore } from '../metrics/metered-store.ts';
import { actorSource, membershipSource } from '../metrics/sources.ts';
import { BUILD, PROTOCOL } from '../version.ts';
import { type ClusterAddress, withoutLogin } from './find-cluster.ts';

export interface StoreLimits {
  readonly poolMin: number;
  readonly poolMax: number;
  readonly statementTimeoutMs: number;
}

export interface JoinOptions {
  readonly address: ClusterAddress;
  readonly kind: NodeKind;
  /** @default a fresh one from the host's name */
  readonly name?: string;
  readonly parent?: string | null;
  readonly labels?: Readonly<Record<string, string>>;
  readonly status?: Readonly<Record<string, unknown>>;
  /** The command line, shown to others that meet our holds. */
  readonly command: string;
  readonly limits?: Partial<StoreLimits>;
  readonly runtimeDir: string | undefined;
  readonly logger: Logger;
  /** @default nothing is counted */
  readonly metrics?: Metrics;
  /** Told what is waited for, and null when that is over. */
  readonly onStatus: (text: string | null) => void;
  /** The cluster speaks a protocol too far from this node's: it must not go on. */
  readonly onRefused?: (why: DlgforgeError) => void;
  /** The others have the store, and this node waits for it: what it has is to go to them. */
  readonly onCutOff?: () => void;
}

export interface ClusterNode {
  readonly name: string;
  readonly command: string;
  readonly address: ClusterAddress;
  readonly store: Store;
  readonly system: ActorSystem;
  readonly membership: JoinedMembership;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** Who takes a lease here. */
  readonly holder: HolderInfo;
  queue(): Promise<WorkQueue>;
  blobs(): Promise<BlobStore>;
  /** Leaves: others hear of it at once. Idempotent. */
  close(): Promise<void>;
}

const HOST_PART_MAX = 40;

/** Letters, digits and dashes of the host's name, and what makes it this process's alone. */
export function freshNodeName(): string {
  const host = hostname()
    .replaceAll(/[^A-Za-z0-9-]/g, '-')
    .slice(0, HOST_PART_MAX);
  return `${host}-${freshHexId().slice(0, 8)}`;
}

/** The store of a cluster. @throws DlgforgeError `store`. */
export function openClusterStore(
  options: Pick<JoinOptions, 'address' | 'limits' | 'runtimeDir' | 'logger' | 'onStatus'>,
): Promise<Store> {
  const { address, limits, runtimeDir, logger, onStatus } = options;
  const { postgres } = address;
  return openStore({
    dsn: postgres.type === 'dsn' ? postgres.dsn : undefined,
    stateDir: postgres.type === 'embedded' ? postgres.stateDir : '',
    runtimeDir,
    ...(limits?.poolMin === undefined ? {} : { poolMin: limits.poolMin }),
    ...(limits?.poolMax === undefined ? {} : { poolMax: limits.poolMax }),
    ...(limits?.statementTimeoutMs === undefined ? {} : { statementTimeoutMs: limits.statementTimeoutMs }),
    onWaiting: onStatus,
    logger,
  });
}

/** A command that only looks has something to show also while the database is away. */
async function storeOf(options: JoinOptions): Promise<Store> {
  try {
    return await openClusterStore(options);
  } catch (error) {
    if (options.kind !== 'client') throw error;
    return absentStore(error);
  }
}

/** Every use of it fails with what kept it from being opened. */
function absentStore(cause: unknown): Store {
  const refuse = async (): Promise<never> => await Promise.reject(cause);
  const absent: Partial<Store> = { description: 'not reachable', close: async () => undefined };
  return new Proxy(absent, {
    get: (known, name) => (name in known ? Reflect.get(known, name) : refuse),
  }) as Store;
}

/** @throws DlgforgeError `transport`, `store`, or `refused` when the cluster's version is too far from ours. */
export async function joinCluster(options: JoinOptions): Promise<ClusterNode> {
  const { address, kind, parent = null, logger, command, onStatus, metrics = noMetrics } = options;
  const name = options.name ?? freshNodeName();
  await using undo = new AsyncDisposableStack();
  onStatus(`connecting to NATS at ${address.natsUrls.map(withoutLogin).join(', ')}`);
  const link: NatsLink = await connectNats({
    urls: address.natsUrls,
    ...(address.natsToken === null ? {} : { token: address.natsToken }),
    ...(address.tls === null ? {} : { tls: address.tls }),
    ...(address.nkeySeedFile === null ? {} : { nkeySeedFile: address.nkeySeedFile }),
    name: `dlgforge ${name}`,
    namespace: address.namespace,
    logger,
    onStatus,
  });
  undo.defer(() => link.close());
  const { system, endpoint } = await startSystem(name, link.transport, logger, metrics);
  undo.defer(() => system.stop());
  const membership = joinMembership({
    endpoint,
    card: {
      node: name,
      kind,
      parent,
      host: hostname(),
      pid: process.pid,
      startedAtMs: Date.now(),
      protocol: PROTOCOL,
      build: BUILD,
      labels: options.labels ?? {},
      leads: [],
      status: options.status ?? {},
    },
    clock: systemClock,
    logger,
    onRefused: (why) => (options.onRefused ?? (() => undefined))(why),
  });
  undo.defer(() => membership.leave());
  onStatus('joining the cluster');
  await membership.ready();
  // Only now: opening it may bring its tables up to date, and a node that is refused must not have done so.
  onStatus('opening the store');
  let isWaiting = false;
  const onWaiting = (text: string | null): void => {
    isWaiting = text !== null;
    onStatus(text);
  };
  const store = meteredStore(await storeOf({ ...options, onStatus: onWaiting }), metrics);
  undo.defer(() => store.close());
  const { onCutOff } = options;
  if (kind !== 'client')
    undo.defer(
      watchStore({
        membership,
        clock: systemClock,
        isWaiting: () => isWaiting,
        ...(onCutOff === undefined ? {} : { onCutOff }),
      }),
    );
  onStatus(null);
  if (metrics.isOn) {
    const refusedBroadcasts = (): number =>
      [...membership.refusedBySender.values()].reduce((sum, count) => sum + count, 0);
    metrics.source(actorSource(system, () => link.transport.stats().refused + refusedBroadcasts()));
    metrics.source(membershipSource(membership));
  }
  const stack = undo.move();
  let closing: Promise<void> | null = null;
  return {
    name,
    command,
    address,
    store,
    system,
    membership,
    logger,
    metrics,
    holder: { host: CLUSTER_HOST, pid: process.pid, processKey: name, command, sinceMs: Date.now() },
    queue: async () => meteredQueue(await link.workQueue(), metrics),
    blobs: () => link.blobs(),
    close() {
      closing ??= stack.disposeAsync();
      return closing;
    },
  };
}

/** The membership speaks through the same endpoint as the actors. */
async function startSystem(
  node: string,
  transport: Transport,
  logger: Logger,
  metrics: Metrics,
): Promise<{ readonly system: ActorSystem; readonly endpoint: TransportEndpoint }> {
  let endpoint: TransportEndpoint | null = null;
  const observed: Transport = {
    async attach(name, receive) {
      endpoint = await transport.attach(name, receive);
      return endpoint;
    },
  };
  const system = await createActorSystem({ node, logger, metrics, transport: observed });
  invariant(endpoint !== null, 'a system with a transport is attached');
  return { system, endpoint };
}
