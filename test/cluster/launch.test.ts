/** The launcher with a stand-in for `cluster start` and a stand-in for ssh that runs the command on this machine. */
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { readAddress } from '../../src/bootstrap/cluster/address-file.ts';
import {
  clusterDown,
  clusterUp,
  type LaunchOptions,
  type LaunchResult,
} from '../../src/bootstrap/cluster/launch.ts';
import { readLaunchFile } from '../../src/bootstrap/cluster/launch-file.ts';
import { runningNode } from '../../src/bootstrap/cluster/node-file.ts';
import { isPidAlive } from '../../src/store/process-identity.ts';
import { LAUNCHER } from '../support/cli-project.ts';

const STAND_IN = join(import.meta.dirname, '..', 'support', 'stand-in-node.ts');

let folder: string;
let environment: Record<string, string>;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'dlgforge-launch-'));
  await mkdir(join(folder, 'bin'));
  // Writes down what it was called with, reads nothing itself, and runs the command as a login shell would.
  await writeFile(
    join(folder, 'bin', 'ssh'),
    `#!/bin/sh
printf '%s\\n' "$@" >> "${folder}/ssh-arguments"
while [ "$1" != -- ]; do shift; done
shift
case "$1" in down.example) echo "ssh: connect to host down.example: No route to host" >&2; exit 255;; esac
shift
echo 'Welcome to this machine!'
HOME="${folder}/remote-home" exec sh -c "$1"
`,
  );
  await chmod(join(folder, 'bin', 'ssh'), 0o755);
  await mkdir(join(folder, 'remote-home'));
  environment = {
    PATH: `${join(folder, 'bin')}:${process.env['PATH'] ?? ''}`,
    HOME: join(folder, 'home'),
    DLGFORGE_CLUSTER_DIR: join(folder, 'clusters'),
  };
});

afterEach(async () => {
  await down();
  await rm(folder, { recursive: true });
});

let content: Record<string, unknown> = {};

function options(results: LaunchResult[] = []): LaunchOptions {
  return {
    environment,
    launcher: STAND_IN,
    onStatus: () => undefined,
    onResult: (result) => results.push(result),
  };
}

async function plan() {
  const file = join(folder, 'cluster.yaml');
  await writeFile(file, stringify(content));
  return readLaunchFile(file, { nats: false, postgres: false });
}

const up = async (): Promise<LaunchResult[]> => await clusterUp(await plan(), options());
const down = async (): Promise<LaunchResult[]> => await clusterDown(await plan(), options());

const stateDir = (name: string, base = folder): string =>
  join(base, '.dlgforge', 'nodes', `dlgforge-${name}`);

interface Given {
  readonly args: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
}
const givenTo = async (dir: string): Promise<Given> =>
  JSON.parse(await readFile(join(dir, 'given.json'), 'utf8')) as Given;

const outcomes = (results: readonly LaunchResult[]): Record<string, string> =>
  Object.fromEntries(results.map(({ name, outcome }) => [name, outcome]));

describe('local nodes', () => {
  beforeEach(() => {
    content = { head: {}, nodes: [{ name: 'a', workers: 2, labels: { zone: 'x' } }, { name: 'b' }] };
  });

  test('up starts all of them, again changes nothing, and down stops all of them, twice', async () => {
    const first = await up();
    expect(outcomes(first)).toEqual({ head: 'started', a: 'started', b: 'started' });
    expect(first.every(({ pid }) => pid !== null)).toBe(true);
    const second = await up();
    expect(outcomes(second)).toEqual({ head: 'running', a: 'running', b: 'running' });
    expect(second.map(({ pid }) => pid)).toEqual(first.map(({ pid }) => pid));
    expect(outcomes(await down())).toEqual({ head: 'stopped', a: 'stopped', b: 'stopped' });
    for (const { pid } of first) expect(isPidAlive(pid ?? 0)).toBe(false);
    expect(outcomes(await down())).toEqual({ head: 'absent', a: 'absent', b: 'absent' });
  });

  test('what is missing is started: a node that was killed, whose file is still there', async () => {
    const [, a] = await up();
    process.kill(a?.pid ?? 0, 'SIGKILL');
    await expect.poll(() => runningNode(stateDir('a'))).toBeNull();
    expect(existsSync(join(stateDir('a'), 'node.json'))).toBe(true);
    const again = await up();
    expect(outcomes(again)).toEqual({ head: 'running', a: 'started', b: 'running' });
    expect(again[1]?.pid).not.toBe(a?.pid);
  });

  test('each has its flags, its folder and what it needs to join; I8: the secrets by environment only', async () => {
    await up();
    const head = await givenTo(stateDir('head'));
    expect(head.args.slice(0, 5)).toEqual(['cluster', 'start', '--head', '--host', '127.0.0.1']);
    const { args, cwd, env } = await givenTo(stateDir('a'));
    expect(args.join(' ')).toMatch(
      /^cluster start --address nats:\/\/127\.0\.0\.1:4222 --workers 2 --labels zone=x --namespace dlgforge --name a --state-dir /,
    );
    expect(args.join(' ')).not.toMatch(/stand-in-(token|password)/);
    expect(env['DLGFORGE_NATS_TOKEN']).toBe('stand-in-token');
    expect(env['DLGFORGE_POSTGRES_DSN']).toContain('stand-in-password');
    expect(cwd).toBe(folder);
  });

  test('a node that fails is reported with its last lines, without the token; the others go on', async () => {
    environment['STAND_IN_FAILS'] = 'a';
    const results = await up();
    expect(outcomes(results)).toEqual({ head: 'started', a: 'failed', b: 'started' });
    expect(results[1]).toMatchObject({
      message: 'its start ended with 1',
      log: ['cannot join with ***', 'a line of the log'],
    });
    delete environment['STAND_IN_FAILS'];
    expect(outcomes(await up())).toEqual({ head: 'running', a: 'started', b: 'running' });
  });

  test('without its head nothing else is started', async () => {
    environment['STAND_IN_FAILS'] = 'head';
    expect(outcomes(await up())).toEqual({ head: 'failed' });
    expect(await runningNode(stateDir('a'))).toBeNull();
  });

  test('down takes away what a killed head left', async () => {
    const [head] = await up();
    process.kill(head?.pid ?? 0, 'SIGKILL');
    await expect.poll(() => runningNode(stateDir('head'))).toBeNull();
    expect(outcomes(await down())).toEqual({ head: 'stopped', a: 'stopped', b: 'stopped' });
    expect(await readAddress(environment['DLGFORGE_CLUSTER_DIR'] ?? '', 'dlgforge')).toBeNull();
  });

  test('a frozen node is stopped by force', async () => {
    content = { head: {} };
    const [head] = await up();
    process.kill(head?.pid ?? 0, 'SIGSTOP');
    const target = await plan();
    const impatient = { ...target, nodes: [], head: target.head };
    expect(outcomes(await clusterDown(impatient, { ...options(), stopTimeoutMs: 200 }))).toEqual({
      head: 'stopped',
    });
    expect(isPidAlive(head?.pid ?? 0)).toBe(false);
  });

  test('a variable that a node is to be given, and that is not set, is said before anything starts', async () => {
    content = { head: {}, nodes: [{ name: 'a', env: ['OPENAI_API_KEY'] }] };
    await expect(up()).rejects.toThrow('OPENAI_API_KEY (for a)');
    expect(await runningNode(stateDir('head'))).toBeNull();
  });
});

describe('nodes over ssh', () => {
  const program = (): string => `env STAND_IN=${STAND_IN} ${process.execPath} ${join(folder, 'far.mjs')}`;

  beforeEach(async () => {
    // The real far end, with the stand-in as what it starts.
    await writeFile(
      join(folder, 'far.mjs'),
      `import { text } from 'node:stream/consumers';
import { handleLaunch, readLaunchRequest } from ${JSON.stringify(join(LAUNCHER, '..', '..', 'src/bootstrap/cluster/launch-node.ts'))};
const request = readLaunchRequest(await text(process.stdin));
const reply = await handleLaunch(request, { environment: process.env, launcher: process.env.STAND_IN });
console.log('dlgforge-reply ' + JSON.stringify(reply));
`,
    );
    environment['OPENAI_API_KEY'] = 'the-secret-key';
    content = {
      address: 'nats://192.0.2.1:4222',
      nodes: [
        {
          name: 'far',
          host: 'far.example',
          user: 'me',
          key: 'id',
          folder: 'work',
          env: ['OPENAI_API_KEY'],
          program: program(),
        },
        { name: 'gone', host: 'down.example', program: program() },
      ],
    };
    await mkdir(join(folder, 'remote-home', 'work'));
  });

  test('are started in their folder there, and a host that cannot be reached is reported with what ssh said', async () => {
    const results = await up();
    expect(outcomes(results)).toEqual({ far: 'started', gone: 'failed' });
    expect(results[1]?.message).toMatch(
      /^down\.example cannot be reached\. Try `ssh -o BatchMode=yes down\.example true`/,
    );
    expect(results[1]?.log).toEqual(['ssh: connect to host down.example: No route to host']);
    const given = await givenTo(stateDir('far', join(folder, 'remote-home', 'work')));
    expect(given.cwd).toBe(join(folder, 'remote-home', 'work'));
    expect(given.env['OPENAI_API_KEY']).toBe('the-secret-key');
    expect(outcomes(await up())).toEqual({ far: 'running', gone: 'failed' });
    expect(outcomes(await down())).toEqual({ far: 'stopped', gone: 'failed' });
    expect(outcomes(await down())).toEqual({ far: 'absent', gone: 'failed' });
  });

  test('I8: ssh gets its options as a list, asks nothing, and no secret is among them', async () => {
    environment['DLGFORGE_NATS_TOKEN'] = 'the-secret-token';
    await up();
    const words = await readFile(join(folder, 'ssh-arguments'), 'utf8');
    expect(words.split('\n')).toEqual(
      expect.arrayContaining([
        '-oBatchMode=yes',
        '-l',
        'me',
        '-i',
        join(folder, 'id'),
        '--',
        'far.example',
        `${program()} cluster host`,
      ]),
    );
    expect(words).not.toContain('secret');
  });

  test('a host without dlgforge says how to name it', async () => {
    content = {
      address: 'nats://a:4222',
      nodes: [{ name: 'bare', host: 'bare.example', program: 'no-such-dlgforge' }],
    };
    const [bare] = await up();
    expect(bare?.message).toContain('bare.example does not know the command `no-such-dlgforge`');
  });

  test('the real command answers at the far end', async () => {
    content = {
      address: 'nats://a:4222',
      nodes: [{ name: 'real', host: 'real.example', program: `${process.execPath} ${LAUNCHER}` }],
    };
    expect(outcomes(await down())).toEqual({ real: 'absent' });
  });
});
