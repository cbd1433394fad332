/**
 * A counter-based generator: every draw is a hash of a key, so a draw depends on what it is for
 * and never on who drew before (ARCHITECTURE.md, "How a conversation runs"). Not for secrets.
 *
 * The mixer is xxHash32's avalanche over two lanes (Collet, xxHash specification, section "XXH32").
 */
export type RandomKey = readonly (string | number)[];

const PRIME_1 = 0x9e3779b1;
const PRIME_2 = 0x85ebca77;
const PRIME_3 = 0xc2b2ae3d;
const PRIME_5 = 0x165667b1;

function avalanche(value: number): number {
  let hash = value;
  hash ^= hash >>> 15;
  hash = Math.imul(hash, PRIME_2);
  hash ^= hash >>> 13;
  hash = Math.imul(hash, PRIME_3);
  hash ^= hash >>> 16;
  return hash >>> 0;
}

function absorb(hash: number, word: number): number {
  const mixed = (hash + Math.imul(word, PRIME_3)) | 0;
  return Math.imul((mixed << 17) | (mixed >>> 15), PRIME_1) ^ avalanche(mixed);
}

function absorbPart(hash: number, part: string | number): number {
  if (typeof part === 'number')
    return absorb(absorb(hash, part | 0), Math.floor(part / 0x1_0000_0000) ^ 0x6e);
  let next = absorb(hash, part.length ^ 0x73);
  for (let i = 0; i < part.length; i += 1) next = absorb(next, part.charCodeAt(i));
  return next;
}

/** 32 uniform bits for `key`. */
export function bits(key: RandomKey, lane = 0): number {
  let hash = (PRIME_5 + Math.imul(lane, PRIME_2)) | 0;
  for (const part of key) hash = absorbPart(hash, part);
  return avalanche(hash);
}

/** Uniform in [0, 1), 53 bits. */
export function uniform(key: RandomKey): number {
  return ((bits(key, 1) >>> 6) * 0x800_0000 + (bits(key, 2) >>> 5)) / 0x20_0000_0000_0000;
}

/** Uniform integer in [0, bound). `bound` must be positive. */
export function below(key: RandomKey, bound: number): number {
  return Math.floor(uniform(key) * bound);
}

/** A shuffled copy (Fisher–Yates), a function of `key` and the items' order. */
export function shuffled<T>(key: RandomKey, items: readonly T[]): T[] {
  const copy = [...items];
  for (let i = copy.length - 1; i > 0; i -= 1) {
    const j = below([...key, i], i + 1);
    [copy[i], copy[j]] = [copy[j] as T, copy[i] as T];
  }
  return copy;
}
