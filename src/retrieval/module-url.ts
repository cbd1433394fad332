/** URL of a module beside the one at `from`, for worker threads: the compiler turns `.ts` into `.js`. */
export const moduleUrl = (name: string, from: string): URL =>
  new URL(`${name}.${from.endsWith('.ts') ? 'ts' : 'js'}`, from);
