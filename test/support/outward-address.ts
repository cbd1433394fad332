import { networkInterfaces } from 'node:os';

/** An address of this machine that is not its loopback; null when it has none. */
export function outwardAddress(): string | null {
  const found = Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .find(({ internal, family }) => !internal && family === 'IPv4');
  return found?.address ?? null;
}
