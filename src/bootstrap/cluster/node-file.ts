/**
 * How a node is found on its machine without the network: `node.json` in its state folder, written when it
 * has joined and removed when it leaves. After a SIGKILL it stays, so it names the process beyond its number.
 */
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { DlgforgeError, messageOf } from '../../kernel/errors.ts';
import { isProcessAlive, processIdentity } from '../../store/process-identity.ts';

const nodeFile = z.object({
  /** Its name in the cluster. */
  node: z.string().min(1),
  pid: z.number().int().positive(),
  /** What tells it from a later process of the same number. */
  processKey: z.string(),
  /** The host, or the container, whose process numbers are meant. */
  host: z.string(),
  namespace: z.string().min(1),
  /** Of NATS, without secrets. */
  address: z.string(),
});

export type NodeFile = Readonly<z.infer<typeof nodeFile>>;

const pathOf = (stateDir: string): string => join(stateDir, 'node.json');

/** Says that this process is the node. Readers see the whole file or none. */
export async function writeNodeFile(
  stateDir: string,
  facts: Pick<NodeFile, 'node' | 'namespace' | 'address'>,
): Promise<void> {
  const { pid, processKey, host } = processIdentity('');
  const path = pathOf(stateDir);
  const beside = `${path}.${pid}.tmp`;
  try {
    await mkdir(stateDir, { recursive: true });
    await writeFile(beside, `${JSON.stringify({ ...facts, pid, processKey, host }, null, 2)}\n`);
    await rename(beside, path);
  } catch (cause) {
    throw new DlgforgeError(
      'output',
      `Cannot write ${path}: ${messageOf(cause)}. Give --state-dir a writable folder.`,
      {
        cause,
      },
    );
  }
}

/** The node that runs on this state folder; null when none does. */
export async function runningNode(stateDir: string): Promise<NodeFile | null> {
  const file = await readNodeFile(stateDir);
  return file !== null && isNodeAlive(file) ? file : null;
}

export const isNodeAlive = ({ host, pid, processKey }: NodeFile): boolean =>
  isProcessAlive({ host, pid, processKey, command: '', sinceMs: 0 });

/** Removes the file of the process `ifPid`; another node's stays. */
export async function removeNodeFile(stateDir: string, ifPid: number): Promise<void> {
  if ((await readNodeFile(stateDir))?.pid === ifPid) await rm(pathOf(stateDir), { force: true });
}

async function readNodeFile(stateDir: string): Promise<NodeFile | null> {
  let text: string;
  try {
    text = await readFile(pathOf(stateDir), 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
    throw error;
  }
  try {
    return nodeFile.parse(JSON.parse(text));
  } catch (cause) {
    throw new DlgforgeError(
      'config',
      `${pathOf(stateDir)} is not what a node wrote. Stop that node by its process, then remove the file.`,
      { cause },
    );
  }
}
