import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openNodeLogger } from '../../../../src/bootstrap/metrics/node-logger.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'dlgforge-node-logs-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const read = (name: string): Promise<string> => readFile(join(folder, name), 'utf8');

test('a node and its workers write to one folder, each to its own file, and every line names the node', async () => {
  const agent = openNodeLogger({ folder, node: 'host-0011aabb' });
  const worker = openNodeLogger({ folder, node: 'host-0011aabb.w3-9f2c' });
  agent.log('info', 'actors', '[node] joined');
  agent.log('info', 'llm', '[llm] ready');
  worker.log('warn', 'store', '[store] slow');
  agent.close();
  worker.close();
  expect((await readdir(folder)).toSorted()).toEqual(['node.log', 'worker-3.log']);
  const lines = (await read('node.log')).trimEnd().split('\n');
  expect(lines.map((line) => line.split(' | ').slice(1))).toEqual([
    ['INFO', 'dlgforge.actors', 'host-0011aabb', '[node] joined'],
    ['INFO', 'dlgforge.llm', 'host-0011aabb', '[llm] ready'],
  ]);
  expect(await read('worker-3.log')).toMatch(
    / \| WARNING \| dlgforge\.store \| host-0011aabb\.w3-9f2c \| \[store\] slow\n$/,
  );
});

test('JSON lines have the node as a field, which a caller cannot take', async () => {
  const logger = openNodeLogger({ folder, node: 'host-1', format: 'json', level: 'debug' });
  logger.log('debug', 'actors', '[node] heard', { node: 'other', n: 1 });
  logger.close();
  expect(JSON.parse(await read('node.log'))).toMatchObject({
    level: 'debug',
    logger: 'dlgforge.actors',
    node: 'host-1',
    node_: 'other',
    n: 1,
    msg: '[node] heard',
  });
});

test('the level holds, and secrets never appear, those of the start nor those of later', async () => {
  const shown: string[] = [];
  const logger = openNodeLogger({
    folder,
    node: 'host-1',
    level: 'warn',
    secrets: ['join-token-1234'],
    console: (_level, message) => shown.push(message),
  });
  logger.log('info', 'actors', 'not at this level');
  logger.log('warn', 'actors', 'nats://join-token-1234@host');
  logger.redact(['later-secret']);
  logger.log('error', 'actors', 'later-secret and join-token-1234');
  logger.close();
  const text = await read('node.log');
  expect(text).not.toMatch(/join-token|later-secret|not at this level/);
  expect(text).toContain('*** and ***');
  expect(shown).toEqual(['nats://***@host', '*** and ***']);
});

test('a full file is renamed, and only so many are kept', async () => {
  const logger = openNodeLogger({ folder, node: 'host-1', bytesMax: 400, keep: 2 });
  for (let n = 0; n < 40; n += 1) logger.log('warn', 'actors', `line ${n}`);
  logger.close();
  expect((await readdir(folder)).toSorted()).toEqual(['node.log', 'node.log.1', 'node.log.2']);
  expect(await read('node.log')).toContain('line 39');
});
