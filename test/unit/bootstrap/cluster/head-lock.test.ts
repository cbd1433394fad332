import { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, expect, test } from 'vitest';
import { takeHeadLock } from '../../../../src/bootstrap/cluster/head-lock.ts';
import { processIdentity } from '../../../../src/store/process-identity.ts';

const root = mkdtempSync(join(tmpdir(), 'dlgforge-head-lock-'));
afterAll(() => rmSync(root, { recursive: true }));
let count = 0;
let home = '';
beforeEach(() => {
  count += 1;
  home = join(root, String(count));
  mkdirSync(join(home, 'mine'), { recursive: true });
});

const lockFile = (): string => join(home, 'mine', 'head.lock');
const take = () => takeHeadLock(home, 'mine', 'a test');
const holder = (change: object): string => JSON.stringify({ ...processIdentity('another'), ...change });

test('K1: who has it is named to the next; when it is released, the next has it', async () => {
  const first = await take();
  expect(first.type).toBe('acquired');
  expect(await take()).toMatchObject({ type: 'held', by: { pid: process.pid, command: 'a test' } });
  if (first.type === 'acquired') await Promise.all([first.lock.release(), first.lock.release()]);
  const next = await take();
  expect(next.type).toBe('acquired');
  if (next.type === 'acquired') await next.lock.release();
  expect(readdirSync(join(home, 'mine'))).toEqual([]);
});

test.each([
  ['a dead process', () => holder({ pid: 2 ** 22 - 1 })],
  ['a process of the same number that is another one', () => holder({ processKey: 'an earlier boot:1' })],
  ['nobody, because it was cut off', () => '{"host": "a'],
])('K2: of many that find the lock of %s, exactly one has it', async (_, content) => {
  writeFileSync(lockFile(), content());
  const longAgo = new Date(Date.now() - 60_000);
  utimesSync(lockFile(), longAgo, longAgo);
  const results = await Promise.all(Array.from({ length: 20 }, take));
  const acquired = results.filter((result) => result.type === 'acquired');
  expect(acquired).toHaveLength(1);
  expect(readdirSync(join(home, 'mine'))).toEqual(['head.lock']);
  await acquired[0]?.lock.release();
});

test('K1: one of another host is held while it is touched, and free when it has been silent', async () => {
  writeFileSync(lockFile(), holder({ host: 'elsewhere', pid: 2 ** 22 - 1 }));
  expect(await take()).toMatchObject({ type: 'held', by: { host: 'elsewhere' } });
  const longAgo = new Date(Date.now() - 60_000);
  utimesSync(lockFile(), longAgo, longAgo);
  const taken = await take();
  expect(taken.type).toBe('acquired');
  if (taken.type === 'acquired') await taken.lock.release();
});

test('K3: a holder whose lock was taken over leaves the other one', async () => {
  const first = await take();
  writeFileSync(lockFile(), holder({ host: 'elsewhere' }));
  if (first.type === 'acquired') await first.lock.release();
  expect(readdirSync(join(home, 'mine'))).toEqual(['head.lock']);
});
