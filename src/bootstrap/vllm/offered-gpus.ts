/** The GPUs that this machine offers to model servers. */
import type { FoundGpus } from '../../actors/vllm/host-report.ts';
import type { Environment } from '../../config/environment.ts';
import { findGpus } from '../cluster/gpus.ts';

/** nvidia-smi takes its time, and what it says changes slowly. */
const FRESH_MS = 5_000;

/**
 * As many as `count` says, else what nvidia-smi finds, narrowed by the CUDA_VISIBLE_DEVICES of this process where it
 * names GPUs by number: a batch system gives a job its GPUs that way.
 */
export function offeredGpus(environment: Environment, count: number | null): () => Promise<FoundGpus> {
  let last: { readonly atMs: number; readonly gpus: Promise<FoundGpus> } | null = null;
  return () => {
    if (last === null || Date.now() - last.atMs > FRESH_MS)
      last = { atMs: Date.now(), gpus: find(environment, count) };
    return last.gpus;
  };
}

async function find(environment: Environment, count: number | null): Promise<FoundGpus> {
  const { gpus: found, trouble } = await findGpus(environment);
  const all =
    count === null
      ? found
      : Array.from(
          { length: count },
          (_, index) => found.find((gpu) => gpu.index === index) ?? unknownGpu(index),
        );
  const visible = visibleOf(environment['CUDA_VISIBLE_DEVICES']);
  const gpus = all.filter(({ index }) => visible === null || count !== null || visible.has(index));
  return { gpus, trouble };
}

const unknownGpu = (index: number): FoundGpus['gpus'][number] => ({ index, freeMb: null, totalMb: null });

/** Null when nothing is said. */
function visibleOf(text: string | undefined): ReadonlySet<number> | null {
  if (text === undefined) return null;
  return new Set(
    text
      .split(',')
      .map((part) => part.trim())
      .filter((part) => /^\d+$/.test(part))
      .map(Number),
  );
}
