/** Which cluster a command or a run means: flags, then configuration and environment, then the address file. */
import { resolve } from 'node:path';
import { readSecret } from '../../config/credentials.ts';
import type { Environment } from '../../config/environment.ts';
import { type TlsFiles, tlsFilesOfNode } from '../../config/nats-tls.ts';
import { DlgforgeError } from '../../kernel/errors.ts';
import { readAddresses } from '../../transport/nats/address.ts';
import { greetingOf } from './nats-greeting.ts';
import { type AddressFile, clusterHome, readAddress } from './address-file.ts';

/** Where a cluster's servers are. Holds secrets: it is never logged, stored or put into an argument list (I8). */
export interface ClusterAddress {
  readonly namespace: string;
  readonly natsUrls: readonly string[];
  readonly natsToken: string | null;
  readonly tls: TlsFiles | null;
  /** File with an nkey seed. */
  readonly nkeySeedFile: string | null;
  readonly postgres:
    | { readonly type: 'dsn'; readonly dsn: string }
    | { readonly type: 'embedded'; readonly stateDir: string };
}

export interface Wanted {
  readonly namespace: string;
  /** `auto`, or URLs with commas. */
  readonly address: string;
  readonly natsToken: string | null;
  readonly dsn: string | null;
  readonly tls: TlsFiles | null;
  readonly environment: Environment;
  /** Folders whose address files `auto` looks at, in order. @default the user's cluster folder */
  readonly homes?: readonly string[];
}

export const DEFAULT_NAMESPACE = 'dlgforge';

/**
 * Null when `auto` finds none.
 * @throws DlgforgeError `config` when an address is named without what belongs to it.
 */
export async function findCluster(wanted: Wanted): Promise<ClusterAddress | null> {
  if (isAuto(wanted)) {
    const running = await knownCluster(wanted, answers);
    return running === null ? null : fromFile(running, wanted);
  }
  const natsUrls = urlsOf(wanted.address);
  const same = await knownCluster(wanted, isAt(wanted.address));
  const postgres =
    wanted.dsn !== null ? ({ type: 'dsn', dsn: wanted.dsn } as const) : (same?.postgres ?? null);
  if (postgres === null) {
    throw new DlgforgeError(
      'config',
      `The cluster at ${natsUrls.map(withoutLogin).join(', ')} keeps its data in Postgres, and no DSN is given. Set DLGFORGE_POSTGRES_DSN (store.postgres.dsn) to the one that \`dlgforge cluster start --head\` printed, or that its nodes were started with.`,
    );
  }
  return {
    namespace: wanted.namespace,
    natsUrls,
    natsToken: wanted.natsToken ?? same?.token ?? null,
    tls: same === null || same.natsServerId === null ? wanted.tls : null,
    nkeySeedFile: nkeySeedFileOf(wanted.environment),
    postgres,
  };
}

/** The values of flags and variables that commands without a configuration use. */
export function wantedFromFlags(
  flags: {
    readonly address?: string;
    readonly token?: string;
    readonly postgres?: string;
    readonly namespace?: string;
  },
  environment: Environment,
): Wanted {
  const variable = (name: string): string | null => readSecret(environment, name)?.reveal() ?? null;
  return {
    namespace: flags.namespace ?? DEFAULT_NAMESPACE,
    address: flags.address ?? variable('DLGFORGE_NATS_URL') ?? 'auto',
    natsToken: flags.token ?? variable('DLGFORGE_NATS_TOKEN'),
    dsn: flags.postgres ?? variable('DLGFORGE_POSTGRES_DSN') ?? variable('POSTGRES_DSN'),
    tls: tlsFilesOfNode(environment, process.cwd()),
    environment,
  };
}

const isAuto = ({ address }: Wanted): boolean => address === 'auto' || address === '';

/** @throws DlgforgeError `config` for an address that cannot be read. */
function isAt(address: string): (file: AddressFile) => Promise<boolean> {
  const servers = serversOf(address);
  return ({ natsUrl }) => Promise.resolve(serversOf(natsUrl).some((server) => servers.includes(server)));
}

/** The folders that have an address file of the cluster that is meant, whether it answers or not. */
export async function homesOf(wanted: Wanted): Promise<readonly string[]> {
  const isMeant = isAuto(wanted) ? () => Promise.resolve(true) : isAt(wanted.address);
  const homes = wanted.homes ?? [clusterHome(wanted.environment)];
  const known = await Promise.all(
    homes.map(async (home) => {
      const file = await readAddress(home, wanted.namespace);
      // A head that was killed early has left servers, but no file yet.
      return file === null ? isAuto(wanted) : await isMeant(file);
    }),
  );
  return homes.filter((_, index) => known[index]);
}

async function knownCluster(
  { homes, environment, namespace }: Wanted,
  isMeant: (file: AddressFile) => Promise<boolean>,
): Promise<AddressFile | null> {
  for (const home of homes ?? [clusterHome(environment)]) {
    const file = await readAddress(home, namespace);
    if (file !== null && (await isMeant(file))) return file;
  }
  return null;
}

const GREETING_MS = 1_500;

/** A file may outlive its cluster, and another server may have its port by now. */
async function answers({ natsUrl, natsServerId }: AddressFile): Promise<boolean> {
  const greetings = readAddresses([natsUrl]).map(({ host, server }) =>
    greetingOf(host, Number(/\d+$/.exec(server)?.[0]), GREETING_MS),
  );
  return (await Promise.all(greetings)).some(
    (greeting) => greeting !== null && (natsServerId === null || greeting.serverId === natsServerId),
  );
}

function fromFile(file: AddressFile, { natsToken, dsn, tls, environment }: Wanted): ClusterAddress {
  return {
    namespace: file.namespace,
    natsUrls: urlsOf(file.natsUrl),
    // A server that a head has started knows one token, and speaks plainly.
    natsToken: file.natsServerId === null ? (natsToken ?? file.token) : file.token,
    tls: file.natsServerId === null ? tls : null,
    nkeySeedFile: nkeySeedFileOf(environment),
    postgres: dsn !== null ? { type: 'dsn', dsn } : file.postgres,
  };
}

/** Absolute; null when none is named. */
export function nkeySeedFileOf(environment: Environment): string | null {
  const path = environment['DLGFORGE_NATS_NKEY']?.trim() ?? '';
  return path === '' ? null : resolve(path);
}

const urlsOf = (text: string): string[] =>
  text
    .split(',')
    .map((url) => url.trim())
    .filter((url) => url !== '');

/** `host:port` of each: the same server may be written in several ways. */
const serversOf = (urls: string): readonly string[] => readAddresses([urls]).map(({ server }) => server);

/** What stands before the last `@`: a token, or a user with a password. */
function splitLogin(url: string): { readonly scheme: string; readonly login: string; readonly rest: string } {
  const scheme = /^[a-z][a-z0-9+.-]*:\/\//i.exec(url)?.[0] ?? '';
  const at = url.lastIndexOf('@');
  return at < scheme.length
    ? { scheme, login: '', rest: url.slice(scheme.length) }
    : { scheme, login: url.slice(scheme.length, at), rest: url.slice(at + 1) };
}

/** For people and logs: one URL, or several with commas, without their log-ins (I8). */
export const withoutLogin = (urls: string): string =>
  urls
    .split(',')
    .map((url) => splitLogin(url.trim()))
    .map(({ scheme, rest }) => `${scheme}${rest}`)
    .join(',');

/** What may never appear in a log. */
export function secretsIn({ natsToken, postgres, natsUrls }: ClusterAddress): string[] {
  const ofNats = natsUrls.map((url) => splitLogin(url).login).map((login) => passwordIn(login) ?? login);
  const ofPostgres = postgres.type === 'dsn' ? (passwordIn(splitLogin(postgres.dsn).login) ?? '') : '';
  return [...new Set([natsToken ?? '', ...ofNats, ofPostgres].flatMap(written))].filter(
    (text) => text !== '',
  );
}

/** Null when it is a lone word. */
const passwordIn = (login: string): string | null =>
  login.includes(':') ? login.slice(login.indexOf(':') + 1) : null;

/** As it stands in a URL, and as it is meant. */
function written(secret: string): string[] {
  try {
    return [secret, decodeURIComponent(secret)];
  } catch {
    // A `%` that is no code stands for itself.
    return [secret];
  }
}
