/** Whether there is room for the replicas of a run, before anything is started. */
import type { HostReport } from '../../actors/vllm/host-messages.ts';
import { roomFor } from '../../actors/vllm/placement.ts';
import { roomOf, type WantedReplicas } from '../../actors/vllm/reconcile.ts';
import { DlgforgeError } from '../../kernel/errors.ts';

/** Null when there is; otherwise what to tell, with what there is. */
export function lacksRoom(wanted: WantedReplicas, reports: readonly HostReport[]): DlgforgeError | null {
  const { count, gpusPerReplica, runId } = wanted;
  const hosts = reports.filter(({ isLeaving }) => !isLeaving);
  const running = hosts.flatMap(({ replicas }) =>
    replicas.filter((replica) => replica.runId === runId && replica.state !== 'unable'),
  ).length;
  const rooms = hosts.map((report) => roomOf(wanted, report));
  if (running + roomFor(gpusPerReplica, rooms) >= count) return null;
  const what = `${count} ${count === 1 ? 'server' : 'servers'} with ${gpusPerReplica} ${gpusPerReplica === 1 ? 'GPU' : 'GPUs'} each`;
  if (hosts.length === 0) {
    return new DlgforgeError(
      'endpoint',
      `No node of the cluster starts model servers (llm.vllm.replicas: ${count}). Start one with \`dlgforge cluster start\`, or run with run.distributed.enabled: false.`,
    );
  }
  return new DlgforgeError(
    'endpoint',
    [
      `There are not enough free GPUs for ${what} (llm.vllm.replicas, llm.vllm.num_gpus_per_replica). There are:`,
      ...gpuTable(hosts).map((line) => `  ${line}`),
      'Lower one of the two, free GPUs, or add a node with GPUs. On a machine without GPUs a CPU build of vLLM runs with llm.vllm.num_gpus_per_replica: 0.',
    ].join('\n'),
  );
}

/** One line for each node, and one for each that does not know what it has. */
export function gpuTable(reports: readonly HostReport[]): readonly string[] {
  const rows = [
    ['node', 'GPUs', 'free', 'free memory of each'],
    ...reports.map(({ node, gpus }) => [
      node,
      String(gpus.length),
      String(gpus.filter(({ usedBy }) => usedBy === null).length),
      gpus.map(memoryOf).join(', ') || '-',
    ]),
  ];
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  const lines = rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
  return [
    ...lines,
    ...reports.flatMap(({ node, gpuTrouble }) => (gpuTrouble === null ? [] : [`${node}: ${gpuTrouble}`])),
  ];
}

function memoryOf({ index, freeMb, totalMb, usedBy }: HostReport['gpus'][number]): string {
  const memory =
    freeMb === null || totalMb === null ? 'unknown' : `${gigabytes(freeMb)} of ${gigabytes(totalMb)} GB`;
  return `${index}: ${memory}${usedBy === null ? '' : ` (${usedBy})`}`;
}

const gigabytes = (mb: number): string => (mb / 1024).toFixed(1);
