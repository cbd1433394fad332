/** The arguments of `vllm serve`, as far as dlgforge and its tests use them; others end it, as argparse does. */

export interface StandInArguments {
  readonly model: string;
  readonly servedModelName: string;
  readonly host: string;
  readonly port: number;
  readonly maxNumSeqs: number;
  readonly apiKey: string | null;
  readonly unknown: readonly string[];
}

const WITH_VALUE: ReadonlySet<string> = new Set([
  '--host',
  '--port',
  '--served-model-name',
  '--tensor-parallel-size',
  '--pipeline-parallel-size',
  '--data-parallel-size',
  '--gpu-memory-utilization',
  '--max-num-seqs',
  '--max-model-len',
  '--dtype',
  '--seed',
  '--api-key',
  '--download-dir',
  '--quantization',
  '--tokenizer',
]);
const FLAGS: ReadonlySet<string> = new Set([
  '--enforce-eager',
  '--trust-remote-code',
  '--enable-prefix-caching',
  '--no-enable-prefix-caching',
]);

/** Null when it was not called as `serve <model> …`. */
export function readArguments(args: readonly string[]): StandInArguments | null {
  const [command, model, ...rest] = args;
  if (command !== 'serve' || model === undefined || model.startsWith('-')) return null;
  const values = new Map<string, string>();
  const unknown: string[] = [];
  for (let at = 0; at < rest.length; at += 1) {
    const [name = '', ...inline] = (rest[at] ?? '').split('=');
    if (WITH_VALUE.has(name)) {
      if (inline.length === 0) at += 1;
      values.set(name, inline.length > 0 ? inline.join('=') : (rest[at] ?? ''));
    } else if (!FLAGS.has(name)) unknown.push(rest[at] ?? '');
  }
  return {
    model,
    servedModelName: values.get('--served-model-name') ?? model,
    host: values.get('--host') ?? '0.0.0.0',
    port: Number(values.get('--port') ?? 8000),
    maxNumSeqs: Number(values.get('--max-num-seqs') ?? 256),
    apiKey: values.get('--api-key') ?? null,
    unknown,
  };
}
