/** No process of a vLLM server outlives what it is for, whoever is killed; its output and its end are told (P1 to P4). */
import { spawn } from 'node:child_process';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { silentLogger } from '../../src/kernel/logger.ts';
import { vllmProcesses } from '../../src/llm/vllm/server-processes.ts';
import { serverProbe } from '../../src/llm/vllm/server-probe.ts';
import { ServerRecords } from '../../src/llm/vllm/server-records.ts';
import type { ServerProcess } from '../../src/ports/server-process.ts';
import { startProcess, waitFor } from '../support/processes.ts';
import { familyOf, goneMs, vllmLab } from '../support/vllm-lab.ts';

const PROMISED_MS = 2_000;
/** A loaded machine may be late; what was measured is printed. */
const SLACK_MS = 4_000;

const lab = vllmLab();
afterAll(() => lab.end());

/** API servers that never look at their engine: whatever ends the tree is ours. */
const careless = { engine_watch_ms: null };

const kill = (pids: readonly number[]): void => {
  for (const pid of pids) process.kill(pid, 'SIGKILL');
};

const gone = (pids: readonly number[]): Promise<number> => goneMs(pids, PROMISED_MS + SLACK_MS);

async function healthy(server: ServerProcess): Promise<void> {
  await waitFor(
    () => (server.phase() === 'started' ? true : undefined),
    20_000,
    () => server.lastLines().join('\n'),
  );
}

const recordsLeft = (stateDir: string): readonly string[] => readdirSync(join(stateDir, 'vllm-servers'));

describe.runIf(process.platform === 'linux')('process tree of a vLLM server', () => {
  test.concurrent('with the starter killed, alone or with one more, none of the tree is left after 2 s', async () => {
    const names = [
      'starter',
      'starter-and-guardian',
      'starter-and-other-guardian',
      'starter-and-api',
      'starter-and-engine',
    ];
    // Engines that no group and no parent tells: each of the guardians has to find one by its mark.
    const { process: starter, families } = await lab.starter(
      names.map((name, i) =>
        lab.order(name, 18_100 + i, { ...careless, engine_leaves_session: name.endsWith('guardian') }),
      ),
    );
    const family = (name: string) => families.get(name) ?? { api: 0, engine: 0, guardians: [] };
    for (const [name, { guardians }] of families) expect(guardians, name).toHaveLength(2);

    kill([
      starter.child.pid ?? 0,
      family('starter-and-guardian').guardians[0] ?? 0,
      family('starter-and-other-guardian').guardians[1] ?? 0,
      family('starter-and-api').api,
      family('starter-and-engine').engine,
    ]);
    const measured = await Promise.all(
      [...families].map(async ([name, { api, engine, guardians }]) => {
        const [serverMs, guardiansMs] = await Promise.all([gone([api, engine]), gone(guardians)]);
        return `${name} ${serverMs} ms (its guardians ${guardiansMs} ms)`;
      }),
    );
    console.info('gone after', measured.join(', '));
  });

  test.concurrent('with anybody else killed, alone or in pairs, none of the tree is left after 2 s', async () => {
    const cases: Readonly<Record<string, (of: Awaited<ReturnType<typeof familyOf>>) => readonly number[]>> = {
      guardian: ({ guardians }) => guardians.slice(0, 1),
      'both-guardians': ({ guardians }) => guardians,
      api: ({ api }) => [api],
      engine: ({ engine }) => [engine],
      'engine-untitled': ({ engine }) => [engine],
      'guardian-and-api': ({ guardians, api }) => [...guardians.slice(0, 1), api],
      'guardian-and-engine': ({ guardians, engine }) => [...guardians.slice(0, 1), engine],
      'api-and-engine': ({ api, engine }) => [api, engine],
    };
    const names = Object.keys(cases);
    const { process: starter, families } = await lab.starter(
      names.map((name, i) =>
        lab.order(name, 18_120 + i, {
          ...careless,
          ...(name === 'engine-untitled' ? { engine_title: null } : {}),
        }),
      ),
    );
    const measured = await Promise.all(
      [...families].map(async ([name, family]) => {
        const pids = Object.values(family).flat();
        expect(pids, name).toHaveLength(4);
        kill(cases[name]?.(family) ?? []);
        const ms = await gone(pids);
        const exit = await starter.line(new RegExp(`"name":"${name}","exit"`), 5_000);
        expect(exit).toMatch(/"left":\[\]/);
        return `${name} ${ms} ms`;
      }),
    );
    console.info('gone after', measured.join(', '));
    expect(starter.child.exitCode).toBeNull();
    await starter.finish();
  });

  test.concurrent('after a total kill the next start sweeps what carries our mark, and nothing else', async () => {
    const swept = vllmLab();
    try {
      const { process: starter, families } = await swept.starter([swept.order('left', 18_140, careless)]);
      const family = families.get('left');
      if (family === undefined) throw new Error('not started');
      expect(await swept.processes.sweep()).toBe(0);
      // Frozen, so that it cannot see its guardians die.
      starter.child.kill('SIGSTOP');
      kill([...family.guardians, starter.child.pid ?? 0]);
      await goneMs([...family.guardians, starter.child.pid ?? 0], 5_000);
      // Whoever could end them is dead, so they must still be there; else this test shows nothing.
      expect(new Set(swept.living())).toEqual(new Set([family.api, family.engine]));

      // The number of its program was given to a stranger meanwhile, as far as another record says.
      const stranger = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { detached: true });
      await once(stranger, 'spawn');
      const records = new ServerRecords(swept.stateDir);
      const [record] = records.ofThisHost();
      if (record === undefined) throw new Error('no record');
      const program = { pid: stranger.pid ?? 0, startKey: '1' };
      records.write({ ...record, mark: 'f'.repeat(32), program });

      expect(await swept.processes.sweep()).toBe(1);
      expect(await goneMs([family.api, family.engine], 100)).toBeLessThan(100);
      expect(recordsLeft(swept.stateDir)).toEqual([]);
      expect(stranger.exitCode ?? stranger.signalCode).toBeNull();
      stranger.kill('SIGKILL');
    } finally {
      swept.end();
    }
  });

  test.concurrent('a server is asked to stop first, and killed when it does not (H16)', async () => {
    const told: string[] = [];
    const processes = vllmProcesses({
      stateDir: join(lab.folder, 'stopping'),
      logger: { log: (_level, _category, message) => void told.push(message) },
      environment: process.env,
    });
    const [polite, deaf] = await Promise.all([
      processes.start(lab.order('polite', 18_150)),
      processes.start(lab.order('deaf', 18_150, { ignore_sigterm: true })),
    ]);
    expect(polite.port).not.toBe(deaf.port);
    await Promise.all([healthy(polite), healthy(deaf)]);
    const families = await Promise.all(
      [polite, deaf].map(({ pid, port }) => familyOf(pid, port, join(lab.folder, 'stopping'))),
    );
    expect(await polite.stop(5_000)).toMatchObject({
      code: 0,
      signal: null,
      reason: 'was stopped',
      left: [],
    });
    const killed = await deaf.stop(300);
    expect(killed).toMatchObject({ code: null, signal: 'SIGKILL' });
    expect(killed.reason).toBe('was killed because it had not stopped in 0.3 s');
    expect(told.join('\n')).toMatch(/deaf .*had not stopped in 0\.3 s/);
    expect(await deaf.stop()).toBe(killed);
    await goneMs(
      families.flatMap((family) => Object.values(family).flat()),
      100,
    );
    expect(recordsLeft(join(lab.folder, 'stopping'))).toEqual([]);
  });

  test.concurrent('the end of a server is told with its status and its last lines, status 0 too (H8)', async () => {
    const { processes } = lab;
    const [done, loading, refused] = await Promise.all([
      processes.start(lab.order('done', 18_160, { die_after_ms: 0, die_status: 0, lines: 20_000 })),
      processes.start(lab.order('loading', 18_162, { loading_status: 7 })),
      processes.start(lab.order('refused', 18_164, {}, { args: ['serve', 'model', '--no-such-option'] })),
    ]);
    const [doneExit, loadingExit, refusedExit] = await Promise.all([
      done.ended,
      loading.ended,
      refused.ended,
    ]);
    expect(doneExit).toMatchObject({ code: 0, reason: 'ended with status 0', left: [] });
    expect(doneExit.lastLines.at(-1)).toBe('Fatal: status 0');
    expect(doneExit.lastLines.length).toBeLessThanOrEqual(40);
    const log = readFileSync(join(lab.folder, 'logs', 'done.log'), 'utf8');
    expect(log).toContain('INFO line 20000 of a server');
    expect(loadingExit).toMatchObject({ code: 7, reason: 'ended with status 7' });
    expect(loadingExit.lastLines.at(-1)).toMatch(/CUDA out of memory/);
    expect(loading.phase()).toBe('loading the weights');
    expect(refusedExit.code).toBe(2);
    expect(refusedExit.lastLines.join('\n')).toMatch(/unrecognized arguments: --no-such-option/);
  });

  test.concurrent('a port at which somebody listens is passed over', async () => {
    // Not one of those that the system gives to whoever connects: the next may be taken at any moment.
    const port = 18_200;
    const stranger = createServer((_request, response) => response.end('a stranger')).listen(
      port,
      '127.0.0.1',
    );
    await once(stranger, 'listening');
    const server = await lab.processes.start(lab.order('beside', port));
    try {
      expect(server.port).toBeGreaterThan(port);
      await healthy(server);
      const vitals = await serverProbe.vitals(`http://127.0.0.1:${server.port}/v1`, null, 5_000);
      expect(vitals).toMatchObject({
        isHealthy: true,
        models: ['served'],
        load: { running: 0, waiting: 0, cachedTokens: 0 },
      });
    } finally {
      await server.stop();
      stranger.close();
    }
  });

  test.concurrent('a kept server outlives its starter and is found again by the same order', async () => {
    const kept = vllmLab();
    try {
      const order = kept.order('kept', 18_180, {}, { keep: true, gpus: [2, 3] });
      const { process: starter, families } = await kept.starter([order]);
      const family = families.get('kept');
      if (family === undefined) throw new Error('not started');
      expect(family.guardians).toEqual([]);
      // Its starter still uses it.
      expect(await kept.processes.findKept(order)).toBeNull();
      await starter.kill();
      expect(await kept.processes.sweep()).toBe(0);
      expect(await kept.processes.kept()).toMatchObject([{ gpus: [2, 3] }]);

      const next = {
        ...order,
        name: 'next',
        address: { host: '127.0.0.1', portStart: 19_000 },
        gpus: [0, 1],
      };
      expect(await kept.processes.findKept({ ...next, args: [...order.args, '--seed', '1'] })).toBeNull();
      expect(await kept.processes.findKept({ ...next, gpus: [0] })).toBeNull();
      const found = await kept.processes.findKept(next);
      expect(found).toMatchObject({ name: 'next', pid: family.api, gpus: [2, 3] });
      expect(await kept.processes.findKept(next)).toBeNull();
      found?.release();
      const again = await kept.processes.findKept(next);
      if (again === null) throw new Error('not found again');
      await healthy(again);
      expect(again.lastLines().join('\n')).toMatch(/Application startup complete/);
      expect(await again.stop()).toMatchObject({ code: null, reason: 'was stopped', left: [] });
      await goneMs([family.api, family.engine], 100);
      expect(recordsLeft(kept.stateDir)).toEqual([]);
      expect(await kept.processes.kept()).toEqual([]);
    } finally {
      kept.end();
    }
  });

  test.concurrent('a kept server that is taken up and not to be kept ends with who has taken it', async () => {
    const kept = vllmLab();
    try {
      const order = kept.order('kept', 18_160, {}, { keep: true });
      const first = await kept.starter([order]);
      const family = first.families.get('kept');
      await first.process.kill();
      const second = await kept.starter([{ ...order, keep: false }]);
      const taken = second.families.get('kept');
      expect(taken).toMatchObject({ api: family?.api, engine: family?.engine });
      expect(taken?.guardians).toHaveLength(2);
      expect(await kept.processes.kept()).toEqual([]);
      await second.process.kill();
      await goneMs(kept.living(), 2_000);
      expect(recordsLeft(kept.stateDir)).toEqual([]);
    } finally {
      kept.end();
    }
  });

  test.concurrent('what a kept server leaves when it dies alone is swept', async () => {
    const kept = vllmLab();
    try {
      const order = kept.order('kept', 18_190, careless, { keep: true });
      const { process: starter, families } = await kept.starter([order]);
      const family = families.get('kept');
      if (family === undefined) throw new Error('not started');
      await starter.kill();
      kill([family.api]);
      await goneMs([family.api], 1_000);
      expect(kept.living()).toEqual([family.engine]);
      expect(await kept.processes.findKept(order)).toBeNull();
      expect(await kept.processes.sweep()).toBe(1);
      expect(kept.living()).toEqual([]);
    } finally {
      kept.end();
    }
  });

  test.concurrent('a process that has nothing else to do waits for the end of its server, and ends', async () => {
    const orders = ['last', 'last-kept'].map((name, i) =>
      lab.order(name, 18_170 + i, { die_after_ms: 0 }, { keep: name === 'last-kept' }),
    );
    const stopper = startProcess('vllm-stopper.ts', [lab.stateDir, JSON.stringify(orders)]);
    await waitFor(
      () => stopper.child.exitCode ?? undefined,
      20_000,
      () => stopper.lines.join('\n'),
    );
    expect(stopper.child.exitCode).toBe(0);
    expect(stopper.lines.toSorted()).toEqual(['last ended with status 1', 'last-kept was killed']);
  });

  test('a program that is missing is named, with the line that installs it; nothing is left behind', async () => {
    const { processes, folder } = lab;
    const order = lab.order('missing', 18_195, {}, { program: 'vllm-that-nobody-has' });
    await expect(processes.start(order)).rejects.toMatchObject({ code: 'endpoint' });
    await expect(processes.require('vllm-that-nobody-has')).rejects.toThrow(
      /vllm-that-nobody-has is not on the PATH.*pip install vllm.*llm\.vllm\.command/s,
    );
    await expect(processes.require(join(folder, 'vllm'))).rejects.toThrow(/cannot be executed/);
    await processes.require('node');
    expect(existsSync(order.logPath)).toBe(false);
  });

  test('keys reach a server by its environment and stand in no argument', async () => {
    const key = 'k-8d1f0c2b7a';
    const stateDir = join(lab.folder, 'keyed');
    const processes = vllmProcesses({
      stateDir,
      logger: silentLogger,
      environment: { ...process.env, VLLM_API_KEY: key },
      secrets: () => [key],
    });
    const server = await processes.start(lab.order('keyed', 18_198, {}, { gpus: [1, 3] }));
    try {
      await healthy(server);
      const baseUrl = `http://127.0.0.1:${server.port}/v1`;
      expect((await serverProbe.vitals(baseUrl, null, 5_000)).models).toBeNull();
      expect((await serverProbe.vitals(baseUrl, key, 5_000)).models).toEqual(['served']);
      const start = readFileSync(join(lab.folder, 'keyed', 'starts.jsonl'), 'utf8');
      expect(JSON.parse(start)).toMatchObject({
        gpus: '1,3',
        args: [
          'serve',
          'model',
          '--host',
          '127.0.0.1',
          '--port',
          String(server.port),
          '--served-model-name',
          'served',
          '--max-num-seqs',
          '8',
        ],
      });
      expect(start).not.toContain(key);
      expect(
        readFileSync(join(stateDir, 'vllm-servers', recordsLeft(stateDir)[0] ?? ''), 'utf8'),
      ).not.toContain(key);
    } finally {
      await server.kill();
    }
  });
});
