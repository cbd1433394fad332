/**
 * One connection to NATS and what dlgforge uses of it. It never gives up on a server that it has once
 * reached: attempts go on for as long as the process lives, and whoever waits can see it in the status.
 */
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { checkServerIdentity, type PeerCertificate } from 'node:tls';
import {
  connect,
  type ConnectionOptions,
  type NatsConnection,
  nkeyAuthenticator,
  type TlsOptions,
} from 'nats';
import { DlgforgeError, messageOf } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/logger.ts';
import type { BlobStore } from '../../ports/blob-store.ts';
import type { WorkQueue } from '../../ports/work-queue.ts';
import { type NatsAddress, readAddresses } from './address.ts';
import { connectFault } from './connect-fault.ts';
import { ARRIVAL_BYTES_MAX } from './payload.ts';
import { NatsTransport } from './nats-transport.ts';
import { NatsWorkQueue } from './nats-work-queue.ts';
import { openObjectBlobs } from './object-blobs.ts';
import { subjectsOf } from './subjects.ts';
import { NatsWire, saidAll } from './wire.ts';

export interface NatsTls {
  /** Paths of PEM files. */
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

export interface NatsOptions {
  /** Each may hold several, comma separated; token or user and password may stand in them. */
  readonly urls: readonly string[];
  readonly token?: string;
  readonly tls?: NatsTls;
  /** Path of a file with an nkey seed. */
  readonly nkeySeedFile?: string;
  /** Of this client, for the server's own reports. */
  readonly name: string;
  /** Clusters that share a server keep apart by it. */
  readonly namespace: string;
  readonly logger: Logger;
  /** What this process waits for; null when it waits no longer. */
  readonly onStatus?: (text: string | null) => void;
}

export interface NatsLink {
  readonly transport: NatsTransport;
  /** @throws DlgforgeError `transport` when the server has no JetStream. */
  workQueue(): Promise<WorkQueue>;
  /** @throws DlgforgeError `transport` when the server has no JetStream. */
  blobs(): Promise<BlobStore>;
  readonly isConnected: boolean;
  /** Detaches its nodes, gives back the work in hand and hangs up. Idempotent. */
  close(): Promise<void>;
}

/** Of one attempt. Short: one that began while the network was cut does not see that it is whole again. */
const CONNECT_TIMEOUT_MS = 3_000;

/** @throws DlgforgeError `transport` (`config` for URLs and files that cannot be read). */
export async function connectNats(options: NatsOptions): Promise<NatsLink> {
  const addresses = readAddresses(options.urls);
  const shown = addresses.map((address) => address.shown).join(',');
  const client = await clientOptions(options, addresses);
  const dial = async (last: NatsConnection | null): Promise<NatsConnection> => {
    // The servers of a cluster tell of each other.
    const others = last?.info?.connect_urls ?? [];
    const servers = [...new Set(addresses.map(({ server }) => server).concat(others))];
    try {
      return await connect({ ...client, servers });
    } catch (error) {
      throw connectFault(shown, error);
    }
  };
  const { namespace, logger, onStatus } = options;
  const wire = await NatsWire.open({ subjects: subjectsOf(namespace), logger, shown, dial, onStatus });
  await refuseSmallMessages(wire);
  const transport = new NatsTransport(wire);
  let queue: Promise<NatsWorkQueue> | null = null;
  let blobs: Promise<BlobStore> | null = null;
  let closed: Promise<void> | null = null;

  const close = async (): Promise<void> => {
    await queue?.then(
      (opened) => opened.close(),
      () => undefined,
    );
    await transport.close();
    await saidAll(wire);
    await wire.close();
  };

  return {
    transport,
    workQueue: () => {
      queue ??= NatsWorkQueue.open(wire).catch((error: unknown) => {
        queue = null;
        throw error;
      });
      return queue;
    },
    blobs: () => {
      blobs ??= openObjectBlobs(wire).catch((error: unknown) => {
        blobs = null;
        throw error;
      });
      return blobs;
    },
    get isConnected() {
      return wire.isConnected;
    },
    close: () => (closed ??= close()),
  };
}

/** Batches are made for what servers take by default. */
async function refuseSmallMessages(wire: NatsWire): Promise<void> {
  const payloadMax = wire.nats.info?.max_payload ?? ARRIVAL_BYTES_MAX;
  if (payloadMax >= ARRIVAL_BYTES_MAX) return;
  await wire.close();
  const text = `NATS at ${wire.shown} takes messages of ${payloadMax} bytes at most; set max_payload to 1MB in its configuration`;
  throw new DlgforgeError('transport', text);
}

async function clientOptions(
  options: NatsOptions,
  addresses: readonly NatsAddress[],
): Promise<ConnectionOptions> {
  const token = options.token ?? addresses.find((address) => address.token !== null)?.token ?? null;
  const login = addresses.find((address) => address.user !== null);
  const tls = options.tls ?? (addresses.some((address) => address.isTls) ? {} : null);
  return {
    name: options.name,
    timeout: CONNECT_TIMEOUT_MS,
    // `NatsWire` does it.
    reconnect: false,
    // A server that is silent is lost after some three seconds.
    pingInterval: 1_000,
    maxPingOut: 2,
    // The system's resolver knows /etc/hosts and needs no DNS server.
    resolve: false,
    ...(token === null ? {} : { token }),
    ...(login?.user == null ? {} : { user: login.user, pass: login.password ?? '' }),
    ...(tls === null ? {} : { tls: tlsOptions(tls, addresses) }),
    ...(options.nkeySeedFile === undefined
      ? {}
      : { authenticator: nkeyAuthenticator(await seedOf(options.nkeySeedFile)) }),
  };
}

/**
 * For a server that is named by its IP address the library has the certificate checked for `localhost`; here it
 * is checked for the addresses that the user named.
 */
function tlsOptions({ ca, cert, key }: NatsTls, addresses: readonly NatsAddress[]): TlsOptions {
  const ips = addresses.map(({ host }) => host).filter((host) => isIP(host) !== 0);
  const isForAnIp = (certificate: PeerCertificate): boolean =>
    ips.some((ip) => checkServerIdentity(ip, certificate) === undefined);
  const options = {
    ...(ca === undefined ? {} : { caFile: ca }),
    ...(cert === undefined ? {} : { certFile: cert }),
    ...(key === undefined ? {} : { keyFile: key }),
    checkServerIdentity: (host: string, certificate: PeerCertificate): Error | undefined =>
      isForAnIp(certificate) ? undefined : checkServerIdentity(host, certificate),
  };
  return options;
}

async function seedOf(path: string): Promise<Uint8Array> {
  try {
    const text = await readFile(path, 'utf8');
    return new TextEncoder().encode(text.trim());
  } catch (error) {
    const message = `the nkey seed file ${path} cannot be read: ${messageOf(error)}`;
    throw new DlgforgeError('config', message, { cause: error });
  }
}
