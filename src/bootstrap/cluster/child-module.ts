/** Path of a module beside the one at `from`, for child processes: the compiler turns `.ts` into `.js`. */
import { fileURLToPath } from 'node:url';

export const childModule = (name: string, from: string): string =>
  fileURLToPath(new URL(`${name}.${from.endsWith('.ts') ? 'ts' : 'js'}`, from));
