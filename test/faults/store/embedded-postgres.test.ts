import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { silentLogger } from '../../../src/kernel/logger.ts';
import { EmbeddedPostgres } from '../../../src/store/embedded-postgres.ts';
import { startProcess, type TestProcess, waitFor } from '../../support/processes.ts';

const isRoot = process.getuid?.() === 0;
const ORDINARY_UID = 65534;

/** Folders like `mktemp -d` makes them: 0700. */
const folders: string[] = [];
const processes: TestProcess[] = [];
/** A database that was made once, for tests that do not look at the making. */
let made: string;

function freshFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'dlgforge-embedded-'));
  folders.push(folder);
  return folder;
}

function folderWithDatabase(): string {
  const folder = freshFolder();
  cpSync(made, join(folder, 'postgres'), { recursive: true });
  return folder;
}

const open = (stateDir: string): Promise<EmbeddedPostgres> =>
  EmbeddedPostgres.open({ stateDir, logger: silentLogger });

function useIn(stateDir: string, task = 'hold'): TestProcess {
  const started = startProcess('store-process.ts', [stateDir, 'dlgforge', task]);
  processes.push(started);
  return started;
}

const pidFile = (stateDir: string): string => join(stateDir, 'postgres', 'postmaster.pid');
const serverPid = (stateDir: string): number =>
  Number(readFileSync(pidFile(stateDir), 'utf8').split('\n')[0]);
const isUp = (stateDir: string): boolean => existsSync(pidFile(stateDir));

beforeAll(async () => {
  const folder = mkdtempSync(join(tmpdir(), 'dlgforge-embedded-'));
  await (await open(folder)).leave();
  made = join(folder, 'postgres');
});

afterAll(() => {
  rmSync(join(made, '..'), { recursive: true, force: true });
});

afterEach(async () => {
  for (const started of processes.splice(0)) await started.kill();
  for (const folder of folders.splice(0)) {
    // What a test left running (a killed process cannot stop the server) ends here.
    if (isUp(folder)) await (await open(folder)).leave();
    rmSync(folder, { recursive: true, force: true });
  }
});

describe('embedded Postgres', () => {
  it('is made, started, shared and stopped by processes that come and go at the same instant', async () => {
    const folder = freshFolder();
    const users = [useIn(folder), useIn(folder), useIn(folder)];
    for (const user of users) await user.line(/^ready$/);
    for (const user of users) {
      user.write('use\n');
      await user.line(/^used/);
    }
    expect(users.at(-1)?.lines.at(-1)).toBe('used 3');
    expect(readdirSync(folder).toSorted()).toEqual(['postgres', 'postgres.log']);
    expect(await Promise.all(users.map((user) => user.finish()))).toEqual([0, 0, 0]);
    expect(isUp(folder)).toBe(false);
  });

  it('survives kill -9 of the process that started it, and goes with the last one out', async () => {
    const folder = folderWithDatabase();
    const starter = useIn(folder);
    await starter.line(/^ready$/);
    const pid = serverPid(folder);
    const other = useIn(folder);
    await other.line(/^ready$/);
    await starter.kill();
    other.write('use\n');
    await other.line(/^used/);
    expect(serverPid(folder)).toBe(pid);
    expect(await other.finish()).toBe(0);
    expect(isUp(folder)).toBe(false);
  });

  it('is used again after everybody was killed', async () => {
    const folder = folderWithDatabase();
    const killed = useIn(folder);
    await killed.line(/^ready$/);
    const pid = serverPid(folder);
    await killed.kill();
    expect(serverPid(folder)).toBe(pid);
    const next = await open(folder);
    expect(serverPid(folder)).toBe(pid);
    await next.leave();
    expect(isUp(folder)).toBe(false);
  });

  it('E3: who enters while the last one leaves has a working server', async () => {
    const folder = folderWithDatabase();
    let current = await open(folder);
    for (let i = 0; i < 8; i += 1) {
      const leaving = current.leave();
      await new Promise((resolve) => setTimeout(resolve, i));
      const [next, second] = await Promise.all([open(folder), open(folder), leaving]);
      await second.leave();
      await next.ensure();
      expect(isUp(folder)).toBe(true);
      current = next;
    }
    await current.leave();
    expect(isUp(folder)).toBe(false);
  });

  it('stays up for a guest that is no process of ours', async () => {
    const folder = folderWithDatabase();
    const { Client } = await import('pg');
    const server = await open(folder);
    const guest = new Client({ ...server.address, application_name: 'psql' });
    await guest.connect();
    await server.leave();
    expect(isUp(folder)).toBe(true);
    await guest.end();
  });

  it('E4: a kill in the middle of the making leaves nothing half made', async () => {
    const folder = freshFolder();
    const killed = useIn(folder);
    const temporary = await waitFor(
      () => readdirSync(folder).find((name) => name.startsWith('postgres.new-')),
      20_000,
      () => 'the making did not begin',
    );
    await killed.kill();
    expect(existsSync(join(folder, 'postgres'))).toBe(false);
    expect(temporary).toContain(String(killed.child.pid));
    await (await open(folder)).leave();
    expect(readdirSync(folder).filter((name) => name.startsWith('postgres.new-'))).toEqual([]);
  });

  it('is not misled by a pid file whose number belongs to another program now, or to none', async () => {
    const folder = folderWithDatabase();
    for (const pid of [process.pid, 2 ** 22 + 1]) {
      writeFileSync(
        pidFile(folder),
        `${pid}\n${join(folder, 'postgres')}\n1\n5432\n/tmp/gone\n\n  1 1\nready   \n`,
      );
      const server = await open(folder);
      expect(serverPid(folder)).not.toBe(pid);
      await server.leave();
      expect(isUp(folder)).toBe(false);
    }
  });

  it('recovers from a server that was killed, and from a leftover socket', async () => {
    const folder = folderWithDatabase();
    const server = await open(folder);
    const pid = serverPid(folder);
    process.kill(pid, 'SIGKILL');
    await waitFor(
      () => (isProcess(pid) ? undefined : true),
      10_000,
      () => 'the server did not die',
    );
    // The backend of our connection sees a moment later that its server is gone.
    await vi.waitFor(async () => {
      await server.ensure();
      expect(serverPid(folder)).not.toBe(pid);
    }, 10_000);
    await server.leave();
  });

  it('starts again a server whose socket was cleaned away', async () => {
    const folder = folderWithDatabase();
    const killed = useIn(folder);
    await killed.line(/^ready$/);
    const pid = serverPid(folder);
    await killed.kill();
    const socketDir = readFileSync(pidFile(folder), 'utf8').split('\n')[4] ?? '';
    expect(statSync(socketDir).mode & 0o777).toBe(0o700);
    rmSync(socketDir, { recursive: true });
    const server = await open(folder);
    expect(serverPid(folder)).not.toBe(pid);
    await server.leave();
  });

  it('says what to do about a folder of another version, and one that is no database', async () => {
    const folder = folderWithDatabase();
    writeFileSync(join(folder, 'postgres', 'PG_VERSION'), '13\n');
    await expect(open(folder)).rejects.toMatchObject({
      code: 'store',
      message: expect.stringMatching(/another major version.*move the folder away/),
    });
    const other = freshFolder();
    mkdirSync(join(other, 'postgres'));
    writeFileSync(join(other, 'postgres', 'notes.txt'), 'mine');
    await expect(open(other)).rejects.toMatchObject({
      code: 'store',
      message: expect.stringContaining('not a database'),
    });
  });

  it('repairs a folder that others may read', async () => {
    const folder = folderWithDatabase();
    chmodSync(join(folder, 'postgres'), 0o755);
    await (await open(folder)).leave();
    expect(statSync(join(folder, 'postgres')).mode & 0o777).toBe(0o700);
  });

  it.runIf(isRoot)('is shared by root and the ordinary user who made it', async () => {
    const folder = freshFolder();
    chownSync(folder, ORDINARY_UID, ORDINARY_UID);
    const user = startProcess('store-process.ts', [folder, 'dlgforge'], {
      uid: ORDINARY_UID,
      gid: ORDINARY_UID,
      cwd: '/',
    });
    processes.push(user);
    await user.line(/^ready$/);
    const root = useIn(folder);
    await root.line(/^ready$/);
    root.write('use\n');
    await root.line(/^used 1$/);
    expect(await root.finish()).toBe(0);
    user.write('use\n');
    await user.line(/^used 2$/);
    expect(await user.finish()).toBe(0);
    expect(isUp(folder)).toBe(false);
    // And root alone starts it as its owner.
    const alone = await open(folder);
    expect(statSync(`/proc/${serverPid(folder)}`).uid).toBe(ORDINARY_UID);
    await alone.leave();
  });
});

function isProcess(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ');
  } catch {
    return false;
  }
}
