import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openFileLogger } from '../../../src/kernel/file-logger.ts';
import { RotatingFile } from '../../../src/kernel/rotating-file.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'dlgforge-logs-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const read = (name: string): Promise<string> => readFile(join(folder, name), 'utf8');

describe('log files', () => {
  test('five files, lines as documented, every line in run.log', async () => {
    const shown: string[] = [];
    const logger = openFileLogger({
      folder,
      console: (level, message) => shown.push(`${level}: ${message}`),
    });
    logger.log('info', 'judge', '[judge-online] turn=1 score=8', { score: 8 });
    logger.log('warn', 'llm', '100 % %s of it');
    logger.log('debug', 'llm', 'not at this level');
    logger.log('info', 'run', 'two\nlines');
    logger.close();
    logger.close();
    expect((await readdir(folder)).toSorted()).toEqual([
      'judge.log',
      'llm.log',
      'retrieval.log',
      'run.log',
      'tools.log',
    ]);
    expect(await read('judge.log')).toMatch(
      /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \| INFO \| dlgforge\.judge \| \[judge-online\] turn=1 score=8\n$/,
    );
    const run = (await read('run.log')).split('\n');
    expect(run.map((line) => line.split(' | ').slice(1).join(' | '))).toEqual([
      'INFO | dlgforge.judge | [judge-online] turn=1 score=8',
      'WARNING | dlgforge.llm | 100 % %s of it',
      'INFO | dlgforge.run | two\\nlines',
      '',
    ]);
    expect(await read('tools.log')).toBe('');
    expect(shown).toEqual([
      'info: [judge-online] turn=1 score=8',
      'warn: 100 % %s of it',
      'info: two\nlines',
    ]);
  });

  test('JSON lines carry the fields, also those that are named like ours', async () => {
    const logger = openFileLogger({ folder, format: 'json' });
    logger.log('error', 'store', 'gone', {
      runId: 'r',
      time: 'mine',
      error: new Error('outer', { cause: new Error('inner') }),
    });
    logger.close();
    const line = JSON.parse(await read('run.log')) as Record<string, unknown>;
    expect(line).toMatchObject({
      level: 'error',
      logger: 'dlgforge.store',
      msg: 'gone',
      runId: 'r',
      time_: 'mine',
    });
    expect(Number.isNaN(Date.parse(String(line['time'])))).toBe(false);
    expect(JSON.stringify(line['error'])).toContain('inner');
    expect(line).not.toHaveProperty('pid');
  });

  test('A16 the stack of an error is in the file, with its causes', async () => {
    const logger = openFileLogger({ folder });
    logger.log('error', 'run', 'run failed', { error: new Error('outer', { cause: new Error('inner') }) });
    logger.close();
    expect(await read('run.log')).toMatch(
      /run failed\n {4}Error: outer\n {8}at [^]*\[cause\]: Error: inner\n/,
    );
  });

  test.each(['text', 'json'] as const)('I8 secrets never reach a %s log, quoted or not', async (format) => {
    const shown: string[] = [];
    const logger = openFileLogger({ folder, format, console: (_level, message) => shown.push(message) });
    const secret = 'p"a\\ss/w@rd';
    logger.redact(['sk-other']);
    logger.redact([secret, '', 'k']);
    const dsn = `postgres://u:${encodeURIComponent(secret)}@host`;
    logger.log('error', 'llm', `key ${secret} at ${dsn}`, {
      header: `Bearer ${secret}`,
      error: new Error(`sk-other ${dsn}`),
    });
    logger.close();
    const written = (await read('run.log')) + (await read('llm.log')) + shown.join('\n');
    expect(written).toContain('key *** at postgres://u:***@host');
    for (const form of [
      secret,
      JSON.stringify(secret).slice(1, -1),
      encodeURIComponent(secret),
      'sk-other',
    ]) {
      expect(written).not.toContain(form);
    }
  });

  test('full files are renamed, the oldest goes, no line is cut', async () => {
    const logger = openFileLogger({ folder, bytesMax: 400, keep: 2 });
    for (let n = 0; n < 40; n += 1) logger.log('info', 'tools', `line ${n} `.padEnd(80, '.'));
    logger.close();
    const names = (await readdir(folder)).filter((name) => name.startsWith('tools.log')).toSorted();
    expect(names).toEqual(['tools.log', 'tools.log.1', 'tools.log.2']);
    const texts = await Promise.all(['tools.log.2', 'tools.log.1', 'tools.log'].map(read));
    const numbers = texts
      .join('')
      .trimEnd()
      .split('\n')
      .map((line) => Number(/line (\d+)/.exec(line)?.[1]));
    expect(numbers).toEqual(Array.from({ length: numbers.length }, (_, at) => 40 - numbers.length + at));
    for (const text of texts) expect(text.length).toBeLessThanOrEqual(400);
  });

  test('two processes may share a log: one goes on in the file that the other began', async () => {
    const path = join(folder, 'shared.log');
    const first = new RotatingFile(path, 30, 3);
    const second = new RotatingFile(path, 30, 3);
    first.write(['first 1 ..................\n']);
    second.write(['second 1 .................\n']);
    first.write(['first 2 ..................\n']);
    second.write(['second 2 .................\n']);
    first.close();
    second.close();
    const texts = await Promise.all((await readdir(folder)).map(read));
    expect(texts.join('').trimEnd().split('\n').toSorted()).toEqual([
      'first 1 ..................',
      'first 2 ..................',
      'second 1 .................',
      'second 2 .................',
    ]);
  });

  const child = async (ending: string): Promise<{ readonly signal: string | null }> => {
    const script = `
      import { openFileLogger } from ${JSON.stringify(new URL('../../../src/kernel/file-logger.ts', import.meta.url).href)};
      const logger = openFileLogger({ folder: ${JSON.stringify(folder)} });
      for (let n = 0; n < 500; n += 1) logger.log('info', 'llm', 'line ' + n);
      ${ending}`;
    const run = promisify(execFile)(process.execPath, ['--input-type=module-typescript', '-e', script]);
    return await run.then(
      () => ({ signal: null }),
      (error: { readonly signal: string | null }) => error,
    );
  };

  test.each([
    ['ends by itself', ''],
    ['exits', 'process.exit(0);'],
    ['dies of an error', "throw new Error('nobody catches this');"],
    ['waits for nothing', 'await new Promise(() => undefined);'],
  ])('nothing is lost when the process %s right after a line', async (_how, ending) => {
    await child(ending);
    expect((await read('llm.log')).trimEnd().split('\n')).toHaveLength(500);
    expect((await read('run.log')).trimEnd().split('\n')).toHaveLength(500);
  });

  test('nothing up to a warning is lost when the process is killed right after it', async () => {
    const ending = "logger.log('warn', 'run', 'last'); process.kill(process.pid, 'SIGKILL');";
    expect(await child(ending)).toMatchObject({ signal: 'SIGKILL' });
    expect((await read('llm.log')).trimEnd().split('\n')).toHaveLength(500);
    expect(await read('run.log')).toMatch(/\| WARNING \| dlgforge\.run \| last\n$/);
  });

  test('lines are in the file a moment later, and while many come', async () => {
    const logger = openFileLogger({ folder });
    for (let n = 0; n < 1_500; n += 1) logger.log('info', 'run', `line ${n}`);
    expect((await read('run.log')).split('\n').length).toBeGreaterThan(1_000);
    await expect.poll(() => read('run.log')).toMatch(/line 1499\n$/);
    logger.close();
  });

  test('a log that cannot be written does not throw, and says so once', async () => {
    const shown: string[] = [];
    const logger = openFileLogger({
      folder,
      bytesMax: 10,
      console: (_level, message) => shown.push(message),
    });
    logger.log('info', 'run', 'fits');
    await rm(folder, { recursive: true });
    logger.log('info', 'run', 'one');
    logger.log('info', 'run', 'two');
    logger.close();
    expect(shown.filter((message) => message.startsWith('cannot write'))).toHaveLength(1);
    expect(shown).toContain('two');
  });
});
