/** No process of a vLLM server outlives what it is for, whoever is killed (fault H16, port promises P1 to P4). */
import { createServer } from 'node:http';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { silentLogger } from '../../src/kernel/logger.ts';
import { vllmProcesses } from '../../src/llm/vllm/server-processes.ts';
import { probeServer } from '../../src/llm/vllm/server-probe.ts';
import type { ServerProcess } from '../../src/ports/server-process.ts';
import { waitFor } from '../support/processes.ts';
import { familyOf, goneMs, vllmLab } from '../support/vllm-lab.ts';

const PROMISED_MS = 2_000;
/** A loaded machine may be late; what was measured is printed. */
const SLACK_MS = 3_000;

const lab = vllmLab();
afterAll(() => lab.end());

/** API servers that never look at their engine: whatever ends the tree is ours. */
const careless = { engine_watch_ms: null };

const kill = (pids: readonly number[]): void => {
  for (const pid of pids) process.kill(pid, 'SIGKILL');
};

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
    const { process: starter, families } = await lab.starter(
      names.map((name, i) => lab.order(name, 18_100 + i, careless)),
    );
    const family = (name: string) => families.get(name) ?? { api: 0, engine: 0, guardians: [] };
    const all = names.map((name) => ({ name, pids: Object.values(family(name)).flat() }));
    for (const { name, pids } of all) expect(pids, name).toHaveLength(4);

    kill([
      starter.child.pid ?? 0,
      family('starter-and-guardian').guardians[0] ?? 0,
      family('starter-and-other-guardian').guardians[1] ?? 0,
      family('starter-and-api').api,
      family('starter-and-engine').engine,
    ]);
    const measured = await Promise.all(
      all.map(async ({ name, pids }) => ({ name, ms: await goneMs(pids, PROMISED_MS + SLACK_MS) })),
    );
    console.info('gone after', measured.map(({ name, ms }) => `${name} ${ms} ms`).join(', '));
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
        const ms = await goneMs(pids, PROMISED_MS + SLACK_MS);
        const exit = await starter.line(new RegExp(`"name":"${name}","exit"`), 5_000);
        expect(exit).toMatch(/"left":\[\]/);
        return `${name} ${ms} ms`;
      }),
    );
    console.info('gone after', measured.join(', '));
    expect(starter.child.exitCode).toBeNull();
    await starter.finish();
  });
});
