/** Which cluster a command or a run means: flags, then configuration and environment, then the address file. */
import { resolve } from 'node:path';
import { readSecret } from '../../config/credentials.ts';
import type { Environment } from '../../config/environment.ts';
import { type TlsFiles, tlsFilesOfNode } from '../../config/nats-tls.ts';
import { DlgforgeError } from '../../kernel/errors.ts';
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
  if (wanted.address === 'auto' || wanted.address === '') {
    const running = await knownCluster(wanted, answers);
    return running === null ? null : fromFile(running, wanted);
  }
  const known = await knownCluster(wanted, () => Promise.resolve(true));
  const natsUrls = urlsOf(wanted.address);
  const same = known !== null && urlsOf(known.natsUrl).some((url) => natsUrls.includes(url)) ? known : null;
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
    tls: wanted.tls,
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

/** A file may outlive its cluster. */
async function answers({ natsUrl }: AddressFile): Promise<boolean> {
  const greetings = urlsOf(natsUrl).map((url) => {
    const { hostname, port } = new URL(url);
    return greetingOf(hostname, Number(port === '' ? 4222 : port), GREETING_MS);
  });
  return (await Promise.all(greetings)).some((greeting) => greeting !== null);
}

function fromFile(file: AddressFile, { natsToken, dsn, tls, environment }: Wanted): ClusterAddress {
  return {
    namespace: file.namespace,
    natsUrls: urlsOf(file.natsUrl),
    natsToken: natsToken ?? file.token,
    tls,
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

/** Without what stands before the `@`. */
export const withoutLogin = (url: string): string => url.replace(/\/\/[^/@]*@/, '//');

/** What may never appear in a log. */
export function secretsIn({ natsToken, postgres, natsUrls }: ClusterAddress): string[] {
  const inUrls = [...natsUrls, postgres.type === 'dsn' ? postgres.dsn : '']
    .map((url) => /\/\/([^/@]*)@/.exec(url)?.[1]?.split(':').at(-1) ?? '')
    .filter((secret) => secret !== '');
  return [...(natsToken === null ? [] : [natsToken]), ...inUrls];
}
