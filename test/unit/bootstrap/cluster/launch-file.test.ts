import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { type LaunchPlan, readLaunchFile } from '../../../../src/bootstrap/cluster/launch-file.ts';

const folder = mkdtempSync(join(tmpdir(), 'dlgforge-launch-file-'));
afterAll(() => rmSync(folder, { recursive: true }));

const NOTHING = { nats: false, postgres: false };
const file = join(folder, 'cluster.yaml');

function read(text: string, given = NOTHING): LaunchPlan {
  writeFileSync(file, text);
  return readLaunchFile(file, given);
}
function problems(text: string, given = NOTHING): string {
  try {
    read(text, given);
  } catch (error) {
    return String(error);
  }
  return 'no problem';
}

describe('cluster.yaml', () => {
  test('a minimal one is a head on this machine', () => {
    const plan = read('head: {}\n');
    expect(plan).toMatchObject({ namespace: 'dlgforge', address: null, nodes: [] });
    expect(plan.head).toEqual({
      name: 'head',
      machine: { type: 'local' },
      folder,
      stateDir: join(folder, '.dlgforge', 'nodes', 'dlgforge-head'),
      flags: ['--host', '127.0.0.1'],
      env: [],
    });
  });

  test('every key becomes a flag of `cluster start`, or part of how the machine is reached', () => {
    const plan = read(`
namespace: prod
start_timeout_s: 5
head: { host: h.example, listen: 192.0.2.1, nats_port: 4333, workers: 0, gpus: 2, labels: { zone: 1 }, metrics_port: 9464 }
nodes:
  - { name: n, host: n.example, user: me, port: 2222, key: ~/.ssh/id, folder: work, program: node ~/d/bin/dlgforge.js, env: [OPENAI_API_KEY] }
`);
    expect(plan.startTimeoutMs).toBe(5_000);
    expect(plan.head?.flags).toEqual(
      '--workers 0 --gpus 2 --labels zone=1 --metrics-port 9464 --host 192.0.2.1 --port 4333'.split(' '),
    );
    expect(plan.head?.folder).toBe('~');
    expect(plan.nodes).toEqual([
      {
        name: 'n',
        machine: {
          type: 'ssh',
          host: 'n.example',
          user: 'me',
          port: 2222,
          key: join(homedir(), '.ssh/id'),
          program: 'node ~/d/bin/dlgforge.js',
        },
        folder: 'work',
        stateDir: 'work/.dlgforge/nodes/prod-n',
        flags: [],
        env: ['OPENAI_API_KEY'],
      },
    ]);
  });

  test('everything that is off is said at once, with its line', () => {
    const text = problems(`head:
  worker: 1
  gpus: -1
nodes:
  - name: a
    workers: many
  - workers: 1
`);
    expect(text).toContain('4 problems in the configuration');
    expect(text).toMatch(
      /cluster\.yaml:2: Unknown key `head\.worker`\.\n +Known here: name, host, .*workers/,
    );
    expect(text).toMatch(/cluster\.yaml:3: `head\.gpus` must be 0 or more\. Got: -1/);
    expect(text).toMatch(/cluster\.yaml:6: `nodes\[0\]\.workers` must be a number/);
    expect(text).toMatch(/cluster\.yaml:7: `nodes\[1\]\.name` is missing/);
  });

  test.each([
    ['head: {}\naddress: nats://a:4222', /cluster\.yaml:2: Exactly one of `head` and `address`/],
    ['nodes: []', /Exactly one of `head` and `address`/],
    ['head: {}\nnodes:\n  - name: a\n  - name: a', /cluster\.yaml:4: Two nodes have the name `a`/],
    ['head: {}\nnodes:\n  - name: head', /cluster\.yaml:3: Two nodes have the name `head`/],
    ['head: {}\nhead: {}', /cluster\.yaml:2: Duplicate key `head`/],
    ['head: [', /cluster\.yaml:\d: Not valid YAML/],
    ['- head', /must be a YAML object/],
    ['namespace: a/b\nhead: {}', /cluster\.yaml:1: `namespace` must be 1 to 63 letters/],
    ['head: { name: 7 }', /`head\.name` must be text/],
  ])('%j is refused', (text, expected) => {
    expect(problems(text)).toMatch(expected);
  });

  test.each([
    ['host: -oProxyCommand=x', 'host'],
    ['host: "a; rm -rf /"', 'host'],
    ['user: "-x"', 'user'],
    ['program: dlgforge; reboot', 'program'],
    ['program: $(reboot)', 'program'],
    ['program: -x', 'program'],
    ['env: [A=b]', 'env'],
  ])('I10: %s never reaches a shell or an option of ssh', (line, key) => {
    expect(problems(`address: nats://a:4222\nnodes:\n  - name: a\n    ${line}`)).toContain(
      `cluster.yaml:4: \`nodes[0].${key}`,
    );
  });

  test('I8: a key where the name of its variable belongs, and a URL with a token, are refused unseen', () => {
    const key = problems('head: { env: [sk_live_abcdef] }');
    expect(key).toContain('must be the name of an environment variable');
    expect(key).not.toContain('sk_live');
    const url = problems('head: { nats: "nats://tok3n@host:4222" }');
    expect(url).toContain('`head.nats` must be a NATS URL without a user or a token');
    expect(url).not.toContain('tok3n');
  });

  test('a head on loopback serves its own machine only, unless both servers are the user’s', () => {
    const text = 'head: {}\nnodes:\n  - { name: far, host: far.example }\n';
    expect(problems(text)).toContain('The node `far` is on another machine than the head');
    expect(problems(text, { nats: true, postgres: false })).toContain('on another machine');
    expect(problems(text, { nats: true, postgres: true })).toBe('no problem');
    expect(problems(text.replace('{}', '{ host: far.example }'))).toBe('no problem');
    expect(problems(text.replace('{}', '{ listen: 192.0.2.1 }'))).toBe('no problem');
  });

  test('a file that is not there is named', () => {
    expect(() => readLaunchFile(join(folder, 'none.yaml'), NOTHING)).toThrow(/Cannot read .*none\.yaml/);
  });

  test.each(['cluster.yaml', 'cluster-ssh.yaml'])('the example cluster/%s has three nodes', (name) => {
    const plan = readLaunchFile(
      fileURLToPath(new URL(`../../../../cluster/${name}`, import.meta.url)),
      NOTHING,
    );
    expect([plan.head, ...plan.nodes]).toHaveLength(3);
    expect(
      plan.nodes.every(({ machine }) => machine.type === (name === 'cluster.yaml' ? 'local' : 'ssh')),
    ).toBe(true);
  });
});
