import { invariant } from '../kernel/errors.ts';

/** A question key as bytes; keys are hex digests. */
export function keyBytes(key: string): Buffer {
  invariant(/^(?:[0-9a-f]{2})+$/.test(key), `a question key is lower-case hex: ${JSON.stringify(key)}`);
  return Buffer.from(key, 'hex');
}
