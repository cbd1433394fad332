/** How a module of ours is run as a process of its own. */
import { getCompileCacheDir } from 'node:module';
import { fileURLToPath } from 'node:url';
import type { Environment } from '../../config/environment.ts';

/** Path of a module beside the one at `from`: the compiler turns `.ts` into `.js`. */
export const childModule = (name: string, from: string): string =>
  fileURLToPath(new URL(`${name}.${from.endsWith('.ts') ? 'ts' : 'js'}`, from));

/** The child loads what the launcher has compiled for this process: it starts in half the time. */
export function withCompileCache(environment: Environment): NodeJS.ProcessEnv {
  const folder = getCompileCacheDir();
  return folder === undefined ? { ...environment } : { ...environment, NODE_COMPILE_CACHE: folder };
}
