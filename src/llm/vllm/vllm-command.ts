/** The command line of a vLLM server. Pure; no secret is ever part of it (P1). */

export interface VllmSettings {
  /** A hub id or a folder. */
  readonly model: string;
  /** Name that the server gives the model; empty = `model`. */
  readonly servedModelName: string;
  readonly tensorParallelSize: number;
  readonly gpuMemoryUtilization: number;
  readonly maxNumSeqs: number;
  /** Come last, so that they win over what stands before them. */
  readonly extraArgs: readonly string[];
}

/** `ServerOrder.args` of a replica: all but its address, which `withAddress` puts in. */
export function vllmArguments(settings: VllmSettings): readonly string[] {
  const served = settings.servedModelName.trim() || settings.model;
  return [
    'serve',
    settings.model,
    '--served-model-name',
    served,
    '--tensor-parallel-size',
    String(settings.tensorParallelSize),
    '--gpu-memory-utilization',
    String(settings.gpuMemoryUtilization),
    '--max-num-seqs',
    String(settings.maxNumSeqs),
    ...settings.extraArgs,
  ];
}

/** Puts host and port behind `serve <model>`. */
export function withAddress(args: readonly string[], host: string, port: number): readonly string[] {
  return [...args.slice(0, 2), '--host', host, '--port', String(port), ...args.slice(2)];
}

/**
 * What a server gets on top of the environment of its starter. `SPT_NOENV` stops vLLM's setproctitle from
 * writing the title of its engines over `/proc/<pid>/environ`, where their mark is read.
 */
export function serverEnvironment(
  env: Readonly<Record<string, string>>,
  gpus: readonly number[] | null,
): Readonly<Record<string, string>> {
  return {
    PYTHONUNBUFFERED: '1',
    SPT_NOENV: '1',
    ...(gpus === null ? {} : { CUDA_DEVICE_ORDER: 'PCI_BUS_ID', CUDA_VISIBLE_DEVICES: gpus.join(',') }),
    ...env,
  };
}
