/**
 * Where the processes of this user find a cluster that was started here: one file per namespace, written by
 * the head. It holds the cluster's secrets, so that nobody has to put them into an argument list (I8).
 *
 * Invariants:
 * - A1 Only its owner can read it, from the first moment on.
 * - A2 Readers see a whole file or none.
 * - A3 A head removes its own file only: one that another head has written in the meantime stays.
 *
 * A file may outlive its head (SIGKILL, power). Whoever reads it finds out by connecting.
 */
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import type { Environment } from '../../config/environment.ts';
import { DlgforgeError, messageOf } from '../../kernel/errors.ts';
import { freshHexId } from '../../kernel/ids.ts';
import { isProcessAlive, processIdentity } from '../../store/process-identity.ts';

const ADDRESS_FILE_VERSION = 1;

/** Also part of NATS subjects and of file names, so it is plain. */
export const namespaceText = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/,
    'must be 1 to 63 letters, digits, dashes or underscores, and begin with a letter or a digit',
  );

export const addressFile = z.object({
  version: z.literal(ADDRESS_FILE_VERSION),
  namespace: namespaceText,
  /** One URL, or several with commas. */
  natsUrl: z.string().min(1),
  token: z.string().min(1).nullable(),
  postgres: z.discriminatedUnion('type', [
    z.object({ type: z.literal('dsn'), dsn: z.string().min(1) }),
    z.object({ type: z.literal('embedded'), stateDir: z.string().min(1) }),
  ]),
  /** What the head's own NATS server greets with, so that another one on the same port is not taken for it; null: not ours. */
  natsServerId: z.string().min(1).nullable(),
  headPid: z.number().int().positive(),
  /** What tells the head from a later process of the same number. */
  headKey: z.string().min(1),
  /** The host, or the container, whose process numbers are meant. */
  headHost: z.string().min(1),
  headNode: z.string().min(1),
  /** ISO 8601. */
  startedAt: z.string().min(1),
});

export type AddressFile = Readonly<z.infer<typeof addressFile>>;

/** This process as the head of an address file. */
export function thisHead(): Pick<AddressFile, 'headPid' | 'headKey' | 'headHost'> {
  const { pid, processKey, host } = processIdentity('');
  return { headPid: pid, headKey: processKey, headHost: host };
}

/** One of another host cannot be looked at from here: nobody takes its place. */
export const isHeadAlive = ({
  headHost,
  headPid,
  headKey,
}: Pick<AddressFile, 'headPid' | 'headKey' | 'headHost'>): boolean =>
  headHost !== thisHead().headHost ||
  isProcessAlive({ host: headHost, pid: headPid, processKey: headKey, command: '', sinceMs: 0 });

/** `DLGFORGE_CLUSTER_DIR`, or `~/.dlgforge/clusters`. */
export function clusterHome(environment: Environment): string {
  const given = environment['DLGFORGE_CLUSTER_DIR']?.trim() ?? '';
  return given === '' ? join(homedir(), '.dlgforge', 'clusters') : resolve(given);
}

/** What a head keeps for a namespace: NATS's and Postgres's folders and the logs. */
export const namespaceFolder = (home: string, namespace: string): string =>
  join(home, checkedNamespace(namespace));

/** @throws DlgforgeError `usage` when it cannot be a namespace. */
export function checkedNamespace(namespace: string): string {
  const checked = namespaceText.safeParse(namespace);
  if (checked.success) return namespace;
  throw new DlgforgeError(
    'usage',
    `The namespace ${JSON.stringify(namespace)} ${checked.error.issues[0]?.message ?? ''}.`,
  );
}

const pathOf = (home: string, namespace: string): string => join(home, `${checkedNamespace(namespace)}.json`);

/**
 * Null when there is none.
 * @throws DlgforgeError `config` when there is one that cannot be read.
 */
export async function readAddress(home: string, namespace: string): Promise<AddressFile | null> {
  const path = pathOf(home, namespace);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (isMissing(error)) return null;
    throw unreadable(path, messageOf(error), error);
  }
  const parsed = addressFile.safeParse(jsonOf(text));
  if (parsed.success) return parsed.data;
  // Only where it is off: the values may be secrets.
  const where = parsed.error.issues.map(({ path: keys }) => keys.join('.') || 'the whole file').join(', ');
  throw unreadable(path, `it is not an address file of this version (${where})`);
}

/** All namespaces that have an address file, sorted. */
export async function knownNamespaces(home: string): Promise<string[]> {
  let names: string[];
  try {
    names = await readdir(home);
  } catch (error) {
    if (isMissing(error)) return [];
    throw unreadable(home, messageOf(error), error);
  }
  return names
    .filter((name) => name.endsWith('.json'))
    .map((name) => name.slice(0, -'.json'.length))
    .filter((name) => namespaceText.safeParse(name).success)
    .toSorted();
}

/** @throws DlgforgeError `output`. */
export async function writeAddress(home: string, address: Omit<AddressFile, 'version'>): Promise<void> {
  const path = pathOf(home, address.namespace);
  const beside = `${path}.${freshHexId().slice(0, 8)}.tmp`;
  try {
    await makePrivateFolder(home);
    await using file = await open(beside, 'wx', 0o600);
    await file.writeFile(`${JSON.stringify({ version: ADDRESS_FILE_VERSION, ...address }, null, 2)}\n`);
    await file.sync();
    await rename(beside, path);
  } catch (cause) {
    await rm(beside, { force: true });
    throw new DlgforgeError(
      'output',
      `The cluster's address cannot be written to ${path}: ${messageOf(cause)}. Make the folder writable, or set DLGFORGE_CLUSTER_DIR to another one.`,
      { cause },
    );
  }
}

/** Removes the file of the head `ifPid` (A3). True when it was there. */
export async function removeAddress(home: string, namespace: string, ifPid: number): Promise<boolean> {
  const address = await readAddress(home, namespace);
  if (address === null || address.headPid !== ifPid) return false;
  await rm(pathOf(home, namespace), { force: true });
  return true;
}

/** Folders made here are closed to others; one that was there keeps its mode, it may be shared on purpose. */
export async function makePrivateFolder(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 });
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // The schema below says that it is not what it should be; the parser's own message would quote the text.
    return null;
  }
}

const isMissing = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === 'ENOENT';

function unreadable(path: string, reason: string, cause?: unknown): DlgforgeError {
  return new DlgforgeError(
    'config',
    `The address file ${path} cannot be used: ${reason}. Remove it and start the head again, or name the cluster with --address.`,
    cause === undefined ? {} : { cause },
  );
}
