/**
 * What one publish carries. A batch is a JSON array of envelopes. An envelope that is too big for one publish
 * travels as parts: a line of JSON that says which part of what it is, then its bytes.
 */
import { InvariantError, messageOf } from '../../kernel/errors.ts';

/** Of one publish; servers accept 1 MiB by default. */
export const PUBLISH_BYTES_MAX = 512 * 1024;
/** Of one envelope, in all its parts. */
export const ENVELOPE_BYTES_MAX = 64 * 1024 * 1024;
/** Nobody who speaks this protocol publishes more than this at once. */
export const ARRIVAL_BYTES_MAX = PUBLISH_BYTES_MAX + 1024;

const OPEN_ARRAY = 0x5b;
const NEW_LINE = 0x0a;

export interface PartHeader {
  readonly id: string;
  readonly index: number;
  readonly count: number;
}

export type Payload =
  | { readonly type: 'batch'; readonly envelopes: readonly unknown[] }
  | { readonly type: 'part'; readonly header: PartHeader; readonly bytes: Buffer }
  | { readonly type: 'malformed'; readonly why: string };

/** @throws InvariantError when it cannot be JSON, or is too big. */
export function encode(value: unknown): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch (error) {
    const message = `invariant broken: a message cannot be encoded: ${messageOf(error)}`;
    throw new InvariantError(message, { cause: error });
  }
  if (text === undefined) throw new InvariantError('invariant broken: a message is not JSON');
  return text;
}

export function batchPayload(encoded: readonly string[]): Buffer {
  return Buffer.from(`[${encoded.join(',')}]`);
}

export function partPayloads(id: string, encoded: string): Buffer[] {
  const bytes = Buffer.from(encoded);
  const count = Math.ceil(bytes.length / PUBLISH_BYTES_MAX);
  return Array.from({ length: count }, (_, index) => {
    const header: PartHeader = { id, index, count };
    const part = bytes.subarray(index * PUBLISH_BYTES_MAX, (index + 1) * PUBLISH_BYTES_MAX);
    return Buffer.concat([Buffer.from(`${JSON.stringify(header)}\n`), part]);
  });
}

export function readPayload(data: Uint8Array): Payload {
  if (data.length > ARRIVAL_BYTES_MAX)
    return malformed(`it has ${data.length} bytes, more than ${ARRIVAL_BYTES_MAX}`);
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  if (bytes[0] !== OPEN_ARRAY) return readPart(bytes);
  const envelopes = parsed(bytes);
  return Array.isArray(envelopes) ? { type: 'batch', envelopes } : malformed('it is no JSON');
}

function readPart(bytes: Buffer): Payload {
  const end = bytes.indexOf(NEW_LINE);
  const header = end < 0 ? null : parsed(bytes.subarray(0, end));
  if (!isPartHeader(header)) return malformed('it is neither a batch nor a part');
  return { type: 'part', header, bytes: bytes.subarray(end + 1) };
}

/** Undefined when it is no JSON. */
export function parsed(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString());
  } catch {
    return undefined;
  }
}

function isPartHeader(value: unknown): value is PartHeader {
  if (value === null || typeof value !== 'object') return false;
  const { id, index, count } = value as Partial<Record<string, unknown>>;
  const countMax = Math.ceil(ENVELOPE_BYTES_MAX / PUBLISH_BYTES_MAX);
  return (
    typeof id === 'string' &&
    Number.isInteger(index) &&
    Number.isInteger(count) &&
    (index as number) >= 0 &&
    (index as number) < (count as number) &&
    (count as number) <= countMax
  );
}

const malformed = (why: string): Payload => ({ type: 'malformed', why });
