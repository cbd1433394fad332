/**
 * What crosses the wire between two runtimes, and what happens to it at the door (I10).
 *
 * The form of `fail` is fixed for all versions, so that a node can be told that its version is not
 * spoken here.
 */
import { DlgforgeError, isDlgforgeError, messageOf } from '../../kernel/errors.ts';
import type { Envelope } from '../../ports/transport.ts';

export const ENVELOPE_VERSION = 1;
/** So that the nodes of a cluster can be replaced by those of the next version, one after another. */
const VERSION_STEPS_MAX = 1;

const KINDS: ReadonlySet<unknown> = new Set<Envelope['kind']>([
  'tell',
  'ask',
  'reply',
  'fail',
  'watch',
  'unwatch',
  'terminated',
]);
const NEEDS_PATH: ReadonlySet<unknown> = new Set<Envelope['kind']>(['tell', 'ask', 'watch']);

export type Arrived =
  | { readonly type: 'accepted'; readonly envelope: Envelope }
  /** `answerTo`: the ask that waits for an answer it will not get. */
  | {
      readonly type: 'refused';
      readonly why: string;
      readonly from: string | null;
      readonly version: number;
      readonly answerTo: string | null;
    };

export function readEnvelope(arrived: unknown): Arrived {
  if (arrived === null || typeof arrived !== 'object') return refused({}, 'it is not an object');
  const fields = arrived as Readonly<Record<string, unknown>>;
  const known = isSpoken(fields['version']) || fields['kind'] === 'fail';
  if (!known)
    return refused(
      fields,
      `its version is ${String(fields['version'])}, this node speaks ${ENVELOPE_VERSION}`,
    );
  const fault = faultOf(fields);
  return fault === null ? { type: 'accepted', envelope: arrived as Envelope } : refused(fields, fault);
}

function isSpoken(version: unknown): boolean {
  return Number.isInteger(version) && Math.abs(Number(version) - ENVELOPE_VERSION) <= VERSION_STEPS_MAX;
}

function faultOf(fields: Readonly<Record<string, unknown>>): string | null {
  const { kind, from, path, incarnation, correlation, timeoutMs } = fields;
  if (!KINDS.has(kind)) return `its kind is unknown: ${String(kind)}`;
  if (typeof from !== 'string') return 'it does not say which node it is from';
  if (NEEDS_PATH.has(kind) && (typeof path !== 'string' || !Number.isSafeInteger(incarnation)))
    return 'it names no actor';
  if (kind !== 'tell' && typeof correlation !== 'string') return 'it has no correlation';
  if (kind === 'ask' && !(typeof timeoutMs === 'number' && timeoutMs >= 0)) return 'it has no deadline';
  return null;
}

function refused(fields: Readonly<Record<string, unknown>>, why: string): Arrived {
  const { from, version, kind, correlation } = fields;
  return {
    type: 'refused',
    why,
    from: typeof from === 'string' ? from : null,
    version: typeof version === 'number' ? version : ENVELOPE_VERSION,
    answerTo: kind === 'ask' && typeof correlation === 'string' ? correlation : null,
  };
}

/** Why an ask can't be answered, as it travels; and `error` of a watched actor that was given up. */
interface Fault {
  readonly code: string;
  readonly message: string;
}

export function faultBody(error: unknown): Fault {
  return { code: isDlgforgeError(error) ? error.code : 'receiver_gone', message: messageOf(error) };
}

const CODES_ON_THE_WIRE = ['receiver_gone', 'overloaded', 'refused', 'cancelled', 'stale_epoch'] as const;

/** Codes that this version does not know count as `receiver_gone`. */
export function faultFrom(node: string, body: unknown): DlgforgeError {
  const fields: Partial<Record<string, unknown>> =
    body !== null && typeof body === 'object' ? { ...body } : {};
  const code = CODES_ON_THE_WIRE.find((known) => known === fields['code']) ?? 'receiver_gone';
  const message = typeof fields['message'] === 'string' ? fields['message'] : 'no reason given';
  return new DlgforgeError(code, `node ${node}: ${message}`, { retryable: code !== 'refused' });
}
