import { InvariantError } from '../../kernel/errors.ts';

/**
 * The value as it would arrive on another node. `JSON` changes some values silently; those are our
 * own mistakes and are named. A property that is undefined may be left out, as it is on the wire.
 * @throws InvariantError naming the first place that JSON cannot carry.
 */
export function jsonCopy(value: unknown): unknown {
  if (value === undefined) return undefined;
  requireJson(value, 'message');
  return JSON.parse(JSON.stringify(value)) as unknown;
}

const DEPTH_MAX = 200;

function requireJson(value: unknown, place: string, depth = 0): void {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return;
  if (typeof value === 'number' && Number.isFinite(value)) return;
  if (depth > DEPTH_MAX) throw unfit(place, 'is nested too deep or in itself');
  if (Array.isArray(value)) {
    for (const [index, item] of value.entries()) requireJson(item, `${place}[${index}]`, depth + 1);
    return;
  }
  if (typeof value !== 'object')
    throw unfit(place, `is ${typeof value === 'number' ? String(value) : `a ${typeof value}`}`);
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null)
    throw unfit(place, `is a ${value.constructor.name}`);
  for (const [key, item] of Object.entries(value)) {
    if (item !== undefined) requireJson(item, `${place}.${key}`, depth + 1);
  }
}

function unfit(place: string, what: string): InvariantError {
  return new InvariantError(`invariant broken: ${place} ${what}, which JSON cannot carry to another node`);
}
