/** `dlgforge cluster start`: a node in this process until it is drained or stopped, and what a head brings. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { nodeEnvironment } from '../../config/dotenv.ts';
import type { Environment } from '../../config/environment.ts';
import { tlsFilesOfNode } from '../../config/nats-tls.ts';
import { DlgforgeError } from '../../kernel/errors.ts';
import { freshHexId } from '../../kernel/ids.ts';
import type { FileLogger } from '../../kernel/file-logger.ts';
import { openNodeLogger } from '../metrics/node-logger.ts';
import { openNodeMetrics } from '../metrics/node-metrics.ts';
import { BUILD } from '../version.ts';
import { clusterHome, namespaceFolder, removeAddress, writeAddress } from './address-file.ts';
import {
  type ClusterAddress,
  DEFAULT_NAMESPACE,
  findCluster,
  nkeySeedFileOf,
  secretsIn,
  wantedFromFlags,
  withoutLogin,
} from './find-cluster.ts';
import { freshNodeName } from './join.ts';
import { startNode, type RunningNode } from './node.ts';
import { removeNodeFile, writeNodeFile } from './node-file.ts';
import type { Services } from './services.ts';

export interface StartFlags {
  readonly head?: boolean;
  readonly address?: string;
  readonly token?: string;
  readonly nats?: string;
  readonly postgres?: string;
  readonly host?: string;
  readonly port?: number;
  readonly namespace?: string;
  readonly workers?: number;
  readonly gpus?: number;
  readonly labels?: readonly string[];
  readonly metricsPort?: number;
  readonly stateDir?: string;
  readonly name?: string;
  /** Ends with the runs that it was started for. */
  readonly untilIdle?: boolean;
  /** Folder of the embedded database of a head, instead of its own. */
  readonly databaseDir?: string;
  /** A configuration whose own keys count on this node. */
  readonly keysFrom?: string;
  /** Folder of the address file of a head, instead of the user's. */
  readonly home?: string;
}

export interface StartOptions {
  readonly flags: StartFlags;
  readonly environment: Environment;
  readonly folder: string;
  readonly command: string;
  readonly onStatus: (text: string | null) => void;
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
  readonly ended: Promise<void>;
}

const WORKERS = 1;
const LABEL = /^[^=\s]+=[^=\s]*$/;

/** @throws DlgforgeError when the node cannot start; nothing that it started is left then. */
export async function startClusterNode(options: StartOptions): Promise<StartedNode> {
  const { flags, command } = options;
  const environment = nodeEnvironment(options.environment, options.folder);
  const namespace = flags.namespace ?? DEFAULT_NAMESPACE;
  const home = flags.home ?? clusterHome(environment);
  // New in every process, also under a name that a person gave.
  const name = flags.name === undefined ? freshNodeName() : `${flags.name}-${freshHexId().slice(0, 4)}`;
  const stateDir = flags.stateDir ?? join(namespaceFolder(home, namespace), 'nodes', name);
  const logsDir =
    flags.stateDir === undefined ? join(namespaceFolder(home, namespace), 'logs') : join(stateDir, 'logs');
  await mkdir(stateDir, { recursive: true, mode: 0o700 });
  await using undo = new AsyncDisposableStack();
  const logger = openNodeLogger({ folder: logsDir, node: name });
  undo.defer(() => logger.close());
  // A node in the background has nobody to tell once it is ready.
  const onStatus = (text: string | null): void => {
    if (text !== null) logger.log('info', 'cluster', `[cluster] ${text}`);
    options.onStatus(text);
  };
  const services =
    flags.head === true
      ? await headServices({ ...options, onStatus }, { namespace, home, environment, logger })
      : null;
  if (services !== null) undo.defer(() => services.stop());
  const address =
    services === null ? await addressOf(flags, environment) : addressOfServices(services, environment);
  logger.redact(secretsIn(address));
  const metrics =
    flags.metricsPort === undefined ? null : openNodeMetrics({ version: BUILD, nodeKind: 'agent' });
  if (metrics !== null) undo.defer(() => metrics.close());
  const running = await startNode({
    address,
    kind: 'agent',
    name,
    labels: labelsOf(flags.labels ?? []),
    limits: {},
    environment,
    leads: true,
    workers: flags.workers ?? WORKERS,
    gpus: flags.gpus ?? null,
    logsDir,
    cacheDir: join(namespaceFolder(home, namespace), 'cache'),
    folder: options.folder,
    configPath: flags.keysFrom ?? null,
    untilIdle: flags.untilIdle ?? false,
    isHead: services !== null,
    ...(metrics === null ? {} : { metrics: metrics.metrics }),
    runtimeDir: environment['XDG_RUNTIME_DIR'],
    command,
    logger,
    onStatus,
  });
  undo.defer(() => running.drain());
  const served =
    metrics === null || flags.metricsPort === undefined
      ? null
      : await metrics.serve({
          port: flags.metricsPort,
          workers: () => running.workers.running,
          trouble: () => (running.node.membership.inContact() ? null : 'not in contact with NATS'),
        });
  if (services !== null) {
    const startedAt = new Date().toISOString();
    await writeAddress(home, { ...services.address, headPid: process.pid, headNode: name, startedAt });
    undo.defer(async () => {
      await removeAddress(home, namespace, process.pid);
    });
  }
  await writeNodeFile(stateDir, {
    node: name,
    namespace,
    address: address.natsUrls.map(withoutLogin).join(','),
  });
  undo.defer(() => removeNodeFile(stateDir, process.pid));
  onStatus(null);
  const stack = undo.move();
  const ended = running.ended.then(() => stack.disposeAsync());
  return {
    name,
    namespace,
    logsDir,
    joinLines: services?.joinLines ?? [],
    opened: services?.opened ?? [],
    metricsPort: served?.port ?? null,
    drain: () => drained(running, ended),
    ended,
  };
}

async function drained(running: RunningNode, ended: Promise<void>): Promise<void> {
  await running.drain();
  await ended;
}

async function headServices(
  { flags, onStatus }: StartOptions,
  place: {
    readonly namespace: string;
    readonly home: string;
    readonly environment: Environment;
    readonly logger: FileLogger;
  },
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
    logger,
    onStatus,
  });
}

/** Servers of our own speak plainly, on this machine; one that was named may want TLS. */
function addressOfServices({ address }: Services, environment: Environment): ClusterAddress {
  const isTls = address.natsUrl.includes('tls://');
  return {
    namespace: address.namespace,
    natsUrls: address.natsUrl.split(','),
    natsToken: address.token,
    tls: isTls ? tlsFilesOfNode(environment, process.cwd()) : null,
    nkeySeedFile: nkeySeedFileOf(environment),
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

/** @throws DlgforgeError `usage`. */
function labelsOf(texts: readonly string[]): Record<string, string> {
  for (const text of texts) {
    if (!LABEL.test(text))
      throw new DlgforgeError(
        'usage',
        `--labels ${text}: write labels as key=value, for example --labels zone=a.`,
      );
  }
  return Object.fromEntries(
    texts.map((text) => [text.slice(0, text.indexOf('=')), text.slice(text.indexOf('=') + 1)]),
  );
}
