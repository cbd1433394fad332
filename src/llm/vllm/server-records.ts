/**
 * What is known on disk about the servers of this machine: one file per server below the state folder, written
 * before the server is started and removed when none of its processes is left. It is how a kept server is found
 * again and how leftovers are told from strangers.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { canonicalJson, sha256 } from '../../kernel/hash.ts';
import type { ServerOrder } from '../../ports/server-process.ts';
import { isSameProcess, processEntry, thisHost } from './process-table.ts';
import type { ServerTree } from './process-tree.ts';

const processSchema = z.object({ pid: z.int().min(2), startKey: z.string().min(1) });

const recordSchema = z.object({
  mark: z.string().regex(/^[0-9a-f]{32}$/),
  host: z.string(),
  name: z.string(),
  /** Of program, arguments, environment and number of GPUs. */
  orderHash: z.string(),
  keep: z.boolean(),
  port: z.int(),
  gpus: z.array(z.int()).nullable(),
  logPath: z.string(),
  starter: processSchema,
  /** Null until it is started. */
  program: processSchema.nullable(),
});

export type ServerRecord = z.output<typeof recordSchema>;

export class ServerRecords {
  readonly #folder: string;

  constructor(stateDir: string) {
    this.#folder = join(stateDir, 'vllm-servers');
  }

  pathOf(mark: string): string {
    return join(this.#folder, `${mark}.json`);
  }

  write(record: ServerRecord): void {
    mkdirSync(this.#folder, { recursive: true });
    const path = this.pathOf(record.mark);
    writeFileSync(`${path}.new`, JSON.stringify(record));
    renameSync(`${path}.new`, path);
  }

  remove(mark: string): void {
    rmSync(this.pathOf(mark), { force: true });
  }

  /** Those of this machine: the folder may be on a disk that others share. */
  ofThisHost(): readonly ServerRecord[] {
    const host = thisHost();
    return namesIn(this.#folder)
      .filter((name) => name.endsWith('.json'))
      .flatMap((name) => readRecord(join(this.#folder, name)) ?? [])
      .filter((record) => record.host === host);
  }
}

/** Null when it is gone, or is no record. */
export function readRecord(path: string): ServerRecord | null {
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    // Removed meanwhile, or written by nobody who follows these rules: it names no server of ours.
    return null;
  }
  const record = recordSchema.safeParse(json).data ?? null;
  return record?.mark === basename(path, '.json') ? record : null;
}

export const treeOf = ({ mark, program }: ServerRecord): ServerTree => ({ mark, program });

export const isRunning = ({ program }: ServerRecord): boolean =>
  program !== null && isSameProcess(program.pid, program.startKey);

export function hasStarter({ starter }: ServerRecord): boolean {
  return isSameProcess(starter.pid, starter.startKey);
}

/** Two orders with the same hash want the same server, but for its address and the numbers of its GPUs. */
export function orderHash({
  program,
  args,
  env,
  gpus,
}: Pick<ServerOrder, 'program' | 'args' | 'env' | 'gpus'>): string {
  return sha256(canonicalJson([program, args, env, gpus?.length ?? null]));
}

/** Null when it has ended before it could be looked at. */
export function identityOf(pid: number): { readonly pid: number; readonly startKey: string } | null {
  const entry = processEntry(pid);
  return entry === null ? null : { pid, startKey: entry.startKey };
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  }
}
