/** The GPUs of this machine, as nvidia-smi tells. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

export interface Gpu {
  readonly index: number;
  readonly name: string;
  readonly freeMb: number;
  readonly totalMb: number;
}

const run = promisify(execFile);
const QUERY = ['--query-gpu=index,name,memory.free,memory.total', '--format=csv,noheader,nounits'];

/** Empty when there is no such program, or it finds none. */
export async function gpusOf(program = 'nvidia-smi'): Promise<readonly Gpu[]> {
  try {
    const { stdout } = await run(program, QUERY, { timeout: 5_000 });
    return stdout
      .split('\n')
      .map((line) => line.split(',').map((field) => field.trim()))
      .filter((fields) => fields.length === 4)
      .map(([index, name, free, total]) => ({
        index: Number(index),
        name: name ?? '',
        freeMb: Number(free),
        totalMb: Number(total),
      }));
  } catch {
    return [];
  }
}
