/** The embedded database for other machines: by TCP, behind a password, with rights on its tables and no others. */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Logger, silentLogger } from '../../../src/kernel/logger.ts';
import { type EmbeddedListen, EmbeddedPostgres } from '../../../src/store/embedded-postgres.ts';
import { openStore } from '../../../src/store/open-store.ts';
import { startProcess } from '../../support/processes.ts';
import { committing, startRun } from '../../contract/store/store-contract.ts';

const PASSWORD = 'a-generated-password-0123';
const listen: EmbeddedListen = { host: '127.0.0.1', port: 0, password: PASSWORD };

let made: string;
const folders: string[] = [];

beforeAll(async () => {
  made = mkdtempSync(join(tmpdir(), 'dlgforge-listen-'));
  await (await EmbeddedPostgres.open({ stateDir: made, logger: silentLogger })).leave();
});

afterAll(() => {
  rmSync(made, { recursive: true, force: true });
});

afterEach(() => {
  for (const folder of folders.splice(0)) {
    expect(readdirSync(join(folder, 'postgres'))).not.toContain('postmaster.pid');
    rmSync(folder, { recursive: true, force: true });
  }
});

function folderWithDatabase(): string {
  const folder = mkdtempSync(join(tmpdir(), 'dlgforge-listen-'));
  cpSync(join(made, 'postgres'), join(folder, 'postgres'), { recursive: true });
  folders.push(folder);
  return folder;
}

const open = (stateDir: string, over: Partial<EmbeddedListen> = {}): Promise<EmbeddedPostgres> =>
  EmbeddedPostgres.open({ stateDir, logger: silentLogger, listen: { ...listen, ...over } });

const serverPid = (stateDir: string): number =>
  Number(readFileSync(join(stateDir, 'postgres', 'postmaster.pid'), 'utf8').split('\n')[0]);

async function ask(dsn: string, sql: string): Promise<unknown[]> {
  const client = new Client({ connectionString: dsn, application_name: 'dlgforge' });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end();
  }
}

describe('the embedded database for other machines', () => {
  it('carries a whole store by its DSN, beside the socket, and stops with its last user', async () => {
    const folder = folderWithDatabase();
    const server = await open(folder);
    const dsn = server.dsnForOthers();
    expect(dsn).toBe(`postgres://dlgforge_node:${PASSWORD}@127.0.0.1:${server.tcp?.port}/postgres`);
    const here = await openStore({ stateDir: folder });
    await here.close();
    const there = await openStore({ stateDir: '/nowhere', dsn });
    const lease = await startRun(there);
    expect(await there.commit(committing(lease, 0, ['q']))).toMatchObject({ commitSeq: 1 });
    expect(there.description).not.toContain(PASSWORD);
    await there.close();
    const again = await openStore({ stateDir: folder });
    expect(await again.listRuns()).toHaveLength(1);
    await again.close();
    await server.leave();
  });

  it('H: lets nobody in by TCP without the password, not even from this machine', async () => {
    const server = await open(folderWithDatabase());
    const place = `127.0.0.1:${server.tcp?.port}/postgres`;
    for (const who of [
      'dlgforge_node:wrong',
      'dlgforge_node',
      'dlgforge',
      'dlgforge:',
      `dlgforge:${PASSWORD}`,
    ]) {
      await expect(ask(`postgres://${who}@${place}`, 'SELECT 1')).rejects.toThrow(/password/);
    }
    await server.leave();
  });

  it('H: gives other machines the tables, not this one', async () => {
    const server = await open(folderWithDatabase());
    const dsn = server.dsnForOthers();
    const whoami = `SELECT rolsuper, rolcreaterole FROM pg_roles WHERE rolname = current_user`;
    expect(await ask(dsn, whoami)).toEqual([{ rolsuper: false, rolcreaterole: false }]);
    for (const forbidden of [
      `COPY (SELECT 1) TO PROGRAM 'true'`,
      `SELECT pg_read_file('PG_VERSION')`,
      'SET ROLE dlgforge',
      `ALTER SYSTEM SET listen_addresses = '*'`,
    ]) {
      await expect(ask(dsn, forbidden)).rejects.toThrow(/permission denied/);
    }
    await server.leave();
  });

  it('H: says the password in no argument, file, table or log line', async () => {
    const folder = folderWithDatabase();
    const lines: string[] = [];
    const logger: Logger = {
      ...silentLogger,
      log: (...record: unknown[]) => lines.push(JSON.stringify(record)),
    };
    const server = await EmbeddedPostgres.open({ stateDir: folder, logger, listen });
    await server.ensure();
    const pid = serverPid(folder);
    expect(readFileSync(`/proc/${pid}/cmdline`, 'utf8')).toContain('listen_addresses=127.0.0.1');
    expect(readFileSync(`/proc/${pid}/cmdline`, 'utf8')).not.toContain(PASSWORD);
    expect(readFileSync(`/proc/${pid}/environ`, 'utf8')).not.toContain(PASSWORD);
    expect(lines.join()).not.toContain(PASSWORD);
    await server.leave();
    const found = spawnSync('grep', ['-r', '-l', '-a', '-F', PASSWORD, folder], { encoding: 'utf8' });
    expect([found.status, found.stdout]).toEqual([1, '']);
  });

  it('never listens without a password that deserves the name', async () => {
    const folder = folderWithDatabase();
    for (const password of ['', 'short', 'with a blank in its middle', 'ünïcödé-ünïcödé-ünïcödé']) {
      await expect(open(folder, { password })).rejects.toMatchObject({
        code: 'config',
        message: expect.stringContaining('only behind a password'),
      });
    }
    await expect(open(folder, { host: 'a b' })).rejects.toMatchObject({ code: 'config' });
    await expect(open(folder, { host: '192.0.2.1' })).rejects.toMatchObject({
      code: 'store',
      message: expect.stringContaining('cannot listen'),
    });
  });

  it('starts anew a server that nobody else uses', async () => {
    const folder = folderWithDatabase();
    const left = startProcess('store-process.ts', [folder, 'dlgforge']);
    await left.line(/^ready$/);
    const pid = serverPid(folder);
    await left.kill();
    const server = await open(folder);
    expect(serverPid(folder)).not.toBe(pid);
    expect(await ask(server.dsnForOthers(), 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
    await server.leave();
  });

  it('says what to do when others use one that does not listen, and leaves it to them', async () => {
    const folder = folderWithDatabase();
    const user = startProcess('store-process.ts', [folder, 'dlgforge']);
    await user.line(/^ready$/);
    await expect(open(folder)).rejects.toMatchObject({
      code: 'store',
      message: expect.stringMatching(/other processes use it.*start again/),
    });
    user.write('use\n');
    await user.line(/^used/);
    expect(await user.finish()).toBe(0);
  });

  it('listens again, in the same place, whoever brings a killed server back', async () => {
    const folder = folderWithDatabase();
    const server = await open(folder);
    const { port } = server.tcp ?? {};
    process.kill(serverPid(folder), 'SIGKILL');
    const other = await EmbeddedPostgres.open({ stateDir: folder, logger: silentLogger });
    expect(await ask(server.dsnForOthers(), 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
    await server.ensure();
    expect(server.tcp?.port).toBe(port);
    await server.leave();
    await other.leave();
    // Nobody asks any more: the next one is for this machine alone.
    const next = await EmbeddedPostgres.open({ stateDir: folder, logger: silentLogger });
    await expect(ask(server.dsnForOthers(), 'SELECT 1')).rejects.toThrow('ECONNREFUSED');
    await next.leave();
  });

  it('does not listen for one that was killed', async () => {
    const folder = folderWithDatabase();
    const gone = { host: '127.0.0.1', port: 1, asker: { host: 'x', pid: 1, processKey: 'x' } };
    writeFileSync(join(folder, 'postgres', 'listen.json'), JSON.stringify(gone));
    const server = await EmbeddedPostgres.open({ stateDir: folder, logger: silentLogger });
    expect(readFileSync(`/proc/${serverPid(folder)}/cmdline`, 'utf8')).not.toContain('127.0.0.1');
    await server.leave();
  });
});
