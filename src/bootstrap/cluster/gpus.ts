/** The GPUs of this machine, as nvidia-smi tells. */
import { execFile, type ExecFileException } from 'node:child_process';
import { promisify } from 'node:util';
import type { Environment } from '../../config/environment.ts';
import { messageOf } from '../../kernel/errors.ts';

interface Gpu {
  readonly index: number;
  readonly freeMb: number | null;
  readonly totalMb: number | null;
}

export interface FoundGpus {
  readonly gpus: readonly Gpu[];
  /** What nvidia-smi said instead of an answer; null when it answered, or is not there. */
  readonly trouble: string | null;
}

const run = promisify(execFile);
const QUERY = ['--query-gpu=index,name,memory.free,memory.total', '--format=csv,noheader,nounits'];
const TIMEOUT_MS = 5_000;
const TROUBLE_CHARS = 300;

/** None when there is no such program, or it finds none. */
export async function findGpus(environment: Environment): Promise<FoundGpus> {
  try {
    const { stdout } = await run('nvidia-smi', QUERY, { timeout: TIMEOUT_MS, env: environment });
    return { gpus: gpusIn(stdout), trouble: null };
  } catch (error) {
    return { gpus: [], trouble: troubleIn(error) };
  }
}

const gpusIn = (table: string): Gpu[] =>
  table
    .split('\n')
    .map((line) => line.split(',').map((field) => field.trim()))
    .filter((fields) => fields.length === 4)
    .map(([index, _name, free, total]) => ({
      index: Number(index),
      freeMb: megabytes(free),
      totalMb: megabytes(total),
    }));

/** Some GPUs share the memory of their machine: `[N/A]`. */
function megabytes(field: string | undefined): number | null {
  const value = Number(field);
  return Number.isFinite(value) ? value : null;
}

function troubleIn(error: unknown): string | null {
  const { code, killed, stdout, stderr } = error as ExecFileException;
  if (code === 'ENOENT') return null;
  if (killed === true) return `nvidia-smi has not answered within ${TIMEOUT_MS / 1000} s`;
  // What is wrong with the driver stands in its ordinary output.
  const said = `${stderr ?? ''}\n${stdout ?? ''}`.trim().split('\n', 1)[0] ?? '';
  return `nvidia-smi failed: ${(said || messageOf(error)).slice(0, TROUBLE_CHARS)}`;
}
