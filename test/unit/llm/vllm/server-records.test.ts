import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { thisHost } from '../../../../src/llm/vllm/process-table.ts';
import {
  hasStarter,
  identityOf,
  isRunning,
  orderHash,
  type ServerRecord,
  ServerRecords,
} from '../../../../src/llm/vllm/server-records.ts';
import type { ServerOrder } from '../../../../src/ports/server-process.ts';

const me = identityOf(process.pid) ?? { pid: 0, startKey: '' };
const record: ServerRecord = {
  mark: '0123456789abcdef0123456789abcdef',
  host: thisHost(),
  name: 'run/0',
  orderHash: 'x',
  keep: false,
  port: 18_000,
  gpus: [0],
  logPath: '/tmp/vllm-0.log',
  starter: me,
  program: me,
};

describe('records of servers', () => {
  let folder: string;
  let records: ServerRecords;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'dlgforge-records-'));
    records = new ServerRecords(folder);
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  test('are read as they were written, replaced whole, and removed', () => {
    expect(records.ofThisHost()).toEqual([]);
    records.write({ ...record, program: null });
    records.write(record);
    expect(records.ofThisHost()).toEqual([record]);
    expect(readdirSync(join(folder, 'vllm-servers'))).toEqual([`${record.mark}.json`]);
    records.remove(record.mark);
    records.remove(record.mark);
    expect(records.ofThisHost()).toEqual([]);
  });

  test('those of other machines and boots, and what is no record, are not ours to judge', () => {
    records.write(record);
    records.write({ ...record, mark: 'a'.repeat(32), host: 'elsewhere' });
    const at = (name: string): string => join(folder, 'vllm-servers', name);
    writeFileSync(at('half.json'), '{"mark":');
    writeFileSync(at(`${'b'.repeat(32)}.json`), JSON.stringify(record));
    writeFileSync(
      at(`${'c'.repeat(32)}.json`),
      JSON.stringify({ ...record, mark: 'c'.repeat(32), program: { pid: 1 } }),
    );
    expect(records.ofThisHost()).toEqual([record]);
  });

  test('a number that was given again is not the process that had it', () => {
    expect(isRunning(record)).toBe(true);
    expect(hasStarter(record)).toBe(true);
    const another = { ...me, startKey: `${Number(me.startKey) - 1}` };
    expect(isRunning({ ...record, program: another })).toBe(false);
    expect(isRunning({ ...record, program: null })).toBe(false);
    expect(hasStarter({ ...record, starter: another })).toBe(false);
  });

  test('orders are the same when program, arguments, environment and number of GPUs are', () => {
    const order: ServerOrder = {
      name: 'a',
      program: 'vllm',
      args: ['serve', 'm'],
      env: { A: '1', B: '2' },
      gpus: [0, 1],
      address: { host: '0.0.0.0', portStart: 18_000 },
      logPath: '/a',
      keep: true,
    };
    const same = {
      ...order,
      name: 'b',
      env: { B: '2', A: '1' },
      gpus: [2, 3],
      address: { host: '127.0.0.1', portStart: 1 },
      logPath: '/b',
    };
    expect(orderHash(same)).toBe(orderHash(order));
    const others: readonly Partial<ServerOrder>[] = [
      { program: 'other' },
      { args: ['serve', 'm', '--seed'] },
      { args: ['serve m'] },
      { env: { A: '1' } },
      { gpus: [0] },
      { gpus: null },
    ];
    for (const change of others) expect(orderHash({ ...order, ...change })).not.toBe(orderHash(order));
  });
});
