/**
 * Three nodes, each in a network namespace of its own, and every kind of cut between them and the servers, while a
 * run is on. The run ends right, and nobody ever writes beside somebody else.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { below } from '../../src/kernel/random.ts';
import { silentLogger } from '../../src/kernel/logger.ts';
import { type Rehearsal, startRehearsal } from '../../src/llm/rehearsal/server.ts';
import { EmbeddedPostgres } from '../../src/store/embedded-postgres.ts';
import { startNatsServer, type NatsServer } from '../../src/transport/nats/local-server.ts';
import type { Store } from '../../src/ports/store.ts';
import { openStore } from '../../src/store/open-store.ts';
import { brokenPromises } from '../support/cluster-checker.ts';
import { factsOf } from '../support/cluster-facts.ts';
import { killProcessesOf } from '../support/cluster-processes.ts';
import { makeProject, type CliProject } from '../support/cli-project.ts';
import { natsProgram } from '../support/nats-server.ts';
import { type NetworkLab, startNetworkLab, whyNoNetwork } from '../support/network-lab.ts';
import { type NodeProcess, startCommand } from '../support/node-process.ts';

const WHY_NOT = whyNoNetwork();
if (WHY_NOT !== null) process.stdout.write(`cluster-partition is skipped: ${WHY_NOT}\n`);

const SEED = 5;
const NODES = ['a', 'b', 'c'] as const;
type NodeName = (typeof NODES)[number];
const SAMPLES = 60;
const MAX_IN_FLIGHT = 5;
const NAMESPACE = 'partition';
const TOKEN = 'token-of-the-partition-test';
const RUN = 'partition';
/** What a node leads that is cut off goes on elsewhere within this. */
const ELSEWHERE_MS = 10_000;
const NO_DATABASE_MS = 5_000;
/** Four long ones, and those of the node that flaps. */
const FLAPS = 6;
const CUTS = 4 + FLAPS;
/** After a cut the run goes on within this. */
const GOES_ON_MS = 15_000;

describe.skipIf(WHY_NOT !== null)(`a run whose nodes are cut off (seed ${SEED})`, () => {
  let folder: string;
  let lab: NetworkLab;
  let nats: NatsServer;
  let postgres: EmbeddedPostgres;
  let rehearsal: Rehearsal;
  let project: CliProject;
  let sql: Client;
  let store: Store;
  const nodes = new Map<NodeName, NodeProcess>();
  const [NATS, POSTGRES, MODELS] = [0, 1, 2];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'dlgforge-partition-'));
    lab = await startNetworkLab(NODES, 3);
    nats = await startNatsServer({
      program: await natsProgram(),
      folder: join(folder, 'nats'),
      host: address(NATS),
      token: TOKEN,
      logFile: join(folder, 'nats.log'),
    });
    postgres = await EmbeddedPostgres.open({
      stateDir: join(folder, 'database'),
      listen: { host: address(POSTGRES), port: 0, password: 'password-of-the-partition-test' },
      logger: silentLogger,
    });
    sql = new Client({ ...postgres.address, application_name: 'dlgforge' });
    await sql.connect();
    store = await openStore({ stateDir: join(folder, 'database'), poolMax: 4, logger: silentLogger });
    rehearsal = await startRehearsal({
      host: address(MODELS),
      seed: SEED,
      log_limit: 1_000_000,
      latency: { distribution: 'lognormal', mean_ms: 600 },
    });
    project = await makeProject({
      run: {
        run_id: RUN,
        total_samples: SAMPLES,
        batch_size: 12,
        target_languages: ['english'],
        turns: { mode: 'range', min: 2, max: 3, mean: 2 },
        distributed: {
          enabled: true,
          namespace: NAMESPACE,
          address: nats.url,
          spawn: { coordinator: false, workers: false },
        },
      },
      llm: {
        backend: 'openai',
        max_in_flight: MAX_IN_FLIGHT,
        agents: Object.fromEntries(
          ['user', 'assistant', 'judge'].map((role) => [
            role,
            { provider: 'hosted_vllm', model: 'rehearsal', base_url: `${rehearsal.url}/v1` },
          ]),
        ),
      },
      judge: { mode: 'online' },
    });
    for (const name of NODES) {
      const node = startCommand(
        [
          'cluster',
          'start',
          '--address',
          nats.url,
          '--namespace',
          NAMESPACE,
          '--name',
          name,
          '--block',
        ].concat(['--workers', '1', '--state-dir', join(folder, name)]),
        { folder, env: variables(), inside: (command) => lab.inside(name, command) },
      );
      nodes.set(name, node);
      await node.says(/is ready/);
    }
  });

  afterAll(async () => {
    for (const name of NODES) await lab?.heal(name);
    await Promise.all([...nodes.values()].map((node) => node.stop()));
    await store?.close();
    await sql?.end();
    await rehearsal?.close();
    await postgres?.leave();
    await nats?.stop();
    await lab?.remove();
    // A run that the test did not see to its end.
    if (project !== undefined) killProcessesOf(project.folder);
    await project?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  const address = (server: number): string => lab.servers[server] ?? '';
  const variables = () => ({
    DLGFORGE_NATS_TOKEN: TOKEN,
    DLGFORGE_POSTGRES_DSN: postgres.dsnForOthers(),
    DLGFORGE_CLUSTER_DIR: join(folder, 'clusters'),
    // A server that is not on the loopback needs a key, whatever it is.
    MODELS_KEY: 'key-of-the-partition-test',
    ...Object.fromEntries(
      ['USER', 'ASSISTANT', 'JUDGE'].map((role) => [`LLM_${role}_API_KEY_ENV`, 'MODELS_KEY']),
    ),
  });

  const committed = async (): Promise<number> => {
    const { rows } = await sql.query<{ count: number }>(
      'SELECT count(*)::int AS count FROM dlgforge.conversations',
    );
    return rows[0]?.count ?? 0;
  };

  interface Lead {
    readonly node: NodeName;
    readonly epoch: number;
  }
  const lead = async (): Promise<Lead> => {
    const { rows } = await sql.query<{ holder: string | null; epoch: string }>(
      `SELECT holder, epoch FROM dlgforge.leases WHERE name LIKE 'dataset/%'`,
    );
    const holder = JSON.parse(rows[0]?.holder ?? '{}') as { processKey?: string };
    // Its own part of the name; the rest is new in every process.
    const node = NODES.find((name) => holder.processKey?.startsWith(`${name}-`));
    if (node === undefined) throw new Error(`the run is led by ${holder.processKey ?? 'nobody'}`);
    return { node, epoch: Number(rows[0]?.epoch) };
  };

  const goesOn = async (what: string): Promise<void> => {
    const before = await committed();
    await expect.poll(committed, { timeout: GOES_ON_MS, message: what }).toBeGreaterThan(before);
  };

  const takenOver = async (from: Lead, what: string): Promise<void> => {
    await expect
      .poll(async () => (await lead()).epoch, { timeout: ELSEWHERE_MS, message: what })
      .toBeGreaterThan(from.epoch);
    expect((await lead()).node, what).not.toBe(from.node);
  };

  test('ends right after each of: no NATS, no Postgres, neither, one way, flapping; I2: never two writers', async () => {
    const run = project.start(['run', 'config.yaml', '--json'], variables());
    const early = run.finished.then(({ code, stderr }) => {
      throw new Error(`the run ended with ${code} before the cuts were over:\n${stderr}`);
    });
    early.catch(() => undefined);
    await Promise.race([early, expect.poll(committed, { timeout: 40_000 }).toBeGreaterThan(0)]);
    const draw = (step: string): NodeName => NODES[below([SEED, step], NODES.length)] ?? 'a';

    // The leader does not hear of the others, and they do not hear of it: another one takes over.
    const first = await lead();
    await lab.cut(first.node, address(NATS));
    await takenOver(first, 'from a leader without NATS');
    await lab.heal(first.node);
    await goesOn('after a leader without NATS');

    // The leader keeps its lease: a database that is away ends nothing. Nothing can be committed meanwhile.
    const third = await lead();
    await lab.cut(third.node, address(POSTGRES));
    await sleep(1_000);
    const atCut = await committed();
    await sleep(NO_DATABASE_MS);
    expect(await committed(), 'the cut took effect').toBe(atCut);
    await lab.heal(third.node);
    await goesOn('after a leader without Postgres');

    const fourth = await lead();
    await lab.unplug(fourth.node);
    await takenOver(fourth, 'from a leader without a link');
    await lab.heal(fourth.node);
    await goesOn('after a leader without a link');

    // It is heard, and hears nothing.
    const fifth = await lead();
    await lab.cut(fifth.node, address(NATS), 'back');
    await takenOver(fifth, 'from a leader that hears nothing');
    await lab.heal(fifth.node);
    await goesOn('after a leader that heard nothing');

    const flapping = draw('flapping');
    for (let turn = 0; turn < FLAPS; turn += 1) {
      await lab.cut(flapping, address(turn % 2 === 0 ? NATS : POSTGRES), turn % 3 === 0 ? 'towards' : 'both');
      await sleep(400 + below([SEED, 'flap', turn], 800));
      await lab.heal(flapping);
      await sleep(200 + below([SEED, 'rest', turn], 400));
    }
    await goesOn(`after ${flapping} was flapping`);
    expect(await committed(), 'the run was on all the time').toBeLessThan(SAMPLES);

    rehearsal.setOptions({ latency: { distribution: 'fixed', mean_ms: 5 } });
    const { code, stdout, stderr } = await run.finished;
    const facts = await factsOf(store, RUN, rehearsal.log());
    expect(
      brokenPromises(facts, {
        languages: ['english'],
        samples: SAMPLES,
        maxInFlight: MAX_IN_FLIGHT,
        disruptions: CUTS,
      }),
    ).toEqual([]);
    expect(new Set(facts.commits.map(({ epoch }) => epoch)).size, 'several have led').toBeGreaterThan(1);
    expect(code, stderr).toBe(0);
    const report = JSON.parse(stdout) as { languages: { committed: number }[] };
    expect(report.languages.map((language) => language.committed)).toEqual([SAMPLES]);
  }, 150_000);
});
