/** `cluster start`, `up` and `down` as a person calls them: real nodes, a real NATS server and a real Postgres. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { cp, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readAddress } from '../../src/bootstrap/cluster/address-file.ts';
import { startDaemon } from '../../src/bootstrap/cluster/daemon.ts';
import { runningNode } from '../../src/bootstrap/cluster/node-file.ts';
import { isPidAlive } from '../../src/store/process-identity.ts';
import { type Finished, LAUNCHER, ROOT, startCli } from '../support/cli-project.ts';
import { processesOf } from '../support/cluster-processes.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'dlgforge-start-'));
});
afterEach(async () => {
  const { stderr } = await dlgforge('cluster stop --all');
  await expect.poll(() => processesOf(folder), { timeout: 20_000, message: 'nothing is left' }).toEqual([]);
  await rm(folder, { recursive: true });
  expect(stderr).not.toContain('mistake in dlgforge');
});

const home = (): string => join(folder, 'clusters');

/** Runs a line of a shell in which `dlgforge` is ours. */
async function shell(line: string): Promise<Finished> {
  const child = spawn('sh', ['-c', `dlgforge() { "${process.execPath}" "${LAUNCHER}" "$@"; }\n${line}`], {
    cwd: folder,
    env: { PATH: process.env['PATH'], HOME: folder, DLGFORGE_CLUSTER_DIR: home() },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  // Not `exit`: a node in the background that held the streams open would hang whoever reads them, as here.
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  return { code, signal, stdout, stderr };
}
const nameOf = (pid: number): string => readFileSync(`/proc/${pid}/comm`, 'utf8').trim();

const dlgforge = (words: string): Promise<Finished> => shell(`dlgforge ${words}`);

async function agents(): Promise<string[]> {
  const { stdout, stderr, code } = await dlgforge('cluster status --json');
  expect(code, stderr).toBe(0);
  const { nodes } = JSON.parse(stdout) as { nodes: { node: string; kind: string }[] };
  return nodes.filter(({ kind }) => kind === 'agent').map(({ node }) => node);
}

const serverNote = (): string => join(home(), 'dlgforge', 'nats', 'server.json');
const serverPid = async (): Promise<number> =>
  (JSON.parse(await readFile(serverNote(), 'utf8')) as { pid: number }).pid;

describe('the first node', () => {
  test('prints the line with which others join; both of its forms work as printed', async () => {
    const head = await dlgforge('cluster start --head --state-dir head');
    expect(head.code, head.stderr).toBe(0);
    const lines = head.stdout.split('\n').map((line) => line.trim());
    const line = lines.find((text) => text.startsWith('DLGFORGE_NATS_TOKEN=')) ?? 'no join line';
    const withToken = lines.find((text) => text.includes('--token')) ?? 'no line with --token';
    for (const [index, joining] of [line, withToken].entries()) {
      const joined = await shell(`${joining} --state-dir n${index}`);
      expect(joined.code, joined.stderr).toBe(0);
    }
    expect(await agents()).toHaveLength(3);

    const address = await readAddress(home(), 'dlgforge');
    expect(address?.headPid).toBe((await runningNode(join(folder, 'head')))?.pid);
    const token = address?.token ?? 'no token';
    const logs = await Promise.all(
      ['head', 'n0', 'n1'].map((node) => readFile(join(folder, node, 'logs', 'node.log'), 'utf8')),
    );
    expect(logs.join('')).not.toContain(token);
    for (const node of ['head', 'n0', 'n1']) {
      const pid = (await runningNode(join(folder, node)))?.pid ?? 0;
      expect(await readFile(`/proc/${pid}/cmdline`, 'utf8'), 'I8: no process shows it').not.toContain(token);
    }
  });

  test('is stopped with its servers, and the address file goes with it', async () => {
    expect((await dlgforge('cluster start --head --state-dir head')).code).toBe(0);
    const pid = (await runningNode(join(folder, 'head')))?.pid ?? 0;
    const stopped = await dlgforge('cluster stop --all');
    expect(stopped.code, stopped.stderr).toBe(0);
    await expect.poll(() => isPidAlive(pid), { timeout: 10_000 }).toBe(false);
    expect(await readAddress(home(), 'dlgforge')).toBeNull();
    const status = await dlgforge('cluster status');
    expect(status.code).toBe(1);
  });
});

test('two heads at once: one cluster, and the other is told of it', async () => {
  const both = await Promise.all([dlgforge('cluster start --head'), dlgforge('cluster start --head')]);
  const [first, second] = both.toSorted((a, b) => (a.code ?? 9) - (b.code ?? 9));
  expect([first?.code, second?.code]).toEqual([0, 1]);
  expect(second?.stderr).toContain('has a head already');
  expect(await agents()).toHaveLength(1);
  const servers = processesOf(folder).filter((pid) => nameOf(pid) === 'nats-server');
  expect(servers).toEqual([await serverPid()]);
});

test('what a head that was killed has left is stopped, and forgotten', async () => {
  expect((await dlgforge('cluster start --head --state-dir head')).code).toBe(0);
  process.kill((await runningNode(join(folder, 'head')))?.pid ?? 0, 'SIGKILL');
  const stopped = await dlgforge('cluster stop --all');
  expect(stopped.code, stopped.stderr).toBe(0);
  expect(stopped.stderr).toContain('Stopped the servers that a head had left');
  expect(await readAddress(home(), 'dlgforge')).toBeNull();
  await expect.poll(() => processesOf(folder), { timeout: 10_000 }).toEqual([]);
  const again = await dlgforge('cluster stop --all');
  expect(again.code).toBe(1);
});

describe('a start that does not come to its end leaves nothing', () => {
  test.each(['SIGINT', 'SIGTERM', 'SIGKILL'] as const)('the command ends by %s', async (signal) => {
    const starting = startCli(['cluster', 'start', '--head'], folder, {
      HOME: folder,
      DLGFORGE_CLUSTER_DIR: home(),
    });
    await starting.shown('starting the embedded database');
    starting.child.kill(signal);
    const { code, stderr } = await starting.finished;
    if (signal !== 'SIGKILL') {
      expect(code).toBe(130);
      expect(stderr).toContain('nothing of it is left');
      expect(processesOf(folder)).toEqual([]);
    }
    await expect.poll(() => processesOf(folder), { timeout: 20_000 }).toEqual([]);
    expect(await readAddress(home(), 'dlgforge')).toBeNull();
  });
});

test('a node that is not ready in time is ended, with all that it has started', async () => {
  const starting = startDaemon(
    {
      args: ['--head'],
      environment: { PATH: process.env['PATH'], HOME: folder, DLGFORGE_CLUSTER_DIR: home() },
      folder,
      logsDir: join(folder, 'logs'),
      timeoutMs: 700,
    },
    () => undefined,
  );
  await expect(starting).rejects.toMatchObject({
    code: 'transport',
    message: expect.stringContaining('not ready within 0.7 s') as string,
  });
  expect(processesOf(folder)).toEqual([]);
});

test('the exit code says what was wrong, also from the background', async () => {
  const { code, stderr } = await dlgforge('cluster start --head --labels wrong');
  expect(code).toBe(2);
  expect(stderr).toContain('write labels as key=value');
});

test('--address auto is the cluster of this machine, whatever a variable says; --block --json prints JSON', async () => {
  const head = startCli(['cluster', 'start', '--head', '--block', '--json'], folder, {
    HOME: folder,
    DLGFORGE_CLUSTER_DIR: home(),
  });
  await head.shown('"metricsPort"');
  const joined = await shell(
    'DLGFORGE_NATS_URL=nats://127.0.0.1:9 dlgforge cluster start --address auto --json',
  );
  expect(joined.code, joined.stderr).toBe(0);
  expect(await agents()).toHaveLength(2);
  expect(
    existsSync(
      join(
        home(),
        'dlgforge',
        'nodes',
        (JSON.parse(joined.stdout) as { node: string }).node,
        'logs',
        'node.log',
      ),
    ),
  ).toBe(true);
  expect((await dlgforge('cluster stop --all')).code).toBe(0);
  const { stdout, code } = await head.finished;
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ pid: head.child.pid, metricsPort: null });
});

test('a node in the background lives on while its NATS server is away, and goes on when it is back', async () => {
  expect((await dlgforge('cluster start --head --state-dir head')).code).toBe(0);
  const node = await runningNode(join(folder, 'head'));
  const before = await serverPid();
  process.kill(before, 'SIGKILL');
  await expect.poll(serverPid, { timeout: 20_000 }).not.toBe(before);
  // Back for whoever asks, and the same process as before.
  await expect.poll(async () => (await dlgforge('cluster status')).code, { timeout: 20_000 }).toBe(0);
  expect(await agents()).toEqual([node?.node]);
  expect(await runningNode(join(folder, 'head'))).toEqual(node);
  const log = await readFile(join(folder, 'head', 'logs', 'node.log'), 'utf8');
  expect(log, 'what it waits for is said where somebody can read it').toMatch(/\[cluster\] .*NATS/);
});

test('cluster/cluster.yaml: three nodes are up, up changes nothing, down stops them', async () => {
  await cp(join(ROOT, 'cluster', 'cluster.yaml'), join(folder, 'cluster.yaml'));
  const first = await dlgforge('cluster up cluster.yaml --json');
  expect(first.code, first.stderr).toBe(0);
  const { nodes } = JSON.parse(first.stdout) as { nodes: { outcome: string; node: string; pid: number }[] };
  expect(nodes.map(({ outcome }) => outcome)).toEqual(['started', 'started', 'started']);
  expect((await agents()).toSorted()).toEqual(nodes.map(({ node }) => node).toSorted());

  const again = await dlgforge('cluster up cluster.yaml');
  expect(again.code, again.stderr).toBe(0);
  expect(again.stderr.match(/runs already/g)).toHaveLength(3);

  const down = await dlgforge('cluster down cluster.yaml');
  expect(down.code, down.stderr).toBe(0);
  expect(nodes.map(({ pid }) => isPidAlive(pid))).toEqual([false, false, false]);
  const twice = await dlgforge('cluster down cluster.yaml');
  expect(twice.stderr.match(/was not running/g)).toHaveLength(3);
});
