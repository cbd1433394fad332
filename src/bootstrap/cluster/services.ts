/**
 * What a head brings besides itself: a NATS server and a Postgres, where it was not given them. Whatever was
 * started here is kept up while the head lives, and stopped with it.
 *
 * Invariants:
 * - S1 Nothing listens beyond this machine unless `host` says so, and what does asks for a token or a password.
 * - S2 A start that fails leaves nothing running.
 * - S3 One head per namespace: it has the lock of the folder from before its first server until after its last.
 * - S4 Secrets that were made here go to the address file and the join line only; those given by the user go
 *   to the address file only (I8).
 */
import { randomBytes } from 'node:crypto';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { processEnvironment } from '../../config/environment.ts';
import { DlgforgeError } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/logger.ts';
import { NODE_USER } from '../../store/embedded/node-role.ts';
import { readAddresses } from '../../transport/nats/address.ts';
import { findNatsServer, natsInstallLine } from '../../transport/nats/local-server.ts';
import { type AddressFile, makePrivateFolder, namespaceFolder, readAddress } from './address-file.ts';
import { becomeHead } from './become-head.ts';
import { withoutLogin } from './find-cluster.ts';
import { keepNatsServer, reachable } from './local-nats.ts';
import { keepPostgres } from './local-postgres.ts';
import { choosePort, isLoopbackHost } from './ports.ts';

export interface ServiceOptions {
  readonly namespace: string;
  /** `clusterHome(environment)`. */
  readonly home: string;
  /** The address that servers started here listen on. @default '127.0.0.1' */
  readonly host?: string;
  /** The user's own server; missing: one is started. */
  readonly natsUrl?: string | undefined;
  /** For the user's own server; or the token that a started one is to ask for. @default a fresh one */
  readonly natsToken?: string | undefined;
  /** The user's own database; missing: the embedded one. */
  readonly postgresDsn?: string | undefined;
  /** State folder of the embedded database. @default the namespace's own */
  readonly databaseDir?: string | undefined;
  /** @default 4222, or a free one when that is taken; the database's is 5432 or a free one */
  readonly ports?: { readonly nats?: number | undefined };
  /** `DLGFORGE_NATS_SERVER`: the program to start. @default the one found on this machine */
  readonly natsServer?: string | undefined;
  readonly runtimeDir?: string | undefined;
  /** Whether the NATS server lives on when this process is killed. */
  readonly detached: boolean;
  /** Shown to who finds the namespace taken. */
  readonly command: string;
  /** Ends a start that is not over; what was started by then is stopped (S2). */
  readonly signal?: AbortSignal | undefined;
  /** Told when a NATS server that died has been replaced: it has another id. */
  readonly onNatsReplaced?: () => void;
  readonly logger: Logger;
  /** Told what is waited for, and null when that is over. */
  readonly onStatus: (text: string | null) => void;
}

export interface Services {
  /** What the address file says, the head apart. */
  readonly address: Pick<AddressFile, 'namespace' | 'natsUrl' | 'token' | 'postgres'>;
  /** For the terminal, never for a log: how other machines, or other terminals of this one, join. */
  readonly joinLines: readonly string[];
  /** What the NATS server that was started here greets with now; null for the user's own. */
  readonly natsServerId: () => string | null;
  /** What listens beyond this machine, and behind what; empty for a cluster of this machine. */
  readonly opened: readonly string[];
  /** Stops what was started here, in the reverse order, all of it even if one fails. Idempotent. */
  stop(): Promise<void>;
}

/** Hex: it is typed into shells and stands in URLs. */
const freshSecret = (): string => randomBytes(24).toString('hex');
const LOOPBACK = '127.0.0.1';
const DEFAULT_NATS_PORT = 4222;
const DEFAULT_POSTGRES_PORT = 5432;

/** @throws DlgforgeError `held`, `transport` or `store`; then nothing is left running (S2). */
export async function startServices(options: ServiceOptions): Promise<Services> {
  const host = options.host ?? LOOPBACK;
  await using undo = new AsyncDisposableStack();
  const lock = await becomeHead(options);
  undo.defer(() => lock.release());
  // Its token, ports and password are used again, so that nodes that it left behind find this one.
  const earlier = await readAddress(options.home, options.namespace);
  options.signal?.throwIfAborted();
  const nats = await natsOf(options, host, earlier, undo);
  options.signal?.throwIfAborted();
  const postgres = await postgresOf(options, host, earlier, undo);
  options.signal?.throwIfAborted();
  options.onStatus(null);
  const started = undo.move();
  let stopping: Promise<void> | null = null;
  return {
    address: {
      namespace: options.namespace,
      natsUrl: nats.url,
      token: nats.token,
      postgres: postgres.address,
    },
    joinLines: joinLines(options, nats, postgres),
    natsServerId: nats.serverId,
    opened: [nats.opened, postgres.opened].filter((line) => line !== null),
    stop() {
      stopping ??= started.disposeAsync();
      return stopping;
    },
  };
}

interface Nats {
  readonly url: string;
  readonly token: string | null;
  readonly serverId: () => string | null;
  readonly opened: string | null;
}

async function natsOf(
  options: ServiceOptions,
  host: string,
  earlier: AddressFile | null,
  undo: AsyncDisposableStack,
): Promise<Nats> {
  if (options.natsUrl !== undefined) {
    return { url: options.natsUrl, token: options.natsToken ?? null, serverId: () => null, opened: null };
  }
  options.onStatus('starting a NATS server');
  const program = await findNatsServer({ given: options.natsServer, path: processEnvironment()['PATH'] });
  if (program === null) throw await noNatsServer();
  const folder = namespaceFolder(options.home, options.namespace);
  const logs = join(folder, 'logs');
  await makePrivateFolder(logs);
  const token = options.natsToken ?? earlier?.token ?? freshSecret();
  const server = await keepNatsServer({
    program,
    folder: join(folder, 'nats'),
    logFile: join(logs, 'nats-server.log'),
    host,
    port: () =>
      choosePort(host, options.ports?.nats, [
        earlier === null ? 0 : portOf(earlier.natsUrl),
        DEFAULT_NATS_PORT,
      ]),
    token,
    detached: options.detached,
    logger: options.logger,
    ...(options.onNatsReplaced === undefined ? {} : { onReplaced: options.onNatsReplaced }),
  });
  undo.defer(() => server.stop());
  return {
    url: `nats://${inUrl(advertised(host))}:${server.port}`,
    token,
    serverId: () => server.serverId,
    opened: isLoopbackHost(host) ? null : `NATS on ${host}:${server.port}, behind a token`,
  };
}

interface Postgres {
  readonly address: AddressFile['postgres'];
  /** What the join line says; null where the address file is enough. */
  readonly joinDsn: string | null;
  readonly opened: string | null;
}

async function postgresOf(
  options: ServiceOptions,
  host: string,
  earlier: AddressFile | null,
  undo: AsyncDisposableStack,
): Promise<Postgres> {
  const { postgresDsn: dsn, logger, runtimeDir } = options;
  if (dsn !== undefined) {
    // S4: the user's password is not shown; whoever joins has it in the same variable.
    return { address: { type: 'dsn', dsn }, joinDsn: '"$DLGFORGE_POSTGRES_DSN"', opened: null };
  }
  options.onStatus('starting the embedded database');
  const stateDir = options.databaseDir ?? namespaceFolder(options.home, options.namespace);
  await makePrivateFolder(stateDir);
  const before = earlierListener(earlier, host);
  const listen = isLoopbackHost(host)
    ? null
    : {
        host,
        port: await choosePort(host, undefined, [before?.port ?? 0, DEFAULT_POSTGRES_PORT]),
        password: before?.password ?? freshSecret(),
      };
  const server = await keepPostgres({ stateDir, runtimeDir, listen, logger });
  undo.defer(() => server.leave());
  if (listen === null) return { address: { type: 'embedded', stateDir }, joinDsn: null, opened: null };
  const tcp = server.dsnForOthers(advertised(host));
  return {
    address: { type: 'dsn', dsn: tcp },
    joinDsn: tcp,
    opened: `Postgres on ${host}:${server.port}, behind a password`,
  };
}

function joinLines({ natsToken, namespace }: ServiceOptions, nats: Nats, postgres: Postgres): string[] {
  const token = natsToken !== undefined ? '"$DLGFORGE_NATS_TOKEN"' : nats.token;
  const tokenVariable = token === null ? '' : `DLGFORGE_NATS_TOKEN=${token} `;
  const dsnVariable = postgres.joinDsn === null ? '' : `DLGFORGE_POSTGRES_DSN=${postgres.joinDsn} `;
  const command = `dlgforge cluster start --address ${withoutLogin(nats.url)}${namespace === 'dlgforge' ? '' : ` --namespace ${namespace}`}`;
  const line = `${tokenVariable}${dsnVariable}${command}`;
  return token === null ? [line] : [line, `${dsnVariable}${command} --token ${token}`];
}

/** The address that others connect to: a listener on all addresses is reached by one of them. */
function advertised(host: string): string {
  if (host !== '0.0.0.0' && host !== '::') return host;
  const family = host === '::' ? 'IPv6' : 'IPv4';
  const outward = Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .find(
      (address) => !address.internal && address.family === family && !address.address.startsWith('fe80:'),
    );
  return outward?.address ?? reachable(host);
}

const inUrl = (host: string): string => (host.includes(':') ? `[${host}]` : host);

/** Of the first of several. */
const portOf = (natsUrls: string): number =>
  Number(/\d+$/.exec(readAddresses([natsUrls])[0]?.server ?? '')?.[0]);

/** The TCP listener that an earlier head gave its embedded database; null when it used the user's own server. */
function earlierListener(
  earlier: AddressFile | null,
  host: string,
): { readonly port: number; readonly password: string } | null {
  if (earlier?.postgres.type !== 'dsn' || !URL.canParse(earlier.postgres.dsn)) return null;
  const url = new URL(earlier.postgres.dsn);
  if (url.username !== NODE_USER || url.hostname !== inUrl(advertised(host))) return null;
  return { port: Number(url.port), password: decodeURIComponent(url.password) };
}

async function noNatsServer(): Promise<DlgforgeError> {
  return new DlgforgeError(
    'transport',
    `No NATS server was given, and the program nats-server is not installed. Install it: ${await natsInstallLine()}. ` +
      'Or name a server with --nats or DLGFORGE_NATS_URL, or the program with DLGFORGE_NATS_SERVER.',
  );
}
