import type { NatsConnection } from 'nats';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { silentLogger } from '../../../../src/kernel/logger.ts';
import { Outbox } from '../../../../src/transport/nats/outbox.ts';
import { subjectsOf } from '../../../../src/transport/nats/subjects.ts';
import type { Wire } from '../../../../src/transport/nats/wire.ts';

let published: string[];
let isConnected: boolean;
let restore: () => void;
let outbox: Outbox;
let flushes: PromiseWithResolvers<void>[];

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['performance'] });
  published = [];
  flushes = [];
  isConnected = true;
  const nats = {
    publish: (_subject: string, payload: Buffer) => void published.push(payload.toString()),
    flush() {
      const flush = Promise.withResolvers<void>();
      flushes.push(flush);
      return flush.promise;
    },
  };
  const wire: Wire = {
    // The two calls that an outbox makes.
    nats: nats as unknown as NatsConnection,
    subjects: subjectsOf('n'),
    logger: silentLogger,
    shown: 'nats://test',
    get isConnected() {
      return isConnected;
    },
    hear: () => () => undefined,
    restoredForMs: Number.POSITIVE_INFINITY,
    onRestored(listener) {
      restore = listener;
      return () => undefined;
    },
  };
  outbox = new Outbox(wire, 'a');
});

afterEach(() => {
  outbox.close();
  vi.useRealTimers();
});

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('what is sent in one go is one publish for each destination', async () => {
  for (let count = 0; count < 3; count += 1) {
    outbox.add('b', `${count}`);
    outbox.add('c', `${count}`);
  }
  await turn();
  expect(published).toEqual(['[0,1,2]', '[0,1,2]']);
});

test('what follows in the same turn leaves with it, in order', async () => {
  outbox.add('b', '0');
  await Promise.resolve();
  for (let count = 1; count < 5; count += 1) {
    outbox.add('b', `${count}`);
    await Promise.resolve();
  }
  await turn();
  expect(published).toEqual(['[0]', '[1,2,3,4]']);
});

test('what waited too long for the server is dropped when it is back', async () => {
  isConnected = false;
  outbox.add('b', '"old"');
  await turn();
  vi.advanceTimersByTime(6_000);
  outbox.add('b', '"new"');
  await turn();
  isConnected = true;
  restore();
  expect(published).toEqual(['["new"]']);
  expect(outbox.dropped).toBe(1);
  isConnected = false;
  outbox.add('b', '"newer"');
  await turn();
  vi.advanceTimersByTime(6_000);
  isConnected = true;
  restore();
  expect(published).toEqual(['["new"]']);
  expect(outbox.dropped).toBe(2);
});

test('a server that takes nothing makes the outbox drop, not grow', async () => {
  const large = JSON.stringify('x'.repeat(10 * 1024 * 1024));
  for (let count = 0; count < 20; count += 1) outbox.add('b', large);
  expect(outbox.dropped).toBeGreaterThanOrEqual(6);
  for (const flush of flushes) flush.resolve();
  await turn();
  const before = published.length;
  outbox.add('b', '1');
  await turn();
  expect(published.length).toBe(before + 1);
});
