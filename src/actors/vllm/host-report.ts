/** What a host says of itself, and which of its GPUs are free. Pure. */
import type { KeptServer } from '../../ports/server-process.ts';
import type { HostReport, OfferedGpu, ReplicaReport } from './host-messages.ts';

export interface FoundGpus {
  readonly gpus: readonly Omit<OfferedGpu, 'usedBy'>[];
  readonly trouble: string | null;
}

/** What others accept of a text is bounded too. */
const TEXT_CHARS_MAX = 8_000;

/** Those with the most free memory first. */
export function freeGpus(
  { gpus: offered }: Pick<FoundGpus, 'gpus'>,
  kept: readonly KeptServer[],
  replicas: Iterable<ReplicaReport>,
): number[] {
  const used = new Set([...kept, ...replicas].flatMap(({ gpus }) => [...gpus]));
  return offered
    .filter(({ index }) => !used.has(index))
    .toSorted((a, b) => (b.freeMb ?? 0) - (a.freeMb ?? 0) || a.index - b.index)
    .map(({ index }) => index);
}

export const replicaReports = (replicas: Iterable<ReplicaReport>): ReplicaReport[] =>
  [...replicas].map(({ runId, index, state, text, gpus, baseUrl, keyVariable }) => ({
    runId,
    index,
    state,
    text: text.slice(0, TEXT_CHARS_MAX),
    gpus: [...gpus],
    baseUrl,
    keyVariable,
  }));

export interface HostReportParts {
  readonly node: string;
  readonly isLeaving: boolean;
  readonly offered: FoundGpus;
  readonly kept: readonly KeptServer[];
  readonly replicas: readonly ReplicaReport[];
}

export function hostReport({ node, isLeaving, offered, kept, replicas }: HostReportParts): HostReport {
  const users = new Map([
    ...kept.flatMap(({ gpus, pid }) => gpus.map((gpu) => [gpu, `kept server, pid ${pid}`] as const)),
    ...replicas.flatMap(({ runId, index, gpus }) =>
      gpus.map((gpu) => [gpu, `replica ${index} of ${runId}`] as const),
    ),
  ]);
  return {
    node,
    gpus: offered.gpus.map((gpu) => ({ ...gpu, usedBy: users.get(gpu.index) ?? null })),
    gpuTrouble: offered.trouble,
    isLeaving,
    replicas: [...replicas],
    kept: kept.filter(({ isUsed }) => !isUsed).map(({ orderHash, gpus }) => ({ orderHash, gpus: [...gpus] })),
  };
}
