import * as fc from 'fast-check';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Assembly } from '../../../../src/transport/nats/assembly.ts';
import {
  batchPayload,
  PUBLISH_BYTES_MAX,
  partPayloads,
  readPayload,
} from '../../../../src/transport/nats/payload.ts';

const dropped: string[] = [];
let assembly: Assembly;

beforeEach(() => {
  vi.useFakeTimers();
  dropped.length = 0;
  assembly = new Assembly((sender, why) => void dropped.push(`${sender}: ${why}`));
});

afterEach(() => {
  assembly.clear();
  vi.useRealTimers();
});

/** What comes of publishes of `sender`. */
function received(sender: string, payloads: readonly Uint8Array[]): unknown[] {
  return payloads.flatMap((data) => {
    const payload = readPayload(data);
    if (payload.type === 'batch') return payload.envelopes;
    if (payload.type === 'malformed') return [payload.why];
    const whole = assembly.add(sender, payload.header, payload.bytes);
    return whole === null ? [] : [whole.envelope];
  });
}

test('a batch comes back as it was', () => {
  fc.assert(
    fc.property(fc.array(fc.jsonValue()), (values) => {
      const encoded = values.map((value) => JSON.stringify(value));
      expect(received('a', [batchPayload(encoded)])).toEqual(JSON.parse(`[${encoded.join(',')}]`));
    }),
  );
});

test('an envelope in parts comes back whole, wherever the bytes were cut', () => {
  for (const size of [PUBLISH_BYTES_MAX - 2, PUBLISH_BYTES_MAX, 3 * PUBLISH_BYTES_MAX + 1]) {
    const envelope = { body: 'ä€😀'.repeat(size / 9) };
    expect(received('a', partPayloads('id', JSON.stringify(envelope)))).toEqual([envelope]);
  }
  expect(dropped).toEqual([]);
});

test('bytes of strangers are an answer, never an exception', () => {
  const start = fc.constantFrom(
    '',
    '[',
    '{',
    '{"id":"x","index":0,"count":2}\n',
    '{"id":"x","index":1,"count":2}\n',
  );
  fc.assert(
    fc.property(start, fc.uint8Array(), (head, tail) => {
      received('a', [Buffer.concat([Buffer.from(head), tail])]);
    }),
  );
});

test('parts that are missing, repeated or mixed up make no envelope', () => {
  const parts = partPayloads('one', JSON.stringify('x'.repeat(3 * PUBLISH_BYTES_MAX)));
  const others = partPayloads('two', JSON.stringify('y'.repeat(PUBLISH_BYTES_MAX)));
  expect(received('a', parts.slice(1))).toEqual([]);
  expect(received('a', parts.slice(0, -1).concat(parts.slice(-2)))).toEqual([]);
  expect(
    received(
      'a',
      [parts[0], others[0], parts[1]].flatMap((part) => part ?? []),
    ),
  ).toEqual([]);
  const repeated = [parts[0], parts[1], parts[1], parts[3]].flatMap((part) => part ?? []);
  expect(received('a', repeated)).toEqual([]);
  expect(dropped.length).toBeGreaterThanOrEqual(4);
  // Two senders do not disturb each other.
  expect(received('a', parts.slice(0, 2))).toEqual([]);
  expect(received('b', others)).toEqual(['y'.repeat(PUBLISH_BYTES_MAX)]);
  expect(received('a', parts.slice(2))).toEqual(['x'.repeat(3 * PUBLISH_BYTES_MAX)]);
});

test('an envelope whose last parts do not come is given up', () => {
  const parts = partPayloads('one', JSON.stringify('x'.repeat(PUBLISH_BYTES_MAX)));
  received('a', parts.slice(0, 1));
  vi.advanceTimersByTime(60_000);
  expect(dropped).toEqual(['a: its last parts did not come']);
  expect(received('a', parts.slice(1))).toEqual([]);
});

test('what is held for senders that never finish is bounded', () => {
  const part = Buffer.alloc(PUBLISH_BYTES_MAX);
  for (let sender = 0; sender < 64; sender += 1)
    for (let index = 0; index < 20; index += 1)
      assembly.add(`sender ${sender}`, { id: 'x', index, count: 128 }, part);
  expect(dropped.some((text) => text.includes('too many bytes'))).toBe(true);
});
