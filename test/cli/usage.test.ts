/** What the command line says before anything is started: exit 2 for its own arguments, 1 for what they name. */
import { existsSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ROOT, runCli, startCli } from '../support/cli-project.ts';
import { oldNodes } from '../support/old-nodes.ts';
import { until } from '../support/simulation.ts';

const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  readonly version: string;
};

test('--version and --help answer on stdout', async () => {
  expect(await runCli(['--version'])).toMatchObject({ code: 0, stdout: `${version}\n`, stderr: '' });
  const help = await runCli(['--help']);
  expect(help).toMatchObject({ code: 0, stderr: '' });
  for (const command of [
    'run',
    'doctor',
    'init',
    'config',
    'runs',
    'export',
    'rehearse',
    'show',
    'replay',
    'stats',
    'seeds-migrate',
  ])
    expect(help.stdout).toContain(`  ${command}`);
});

describe('usage errors end with 2 and say what is wrong on stderr', () => {
  test.for<[string[], string]>([
    [[], 'Usage: dlgforge'],
    [['dance'], "unknown command 'dance'"],
    [['run'], "missing required argument 'config'"],
    [['run', 'c.yaml', '--frobnicate'], "unknown option '--frobnicate'"],
    [['run', 'c.yaml', '--batch-size', '0'], 'must be a whole number above 0'],
    [['run', 'c.yaml', '--log-format', 'xml'], 'Allowed choices are text, json'],
    [['run', 'c.yaml', '--set', 'run.batch_sise=3'], 'Did you mean run.batch_size?'],
    [['run', 'c.yaml', '--set', 'run.batch_size'], '--set key=value'],
    [['runs', 'show'], "missing required argument 'run-id'"],
    [['show'], "missing required argument 'conversation-id'"],
    [['replay', 'x', '--turn', '0'], 'must be a whole number above 0'],
    [['seeds-migrate'], "missing required argument 'config'"],
    [['rehearse', '--port', '99999'], 'must be a port'],
    [['rehearse', '--options', '{'], '--options is not JSON'],
  ])('%j', async ([args, text]) => {
    const { code, stdout, stderr } = await runCli(args);
    expect(stderr).toContain(text);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  });
});

test.for(['run', 'doctor', 'export', 'config show', 'seeds-migrate', 'stats'])(
  '%s names a configuration that is not there',
  async (command) => {
    const { code, stdout, stderr } = await runCli([...command.split(' '), 'nowhere/config.yaml'], '/');
    expect(code).toBe(1);
    expect(stdout + stderr).toContain('Config file not found: /nowhere/config.yaml');
    if (command !== 'doctor') expect(stderr).toMatch(new RegExp(`^dlgforge ${command} failed: `));
  },
);

const OLD_NODES = oldNodes();

test.skipIf(OLD_NODES.length === 0)(
  'an older Node hands over to the one that comes with the package',
  async () => {
    const [node] = OLD_NODES;
    expect(await runCli(['--version'], '/', node)).toMatchObject({
      code: 0,
      stdout: `${version}\n`,
      stderr: '',
    });
    expect((await runCli(['dance'], '/', node)).code).toBe(2);
  },
);

test.skipIf(OLD_NODES.length === 0)(
  'what an older Node handed over to ends with it, also when it is killed',
  async () => {
    const running = startCli(['rehearse', '--port', '0'], tmpdir(), {}, OLD_NODES[0]);
    await running.shown('http://');
    const { pid } = running.child;
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
    const program = Number(children.trim());
    expect(program).toBeGreaterThan(0);
    running.child.kill('SIGKILL');
    try {
      await until(() => !existsSync(`/proc/${program}`), 'the end of the program');
    } finally {
      if (existsSync(`/proc/${program}`)) process.kill(program, 'SIGKILL');
    }
    await running.finished;
  },
);
