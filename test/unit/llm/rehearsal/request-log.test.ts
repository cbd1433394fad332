import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { LogEntry } from '../../../../src/llm/rehearsal/request-entry.ts';
import { startRehearsal } from '../../../../src/llm/rehearsal/server.ts';
import { call, chat, questionMessages, rehearsing } from './rehearsed-calls.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'rehearsal-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const entriesOf = (path: string): LogEntry[] =>
  readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as LogEntry);

describe('request log', () => {
  it('has a line per arrival and one per completion, and goes on after a restart', async () => {
    const logFile = join(folder, 'calls.jsonl');
    for (let start = 0; start < 2; start += 1) {
      await rehearsing(
        async ({ url }) => {
          const reply = await chat(url, { messages: questionMessages() });
          // The line is there before the answer is.
          expect(entriesOf(logFile).at(-1)).toMatchObject({
            event: 'completion',
            key: reply.headers['x-rehearsal-key'],
            status: 200,
          });
        },
        { logFile },
      );
    }
    const entries = entriesOf(logFile);
    expect(entries.map((entry) => entry.event)).toEqual(['arrival', 'completion', 'arrival', 'completion']);
    expect(new Set(entries.map((entry) => entry.key)).size).toBe(1);
    expect(entries[1]).toMatchObject({
      role: 'user',
      model: 'any',
      outcome: 'answered',
      tool_calls: 0,
      arrival: 1,
    });
  });

  it('says which knob to change when the file cannot be opened', async () => {
    await expect(startRehearsal({ logFile: join(folder, 'no', 'such', 'folder') })).rejects.toMatchObject({
      code: 'output',
    });
  });

  it('keeps a bounded number of entries in memory', () =>
    rehearsing(
      async ({ url, log }) => {
        for (let index = 0; index < 20; index += 1) {
          await chat(url, { messages: [{ role: 'user', content: `Question number ${index}?` }] });
        }
        expect(log().map((entry) => entry.seq)).toEqual([19, 19, 20, 20]);
      },
      { log_limit: 4 },
    ));
});

describe('the process', () => {
  const start = async (options: object) => {
    const script = new URL('../../../../src/llm/rehearsal/process.ts', import.meta.url).pathname;
    const child = spawn(process.execPath, [script, JSON.stringify(options)], {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    return { child, url: (JSON.parse(line.toString()) as { url: string }).url };
  };

  it('serves until its standard input ends', async () => {
    const { child, url } = await start({ seed: 5 });
    expect(await call(url, '/health')).toMatchObject({ status: 200 });
    child.stdin.end();
    expect(await once(child, 'exit')).toEqual([0, null]);
  });

  it('ends at SIGTERM, with requests in flight', async () => {
    const { child, url } = await start({ latency: { mean_ms: 60_000 } });
    const waiting = chat(url, { messages: questionMessages() }).then(
      () => 'answered',
      () => 'cut off',
    );
    await call(url, '/rehearsal/stats');
    child.kill('SIGTERM');
    expect(await once(child, 'exit')).toEqual([0, null]);
    expect(await waiting).toBe('cut off');
  });

  it('refuses options that are off', async () => {
    const script = new URL('../../../../src/llm/rehearsal/process.ts', import.meta.url).pathname;
    const child = spawn(process.execPath, [script, '{"stall_rate":5}'], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const [text] = (await once(child.stderr, 'data')) as [Buffer];
    expect(text.toString()).toContain('stall_rate');
    expect(await once(child, 'exit')).toEqual([1, null]);
  });
});
