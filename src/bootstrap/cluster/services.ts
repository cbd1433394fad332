/**
 * What a head brings besides itself: a NATS server and a Postgres, where it was not given them. Whatever was
 * started here is kept up while the head lives, and stopped with it.
 *
 * Invariants:
 * - S1 Nothing listens beyond this machine unless `host` says so, and what does asks for a token or a password.
 * - S2 A start that fails leaves nothing running.
 * - S3 Secrets that were made here go to the address file and the join line only; those given by the user go
 *   to the address file only (I8).
 */
import { randomBytes } from 'node:crypto';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { processEnvironment } from '../../config/environment.ts';
import { DlgforgeError } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/logger.ts';
import { isPidAlive } from '../../store/process-identity.ts';
import { NODE_USER } from '../../store/embedded/node-role.ts';
import { findNatsServer, natsInstallLine } from '../../transport/nats/local-server.ts';
import {
  type AddressFile,
  makePrivateFolder,
  namespaceFolder,
  readAddress,
  removeAddress,
} from './address-file.ts';
import { keepNatsServer, reachable, stopLeftNats } from './local-nats.ts';
import { keepPostgres, stopLeftPostgres } from './local-postgres.ts';
import { greetingOf } from './nats-greeting.ts';
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
  readonly logger: Logger;
  /** Told what is waited for, and null when that is over. */
  readonly onStatus: (text: string | null) => void;
}

export interface Services {
  /** What the address file says, the head apart. */
  readonly address: Pick<AddressFile, 'namespace' | 'natsUrl' | 'token' | 'postgres'>;
  /** For the terminal, never for a log: how other machines, or other terminals of this one, join. */
  readonly joinLines: readonly string[];
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
  const earlier = await earlierHead(options);
  await using undo = new AsyncDisposableStack();
  const nats = await natsOf(options, host, earlier, undo);
  const postgres = await postgresOf(options, host, earlier, undo);
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
    opened: [nats.opened, postgres.opened].filter((line) => line !== null),
    stop() {
      stopping ??= started.disposeAsync();
      return stopping;
    },
  };
}

/**
 * Stops the servers of a head that was killed before it could; those of a living one are left alone.
 * True when there was something to do.
 */
export async function stopLeftServices(home: string, namespace: string): Promise<boolean> {
  const left = await readAddress(home, namespace);
  if (left === null || isPidAlive(left.headPid)) return false;
  const folder = namespaceFolder(home, namespace);
  await stopLeftNats(join(folder, 'nats'));
  await stopLeftPostgres(folder);
  return await removeAddress(home, namespace, left.headPid);
}

interface Nats {
  readonly url: string;
  readonly token: string | null;
  readonly opened: string | null;
}

async function natsOf(
  options: ServiceOptions,
  host: string,
  earlier: AddressFile | null,
  undo: AsyncDisposableStack,
): Promise<Nats> {
  if (options.natsUrl !== undefined) {
    return { url: options.natsUrl, token: options.natsToken ?? null, opened: null };
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
        earlier === null ? 0 : placeOf(earlier.natsUrl).port,
        DEFAULT_NATS_PORT,
      ]),
    token,
    detached: options.detached,
    logger: options.logger,
  });
  undo.defer(() => server.stop());
  return {
    url: `nats://${inUrl(advertised(host))}:${server.port}`,
    token,
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
    // S3: the user's password is not shown; whoever joins has it in the same variable.
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

/**
 * What an earlier head of this namespace left: its token, ports and password are used again, so that nodes
 * that it left behind find the new one.
 * @throws DlgforgeError `held` when it is still there.
 */
async function earlierHead({ home, namespace }: ServiceOptions): Promise<AddressFile | null> {
  const earlier = await readAddress(home, namespace);
  if (earlier === null || earlier.headPid === process.pid || !isPidAlive(earlier.headPid)) return earlier;
  const { host, port } = placeOf(earlier.natsUrl);
  if ((await greetingOf(host, port, 2_000)) === null) return earlier;
  throw new DlgforgeError(
    'held',
    `The cluster ${namespace} has a head on this machine already: ${earlier.headNode}, process ${earlier.headPid}. ` +
      'Join it with `dlgforge cluster start --address auto`, stop it with `dlgforge cluster stop --all`, or give this one another --namespace.',
  );
}

function joinLines({ natsToken, namespace }: ServiceOptions, nats: Nats, postgres: Postgres): string[] {
  const token = natsToken !== undefined ? '"$DLGFORGE_NATS_TOKEN"' : nats.token;
  const tokenVariable = token === null ? '' : `DLGFORGE_NATS_TOKEN=${token} `;
  const dsnVariable = postgres.joinDsn === null ? '' : `DLGFORGE_POSTGRES_DSN=${postgres.joinDsn} `;
  const command = `dlgforge cluster start --address ${withoutUser(nats.url)}${namespace === 'dlgforge' ? '' : ` --namespace ${namespace}`}`;
  const line = `${tokenVariable}${dsnVariable}${command}`;
  return token === null ? [line] : [line, `${dsnVariable}${command} --token ${token}`];
}

/** S3: what stands before the `@` is a secret. */
const withoutUser = (urls: string): string => urls.replaceAll(/\/\/[^/@,]*@/g, '//');

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
function placeOf(natsUrls: string): { readonly host: string; readonly port: number } {
  const [first = ''] = natsUrls.split(',');
  const found = /^(?:[a-z+]+:\/\/)?(?:[^@/]*@)?(\[[^\]]*\]|[^:/]*)(?::(\d+))?/i.exec(first.trim());
  return { host: (found?.[1] ?? '').replaceAll(/[[\]]/g, ''), port: Number(found?.[2] ?? DEFAULT_NATS_PORT) };
}

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
