/**
 * What the embedded server listens on for other machines. Owns `listen.json` in the data folder, which says so
 * to whoever starts the server next: it belongs to nobody, so any process of this machine may be the one that
 * brings it back, and must bring it back the same.
 *
 * Invariants:
 * - T1 Nobody comes in by TCP without the password: the access file that is written here says so for every
 *   address, this machine's own too, and a role without a password is refused.
 * - T2 What is asked for goes with the process that asked: a file of one that is gone counts for nothing.
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { DlgforgeError, messageOf } from '../../kernel/errors.ts';
import type { HolderInfo } from '../../ports/store.ts';
import { isProcessAlive, processIdentity } from '../process-identity.ts';

export interface EmbeddedListen {
  /** A name or an address of this machine; `0.0.0.0` or `::` for all. */
  readonly host: string;
  /** 0: any that is free. */
  readonly port: number;
  /** Printable ASCII. A secret (I8): it is in no argument, no log and no table. */
  readonly password: string;
}

export interface TcpPlace {
  readonly host: string;
  readonly port: number;
}

interface ListenFile extends TcpPlace {
  readonly asker: HolderInfo;
}

const PASSWORD_CHARS_MIN = 16;

/** @throws DlgforgeError `config` for what must not listen. */
export function checkListen({ host, port, password }: EmbeddedListen): void {
  if (!/^[\x21-\x7e]+$/.test(password) || password.length < PASSWORD_CHARS_MIN) {
    throw new DlgforgeError(
      'config',
      `The embedded database listens for other machines only behind a password of ${PASSWORD_CHARS_MIN} or more ` +
        'printable ASCII characters. Generate one.',
    );
  }
  if (!/^[A-Za-z0-9._:-]+$/.test(host) || !Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new DlgforgeError(
      'config',
      `The embedded database cannot listen on ${host}:${port}: name one address of this machine, and a port.`,
    );
  }
}

/** Asks in the name of this process. */
export function askToListen(dataDir: string, { host, port }: TcpPlace): void {
  const content: ListenFile = { host, port, asker: processIdentity('dlgforge') };
  writeFileSync(listenFile(dataDir), `${JSON.stringify(content)}\n`);
}

export function stopAskingToListen(dataDir: string): void {
  rmSync(listenFile(dataDir), { force: true });
}

/** Where a server that is started now has to listen; null: nowhere. */
export function wantedPlace(dataDir: string): TcpPlace | null {
  const content = readListenFile(dataDir);
  if (content === null) return null;
  const { host, port, asker } = content;
  const isHere = asker.host === processIdentity('').host;
  return isHere && isProcessAlive(asker) ? { host, port } : null;
}

/** T1. Takes effect when a server starts. */
export function writeAccessFile(dataDir: string): void {
  const path = join(dataDir, 'pg_hba.conf');
  // Written in place, so that it stays the server's own file; one that was cut short is written again.
  if (readFileSync(path, 'utf8') !== ACCESS) writeFileSync(path, ACCESS);
}

/** A port of `host` that is free now. @throws DlgforgeError `store` when there is no such address here. */
export async function freePort(host: string): Promise<number> {
  const probe = createServer();
  try {
    return await new Promise<number>((resolve, reject) => {
      probe.once('error', reject);
      probe.listen({ host, port: 0, exclusive: true }, () => {
        const address = probe.address();
        resolve(typeof address === 'object' && address !== null ? address.port : 0);
      });
    });
  } catch (cause) {
    throw new DlgforgeError(
      'store',
      `The embedded database cannot listen on ${host}: ${messageOf(cause)}. Name an address that this machine has.`,
      { cause },
    );
  } finally {
    probe.close();
  }
}

/** Who can reach the socket may use the server: its folder is the user's own. */
const ACCESS = `# Written by dlgforge; a change made here is undone at the next start.
local all all               trust
host  all all 0.0.0.0/0     scram-sha-256
host  all all ::/0          scram-sha-256
`;

const listenFile = (dataDir: string): string => join(dataDir, 'listen.json');

function readListenFile(dataDir: string): ListenFile | null {
  try {
    return JSON.parse(readFileSync(listenFile(dataDir), 'utf8')) as ListenFile;
  } catch (error) {
    // Not there, or its writer was killed in the middle: then nobody asks any more.
    if (
      error instanceof SyntaxError ||
      (error instanceof Error && 'code' in error && error.code === 'ENOENT')
    )
      return null;
    throw error;
  }
}
