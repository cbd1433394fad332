/** What a head brings, with real servers. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'nats';
import { Client } from 'pg';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  type AddressFile,
  removeAddress,
  thisHead,
  writeAddress,
} from '../../src/bootstrap/cluster/address-file.ts';
import { greetingOf } from '../../src/bootstrap/cluster/nats-greeting.ts';
import { type ServiceOptions, type Services, startServices } from '../../src/bootstrap/cluster/services.ts';
import { stopLeftServices } from '../../src/bootstrap/cluster/left-services.ts';
import type { Logger } from '../../src/kernel/logger.ts';
import { EmbeddedPostgres } from '../../src/store/embedded-postgres.ts';
import { isPidAlive } from '../../src/store/process-identity.ts';
import { startProcess } from '../support/processes.ts';

const NAMESPACE = 'services';
let home: string;
let logged: string;
const logger: Logger = { log: (_level, _category, message) => void (logged += `${message}\n`) };
const running: Services[] = [];

beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'dlgforge-services-'));
  logged = '';
});
afterEach(async () => {
  for (const services of running.splice(0)) await services.stop();
  await rm(home, { recursive: true });
});

async function start(options: Partial<ServiceOptions> = {}): Promise<Services> {
  const services = await startServices({
    namespace: NAMESPACE,
    home,
    detached: false,
    command: 'a test',
    logger,
    onStatus: () => undefined,
    ...options,
  });
  running.push(services);
  return services;
}

/** For tests that are about NATS: a database that nobody connects to. */
const NO_DATABASE = { postgresDsn: 'postgres://db.example/db' } as const;

const portOf = ({ natsUrl }: Pick<AddressFile, 'natsUrl'>): number => Number(new URL(natsUrl).port);

async function canLogIn(address: Pick<AddressFile, 'natsUrl'>, token: string | null): Promise<boolean> {
  try {
    const nats = await connect({
      servers: `127.0.0.1:${portOf(address)}`,
      reconnect: false,
      timeout: 1_000,
      ...(token === null ? {} : { token }),
    });
    await nats.close();
    return true;
  } catch {
    return false;
  }
}

const natsPid = async (): Promise<number> =>
  (JSON.parse(await readFile(join(home, NAMESPACE, 'nats', 'server.json'), 'utf8')) as { pid: number }).pid;
const postgresPid = async (): Promise<number> =>
  Number((await readFile(join(home, NAMESPACE, 'postgres', 'postmaster.pid'), 'utf8')).split('\n')[0]);

describe('a head that was given nothing', () => {
  test('S1: starts both servers on this machine only, NATS behind a token, and stops both', async () => {
    const services = await start();
    const { address } = services;
    expect(new URL(address.natsUrl).hostname).toBe('127.0.0.1');
    expect(address.postgres).toEqual({ type: 'embedded', stateDir: join(home, NAMESPACE) });
    expect(services.opened).toEqual([]);
    expect(await canLogIn(address, address.token)).toBe(true);
    expect(await canLogIn(address, null), 'without the token').toBe(false);
    const pids = [await natsPid(), await postgresPid()];
    await Promise.all([services.stop(), services.stop()]);
    expect(pids.map(isPidAlive)).toEqual([false, false]);
  });

  test('S3, I8: says how to join, with the token; no log has it, and no process shows it', async () => {
    const { address, joinLines } = await start(NO_DATABASE);
    const dsn = 'DLGFORGE_POSTGRES_DSN="$DLGFORGE_POSTGRES_DSN" ';
    expect(joinLines).toEqual([
      `DLGFORGE_NATS_TOKEN=${address.token} ${dsn}dlgforge cluster start --address ${address.natsUrl} --namespace ${NAMESPACE}`,
      `${dsn}dlgforge cluster start --address ${address.natsUrl} --namespace ${NAMESPACE} --token ${address.token}`,
    ]);
    expect(address.token).toMatch(/^[0-9a-f]{48}$/);
    expect(logged).not.toContain(address.token);
    expect(await readFile(`/proc/${await natsPid()}/cmdline`, 'utf8')).not.toContain(address.token);
  });

  test('N2: a NATS server that dies comes back on the same port with the same token', async () => {
    const { address } = await start(NO_DATABASE);
    const before = await natsPid();
    process.kill(before, 'SIGKILL');
    await expect.poll(() => isPidAlive(before), { timeout: 5_000 }).toBe(false);
    await expect.poll(() => canLogIn(address, address.token), { timeout: 10_000 }).toBe(true);
    await expect.poll(natsPid, { timeout: 5_000 }).not.toBe(before);
  });

  test('a Postgres that dies comes back', async () => {
    await start();
    const before = await postgresPid();
    process.kill(before, 'SIGKILL');
    await expect
      .poll(async () => await postgresPid().catch(() => before), { timeout: 20_000 })
      .not.toBe(before);
  });

  test('S2: when the database cannot be had, no NATS server is left', async () => {
    await writeFile(join(home, 'no-folder'), '');
    await expect(start({ databaseDir: join(home, 'no-folder', 'db') })).rejects.toThrow();
    const log = await readFile(join(home, NAMESPACE, 'logs', 'nats-server.log'), 'utf8');
    const pid = Number(/^\[(\d+)\]/.exec(log)?.[1]);
    expect(log, 'it did run').toContain('Server is ready');
    expect(isPidAlive(pid)).toBe(false);
  });

  test('a port that is taken is named when it was asked for', async () => {
    const first = await start(NO_DATABASE);
    await expect(
      start({ ...NO_DATABASE, namespace: 'other', ports: { nats: portOf(first.address) } }),
    ).rejects.toMatchObject({
      code: 'usage',
    });
    const second = await start({ ...NO_DATABASE, namespace: 'other' });
    expect(portOf(second.address), 'otherwise a free one is taken').not.toBe(portOf(first.address));
  });

  test('names the variable when the program that it was told to start is not there', async () => {
    await expect(start({ natsServer: join(home, 'none') })).rejects.toThrow('DLGFORGE_NATS_SERVER');
  });
});

describe('a head for other machines', () => {
  test('S1: its servers ask for a token and a password, it says what it opened, and the join line has both', async () => {
    const services = await start({ host: '0.0.0.0' });
    const { address, opened, joinLines } = services;
    expect(opened).toEqual([
      expect.stringMatching(/^NATS on 0\.0\.0\.0:\d+, behind a token$/),
      expect.stringMatching(/^Postgres on 0\.0\.0\.0:\d+, behind a password$/),
    ]);
    const dsn = address.postgres.type === 'dsn' ? address.postgres.dsn : '';
    expect(joinLines[0]).toContain(`DLGFORGE_POSTGRES_DSN=${dsn} `);
    const port = Number(new URL(dsn).port);
    const client = new Client({ connectionString: dsn, host: '127.0.0.1', port });
    await client.connect();
    await client.end();
    const { username } = new URL(dsn);
    const stranger = new Client({
      host: '127.0.0.1',
      port,
      user: username,
      password: 'wrong',
      database: 'postgres',
    });
    await expect(stranger.connect()).rejects.toThrow(/password/);
    expect(await canLogIn(address, null)).toBe(false);
    expect(logged).not.toContain(new URL(dsn).password);
  });

  test('started again after it was killed, it has the same place and the same secrets', async () => {
    const first = await start({ host: '0.0.0.0' });
    await writeAddress(home, {
      ...first.address,
      natsServerId: first.natsServerId(),
      ...thisHead(),
      headPid: 2 ** 22 - 1,
      headNode: 'head',
      startedAt: 'then',
    });
    await first.stop();
    const second = await start({ host: '0.0.0.0' });
    expect(second.address).toEqual(first.address);
  });
});

describe('a head that was given servers', () => {
  test('S3: starts none, and shows neither the token nor the DSN of the user', async () => {
    const { address, joinLines, opened } = await start({
      natsUrl: 'nats://nats.example:4222',
      natsToken: 'users-token',
      postgresDsn: 'postgres://me:users-password@db.example/db',
    });
    expect(address).toMatchObject({
      natsUrl: 'nats://nats.example:4222',
      token: 'users-token',
      postgres: { type: 'dsn', dsn: 'postgres://me:users-password@db.example/db' },
    });
    expect(opened).toEqual([]);
    expect(joinLines[0]).toBe(
      `DLGFORGE_NATS_TOKEN="$DLGFORGE_NATS_TOKEN" DLGFORGE_POSTGRES_DSN="$DLGFORGE_POSTGRES_DSN" dlgforge cluster start --address nats://nats.example:4222 --namespace ${NAMESPACE}`,
    );
    expect(joinLines.join('\n')).not.toContain('users-');
  });

  test('a token in the URL is not shown either', async () => {
    const { joinLines } = await start({
      natsUrl: 'nats://tok@a.example:4222,nats://tok@b.example:4222',
      postgresDsn: 'postgres://db.example/db',
    });
    expect(joinLines.join('\n')).not.toContain('tok@');
  });
});

describe('a head that was killed', () => {
  test('N1: leaves servers that the next one takes the place of, and that `down` stops', async () => {
    const killed = startProcess('head-services.ts', [home, NAMESPACE]);
    const left = JSON.parse(await killed.line(/natsUrl/)) as AddressFile;
    await killed.kill();
    const pid = await natsPid();
    expect(await canLogIn(left, left.token), 'NATS has outlived it').toBe(true);

    const next = await start();
    expect(next.address).toEqual({ ...left });
    expect(isPidAlive(pid), 'one server per folder').toBe(false);
    expect(await canLogIn(left, left.token)).toBe(true);
    await next.stop();
    await removeAddress(home, NAMESPACE, killed.child.pid ?? 0);

    const again = startProcess('head-services.ts', [home, NAMESPACE]);
    await again.line(/natsUrl/);
    expect(await stopLeftServices(home, NAMESPACE), 'a living head is left alone').toBe(false);
    await again.kill();
    const pids = [await natsPid(), await postgresPid()];
    expect(await stopLeftServices(home, NAMESPACE)).toBe(true);
    expect(pids.map(isPidAlive)).toEqual([false, false]);
    expect(await stopLeftServices(home, NAMESPACE)).toBe(false);
  });

  test('while it lives, a second head of the namespace is refused', async () => {
    const first = startProcess('head-services.ts', [home, NAMESPACE]);
    const { natsUrl } = JSON.parse(await first.line(/natsUrl/)) as AddressFile;
    await expect(start()).rejects.toMatchObject({ code: 'held' });
    await first.kill();
    await stopLeftServices(home, NAMESPACE);
    expect(await greetingOf('127.0.0.1', portOf({ natsUrl }), 500)).toBeNull();
  });
});

test('nothing but the servers is left in the folder of a namespace', async () => {
  const services = await start();
  await services.stop();
  const server = await EmbeddedPostgres.open({ stateDir: join(home, NAMESPACE), logger });
  await server.leave();
  await expect(natsPid()).rejects.toThrow('ENOENT');
});
