/** `dlgforge cluster start`: a node in this process until it is drained or stopped, and what a head brings. */
import { mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { nodeEnvironment } from '../../config/dotenv.ts';
import type { Environment } from '../../config/environment.ts';
import { tlsFilesOfNode } from '../../config/nats-tls.ts';
import { DlgforgeError, messageOf } from '../../kernel/errors.ts';
import { freshHexId } from '../../kernel/ids.ts';
import type { FileLogger } from '../../kernel/file-logger.ts';
import { openNodeLogger } from '../metrics/node-logger.ts';
import { openNodeMetrics } from '../metrics/node-metrics.ts';
import { BUILD } from '../version.ts';
import { clusterHome, namespaceFolder } from './address-file.ts';
import {
  type ClusterAddress,
  DEFAULT_NAMESPACE,
  findCluster,
  nkeySeedFileOf,
  secretsIn,
  wantedFromFlags,
  withoutLogin,
} from './find-cluster.ts';
import { type HeadDoor, headDoor } from './head-door.ts';
import { freshNodeName } from './join.ts';
import { keepNewest } from './keep-newest.ts';
import { type RunningNode, startNode } from './node.ts';
import { removeNodeFile, runningNode, writeNodeFile } from './node-file.ts';
import type { Services } from './services.ts';
import { labelsOf, limitsOf, type StartFlags } from './start-flags.ts';

export interface StartOptions {
  readonly flags: StartFlags;
  readonly environment: Environment;
  readonly folder: string;
  readonly command: string;
  readonly onStatus: (text: string | null) => void;
  /** Ends a start that is not over: everything is undone, and the reason thrown. */
  readonly signal: AbortSignal;
}

export interface StartedNode {
  readonly name: string;
  readonly namespace: string;
  readonly logsDir: string;
  /** For the terminal, never for a log. */
  readonly joinLines: readonly string[];
  readonly opened: readonly string[];
  readonly metricsPort: number | null;
  /** Finishes its steps, hands its conversations over, leaves. */
  drain(): Promise<void>;
  /** Leaves soon; what is in hand is done elsewhere. */
  stop(): Promise<void>;
  /** The run that it was started for does not come. */
  unwanted(): void;
  /** When nothing of it is left; rejects when something could not be ended. */
  readonly ended: Promise<void>;
}

const WORKERS = 1;
const BEGINNING_MS = 10 * 60_000;

/** @throws DlgforgeError when the node cannot start, or is told not to; nothing that it started is left then. */
export async function startClusterNode(options: StartOptions): Promise<StartedNode> {
  const { flags, command, signal } = options;
  const environment = nodeEnvironment(options.environment, options.folder);
  const namespace = flags.namespace ?? DEFAULT_NAMESPACE;
  const home = flags.home ?? clusterHome(environment);
  // New in every process, also under a name that a person gave.
  const name = flags.name === undefined ? freshNodeName() : `${flags.name}-${freshHexId().slice(0, 4)}`;
  const nodesDir = join(namespaceFolder(home, namespace), 'nodes');
  const stateDir = flags.stateDir ?? join(nodesDir, name);
  // Its own: the logs of several nodes in one folder would be one log.
  const logsDir = join(stateDir, 'logs');
  await mkdir(stateDir, { recursive: true, mode: 0o700 });
  await keepNewest({ folder: nodesDir, isOne: () => true, isUsed: isRunningIn });
  await using undo = new AsyncDisposableStack();
  const logger = openNodeLogger({ folder: logsDir, node: name });
  undo.defer(() => logger.close());
  // A node in the background has nobody to tell once it is ready.
  const onStatus = (text: string | null): void => {
    if (text !== null) logger.log('info', 'cluster', `[cluster] ${text}`);
    options.onStatus(text);
  };
  let door: HeadDoor | null = null;
  const services =
    flags.head === true
      ? await headServices({ ...options, onStatus }, { namespace, home, environment, logger }, () => {
          door?.renew().catch((error: unknown) => {
            logger.log('warn', 'cluster', `[cluster] the address file: ${messageOf(error)}`);
          });
        })
      : null;
  if (services !== null) {
    undo.defer(() => services.stop());
    const { address, natsServerId } = services;
    door = headDoor({ home, headNode: name, address, natsServerId });
  }
  const address =
    services === null ? await addressOf(flags, environment) : addressOfServices(services, environment);
  logger.redact(secretsIn(address));
  const metrics =
    flags.metricsPort === undefined ? null : openNodeMetrics({ version: BUILD, nodeKind: 'agent' });
  if (metrics !== null) undo.defer(() => metrics.close());
  const starting = startNode({
    address,
    kind: 'agent',
    name,
    labels: labelsOf(flags.labels ?? []),
    limits: limitsOf(flags.storeLimits),
    environment,
    leads: true,
    workers: flags.workers ?? WORKERS,
    gpus: flags.gpus ?? null,
    serversDir: namespaceFolder(home, namespace),
    logsDir,
    cacheDir: join(namespaceFolder(home, namespace), 'cache'),
    folder: options.folder,
    configPath: flags.keysFrom ?? null,
    untilIdle: flags.untilIdle ?? false,
    isHead: services !== null,
    ...(door === null ? {} : { door }),
    ...(metrics === null ? {} : { metrics: metrics.metrics }),
    runtimeDir: environment['XDG_RUNTIME_DIR'],
    command,
    logger,
    onStatus,
  });
  const running = await unlessAborted(starting, signal, (late) => late.stop());
  undo.defer(() => running.stop());
  const served =
    metrics === null || flags.metricsPort === undefined
      ? null
      : await metrics.serve({
          port: flags.metricsPort,
          workers: () => running.workers.running,
          trouble: () => (running.node.membership.inContact() ? null : 'not in contact with NATS'),
        });
  await writeNodeFile(stateDir, {
    node: name,
    namespace,
    address: address.natsUrls.map(withoutLogin).join(','),
  });
  undo.defer(() => removeNodeFile(stateDir, process.pid));
  signal.throwIfAborted();
  onStatus(null);
  const stack = undo.move();
  const ended = untilNothingIsLeft(running, stack);
  ended.catch(() => undefined);
  /** What fails on the way is told by `ended`. */
  const endBy = async (leaving: Promise<void>): Promise<void> => {
    await leaving.catch(() => undefined);
    await ended;
  };
  return {
    name,
    namespace,
    logsDir,
    joinLines: services?.joinLines ?? [],
    opened: services?.opened ?? [],
    metricsPort: served?.port ?? null,
    drain: () => endBy(running.drain()),
    stop: () => endBy(running.stop()),
    unwanted: () => running.unwanted(),
    ended,
  };
}

async function untilNothingIsLeft(running: RunningNode, stack: AsyncDisposableStack): Promise<void> {
  try {
    await running.ended;
  } finally {
    await stack.disposeAsync();
  }
}

/** What comes too late is undone by itself. */
async function unlessAborted<T>(
  starting: Promise<T>,
  signal: AbortSignal,
  undo: (late: T) => Promise<void>,
): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => {
    starting.then(undo).catch(() => undefined);
    aborted.reject(signal.reason);
  };
  if (signal.aborted) onAbort();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([starting, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

/** One that has just begun has not said so yet. */
async function isRunningIn(stateDir: string): Promise<boolean> {
  const { mtimeMs } = await stat(stateDir);
  if (Date.now() - mtimeMs < BEGINNING_MS) return true;
  return (await runningNode(stateDir).catch(() => null)) !== null;
}

async function headServices(
  { flags, onStatus, command, signal }: StartOptions,
  place: {
    readonly namespace: string;
    readonly home: string;
    readonly environment: Environment;
    readonly logger: FileLogger;
  },
  onNatsReplaced: () => void,
): Promise<Services> {
  const { namespace, home, environment, logger } = place;
  const { startServices } = await import('./services.ts');
  const wanted = wantedFromFlags(flags, environment);
  const natsUrl = flags.nats ?? (wanted.address === 'auto' ? undefined : wanted.address);
  return await startServices({
    namespace,
    home,
    ...(flags.host === undefined ? {} : { host: flags.host }),
    natsUrl,
    natsToken: wanted.natsToken ?? undefined,
    postgresDsn: wanted.dsn ?? undefined,
    ...(flags.databaseDir === undefined ? {} : { databaseDir: flags.databaseDir }),
    ports: { nats: flags.port },
    natsServer: environment['DLGFORGE_NATS_SERVER'],
    runtimeDir: environment['XDG_RUNTIME_DIR'],
    // The servers outlive a head that is killed: no node is special.
    detached: true,
    command,
    signal,
    onNatsReplaced,
    logger,
    onStatus,
  });
}

/** Servers of our own speak plainly, on this machine; one that was named may want TLS. */
function addressOfServices({ address, natsServerId }: Services, environment: Environment): ClusterAddress {
  const isOurs = natsServerId() !== null;
  return {
    namespace: address.namespace,
    natsUrls: address.natsUrl.split(','),
    natsToken: address.token,
    tls: isOurs ? null : tlsFilesOfNode(environment, process.cwd()),
    nkeySeedFile: isOurs ? null : nkeySeedFileOf(environment),
    postgres: address.postgres,
  };
}

async function addressOf(flags: StartFlags, environment: Environment): Promise<ClusterAddress> {
  const found = await findCluster(wantedFromFlags(flags, environment));
  if (found !== null) return found;
  throw new DlgforgeError(
    'usage',
    'No cluster is running on this machine. Start its first node with `dlgforge cluster start --head`, or name one that runs elsewhere: `dlgforge cluster start --address nats://host:4222` (its head printed the whole line).',
  );
}
