import { readSecret } from './credentials.ts';
import type { Environment } from './environment.ts';
import { variablesOf } from './environment-table.ts';
import { fromWorkingDir } from './paths.ts';
import type { Config } from './schema.ts';

/** Absolute paths of PEM files. */
export interface TlsFiles {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

const FILES = ['ca', 'cert', 'key'] as const;

/** `run.distributed.tls`; null when it names no file. */
export function tlsFiles({ run }: Config, projectRoot: string): TlsFiles | null {
  const { tls } = run.distributed;
  return filesOf((file) => tls[`${file}_file`], projectRoot);
}

/** The same for a node, which has no configuration: the variables of those keys, from its working folder. */
export function tlsFilesOfNode(environment: Environment, folder: string): TlsFiles | null {
  const variable = (file: (typeof FILES)[number]): string => {
    const [first] = variablesOf(`run.distributed.tls.${file}_file`);
    return first === undefined ? '' : (readSecret(environment, first.name)?.reveal() ?? '');
  };
  return filesOf(variable, folder);
}

function filesOf(given: (file: (typeof FILES)[number]) => string, folder: string): TlsFiles | null {
  const named = FILES.filter((file) => given(file).trim() !== '');
  if (named.length === 0) return null;
  return Object.fromEntries(named.map((file) => [file, fromWorkingDir(given(file).trim(), folder)]));
}
