/**
 * I8 on real processes: a run over two nodes with keys in an environment, in a `.env` and in the submitter's own
 * configuration. Everything that crosses the network, everything that is stored or written, and every argument list
 * is searched for them, for the token of NATS and for the password of Postgres.
 */
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type NatsConnection } from 'nats';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type AddressFile, readAddress } from '../../src/bootstrap/cluster/address-file.ts';
import { type Rehearsal, startRehearsal } from '../../src/llm/rehearsal/server.ts';
import { type CliProject, type Finished, makeProject } from '../support/cli-project.ts';
import { killProcessesOf } from '../support/cluster-processes.ts';
import { type NodeProcess, runCommand, startCommand } from '../support/node-process.ts';
import { outwardAddress } from '../support/outward-address.ts';

const ADDRESS = outwardAddress();
if (ADDRESS === null)
  process.stdout.write('cluster-secrets is skipped: this machine has no outward address\n');

const NAMESPACE = 'secrets';
const RUN = 'keeps-secrets';
const KEYS = {
  USER_MODEL_API_KEY: 'sk-user-5d0e6c1f9a7b42e8',
  ASSISTANT_MODEL_API_KEY: 'sk-assistant-81c07f3e2d9b46aa',
  JUDGE_MODEL_API_KEY: 'sk-judge-inline-c39f1e70b6d2482d',
} as const;
const NAMES = {
  LLM_USER_API_KEY_ENV: 'USER_MODEL_API_KEY',
  LLM_ASSISTANT_API_KEY_ENV: 'ASSISTANT_MODEL_API_KEY',
};

describe.skipIf(ADDRESS === null)('a run with keys', () => {
  const host = ADDRESS ?? '';
  let folder: string;
  let project: CliProject;
  let address: AddressFile;
  let password: string;
  let tap: NatsConnection;
  let finished: Finished;
  const traffic: Buffer[] = [];
  const models = new Map<keyof typeof KEYS, Rehearsal>();
  const nodes = new Map<string, NodeProcess>();
  const told: string[] = [];
  let workersOfHead = 0;
  const args: string[] = [];

  /** A node in a folder of its own, whose `.env` it reads. */
  const startNode = async (
    name: string,
    words: readonly string[],
    given: { readonly env: Readonly<Record<string, string>>; readonly dotenv: string },
  ): Promise<void> => {
    await mkdir(at(name));
    await writeFile(join(at(name), '.env'), given.dotenv);
    const node = startCommand(
      ['cluster', 'start', ...words, '--namespace', NAMESPACE, '--name', name, '--workers', '2', '--block'],
      { folder: at(name), env: { ...given.env, ...NAMES, DLGFORGE_CLUSTER_DIR: at(`clusters-${name}`) } },
    );
    nodes.set(name, node);
    await node.says(/is ready/, 60_000);
  };
  const at = (...parts: string[]): string => join(folder, ...parts);
  /** What a person at the second machine has in the environment. */
  const joining = () => ({
    DLGFORGE_NATS_URL: address.natsUrl,
    DLGFORGE_NATS_TOKEN: address.token ?? '',
    DLGFORGE_POSTGRES_DSN: address.postgres.type === 'dsn' ? address.postgres.dsn : '',
  });
  const look = async (...words: string[]): Promise<string> => {
    const { said } = await runCommand([...words, '--namespace', NAMESPACE], { folder, env: joining() });
    told.push(said);
    return said;
  };

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'dlgforge-secrets-'));
    for (const [name, key] of Object.entries(KEYS)) {
      const server = await startRehearsal({ host, api_key: key, latency: { mean_ms: 60 } });
      models.set(name as keyof typeof KEYS, server);
    }
    await startNode('head', ['--head', '--host', host, '--state-dir', at('state-head')], {
      env: { USER_MODEL_API_KEY: KEYS.USER_MODEL_API_KEY },
      dotenv: `ASSISTANT_MODEL_API_KEY=${KEYS.ASSISTANT_MODEL_API_KEY}\n`,
    });
    const found = await readAddress(at('clusters-head'), NAMESPACE);
    if (found === null) throw new Error('the head has written no address');
    address = found;
    password = new URL(joining().DLGFORGE_POSTGRES_DSN).password;
    tap = await connect({ servers: address.natsUrl, token: joining().DLGFORGE_NATS_TOKEN });
    void (async () => {
      for await (const { subject, reply = '', data, headers } of tap.subscribe('>')) {
        const fields = [...(headers ?? [])].flat(2).join(' ');
        traffic.push(Buffer.from(`${subject} ${reply} ${fields} `), Buffer.from(data));
      }
    })();
    await startNode('second', ['--address', address.natsUrl, '--state-dir', at('state-second')], {
      env: {
        ...joining(),
        USER_MODEL_API_KEY: KEYS.USER_MODEL_API_KEY,
        JUDGE_MODEL_API_KEY: KEYS.JUDGE_MODEL_API_KEY,
      },
      dotenv: `ASSISTANT_MODEL_API_KEY=${KEYS.ASSISTANT_MODEL_API_KEY}\n`,
    });
    const url = (name: keyof typeof KEYS): string => `${models.get(name)?.url ?? ''}/v1`;
    project = await makeProject({
      run: {
        run_id: RUN,
        total_samples: 12,
        batch_size: 6,
        turns: { mode: 'exact', exact: 2 },
        distributed: {
          enabled: true,
          namespace: NAMESPACE,
          spawn: { coordinator: false, workers: false },
        },
      },
      llm: {
        backend: 'openai',
        agents: {
          user: { model: 'rehearsal', base_url: url('USER_MODEL_API_KEY') },
          assistant: { model: 'rehearsal', base_url: url('ASSISTANT_MODEL_API_KEY') },
          judge: {
            model: 'rehearsal',
            routing: {
              endpoints: [
                {
                  name: 'judge-server',
                  base_url: url('JUDGE_MODEL_API_KEY'),
                  model: 'rehearsal',
                  api_key: KEYS.JUDGE_MODEL_API_KEY,
                  api_key_env: 'JUDGE_MODEL_API_KEY',
                },
              ],
            },
          },
        },
      },
      judge: { mode: 'online' },
    });
    const { JUDGE_MODEL_API_KEY: _, ...known } = KEYS;
    const run = project.start(['run', 'config.yaml', '--json'], { ...joining(), ...NAMES, ...known });
    while (run.child.exitCode === null) {
      const status = JSON.parse(await look('cluster', 'status', '--json')) as Status;
      workersOfHead = Math.max(workersOfHead, conversationsOn(status, 'head'));
      told.push(await look('cluster', 'status'), await look('actors', 'tree'));
      args.push(...(await argumentLists()));
    }
    finished = await run.finished;
    told.push(finished.stdout, finished.stderr);
  }, 120_000);

  afterAll(async () => {
    await tap?.close();
    await nodes.get('second')?.stop();
    await nodes.get('head')?.stop();
    for (const server of models.values()) await server.close();
    if (project !== undefined) killProcessesOf(project.folder);
    await project?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  const secrets = (): string[] => [...Object.values(KEYS), address.token ?? '', password];
  /** Which of `texts` stand there, also where they were encoded. */
  const standingIn = (bytes: Buffer | string, texts: readonly string[]): string[] => {
    const text = typeof bytes === 'string' ? bytes : bytes.toString('latin1');
    return texts.filter((each) =>
      [each, encodeURIComponent(each), Buffer.from(each).toString('base64').slice(0, -4)].some((form) =>
        text.includes(form),
      ),
    );
  };

  test('ends well, though no node but the submitter has the judge in its configuration', () => {
    expect(finished.code, finished.stderr).toBe(0);
    for (const server of models.values()) expect(server.stats().answered).toBeGreaterThan(0);
  });

  test('a head for other machines says what it opened, and lets in nobody who lacks the token or the password', async () => {
    const { host: nats } = new URL(address.natsUrl);
    const database = new URL(joining().DLGFORGE_POSTGRES_DSN);
    expect([nats, database.host].map((place) => place.split(':')[0])).toEqual([host, host]);
    const said = nodes.get('head')?.said() ?? '';
    expect(said).toContain(`open to other machines: NATS on ${nats}, behind a token`);
    expect(said).toContain(`open to other machines: Postgres on ${database.host}, behind a password`);
    await expect(connect({ servers: address.natsUrl, reconnect: false })).rejects.toThrow(/authorization/i);
    for (const guess of ['', 'wrong']) {
      database.password = guess;
      const stranger = new Client({ connectionString: String(database) });
      await expect(stranger.connect()).rejects.toThrow(/password/i);
    }
  });

  test('H12: a node that lacks the key of a role takes no conversations, and status says so in words', () => {
    expect(told.join('\n')).toMatch(
      /head\S* takes no conversations: it lacks JUDGE_MODEL_API_KEY for the endpoint judge-server \(its key stands in the configuration of the submitter/,
    );
    expect(told.join('\n')).not.toMatch(/second\S* takes no conversations/);
    expect(workersOfHead).toBe(0);
  });

  test('I8: nothing secret crosses NATS', () => {
    const all = Buffer.concat(traffic);
    expect(standingIn(all, [RUN, NAMESPACE]), 'the tap hears').toEqual([RUN, NAMESPACE]);
    expect(standingIn(all, secrets())).toEqual([]);
  });

  test('I8: nothing secret stands in Postgres', async () => {
    const client = new Client({ connectionString: joining().DLGFORGE_POSTGRES_DSN });
    await client.connect();
    try {
      const text = await allTables(client);
      expect(standingIn(text, [RUN, 'judge-server']), 'the dump has the run').toEqual([RUN, 'judge-server']);
      expect(standingIn(text, secrets())).toEqual([]);
    } finally {
      await client.end();
    }
  });

  test('I8: nothing secret is in logs, outputs, streams and other files', async () => {
    const own = [
      at('head', '.env'),
      at('second', '.env'),
      join(project.folder, 'config.yaml'),
      // Where the processes of this user find the cluster: readable by its owner alone, and so is the server's.
      at('clusters-head', `${NAMESPACE}.json`),
      at('clusters-head', NAMESPACE, 'nats', 'nats-server.conf'),
    ];
    const files = [...(await filesIn(folder)), ...(await filesIn(project.folder))];
    expect(files).toEqual(expect.arrayContaining(own));
    const names = files.map((file) => file.replace(folder, '').replace(project.folder, ''));
    expect(names).toEqual(
      expect.arrayContaining([
        '/state-head/logs/node.log',
        '/state-head/logs/worker-0.log',
        '/outputs/turns.jsonl',
      ]),
    );
    expect(
      names.some((name) => name.includes('/nats/streams/')),
      'streams and objects',
    ).toBe(true);
    for (const file of files.filter((name) => !own.includes(name)))
      expect(standingIn(await readFile(file), secrets()), file).toEqual([]);
  });

  test('I8: nothing secret is in an argument list, nor in what commands say', () => {
    expect(standingIn(args.join('\n'), ['worker-main', 'nats-server'])).toEqual([
      'worker-main',
      'nats-server',
    ]);
    expect(standingIn(args.join('\n'), secrets())).toEqual([]);
    expect(standingIn(told.join('\n'), secrets())).toEqual([]);
    expect(standingIn(nodes.get('second')?.said() ?? '', secrets())).toEqual([]);
    // The head says how to join it, to the person who started it: with what it has made itself, no keys.
    const head = nodes.get('head')?.said() ?? '';
    expect(standingIn(head, secrets())).toEqual([address.token, password]);
  });
});

interface Status {
  readonly nodes: readonly {
    readonly node: string;
    readonly workers: readonly { readonly status: { readonly conversations?: number } }[];
  }[];
}

const conversationsOn = ({ nodes }: Status, name: string): number =>
  nodes
    .filter(({ node }) => node.startsWith(name))
    .flatMap(({ workers }) => workers)
    .reduce((sum, { status }) => sum + (status.conversations ?? 0), 0);

async function allTables(client: Client): Promise<string> {
  const { rows: tables } = await client.query<{ name: string }>(
    `SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) AS name FROM pg_tables
     WHERE schemaname NOT IN ('pg_catalog', 'information_schema')`,
  );
  const texts: string[] = [];
  for (const { name } of tables) {
    const { rows } = await client.query<{ text: string }>(`SELECT t::text AS text FROM ${name} t`);
    texts.push(name, ...rows.map(({ text }) => text));
  }
  return texts.join('\n');
}

async function filesIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

/** Of every process of this machine. */
async function argumentLists(): Promise<string[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  // One may end while it is looked at.
  return await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')));
}
