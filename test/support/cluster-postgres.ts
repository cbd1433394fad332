/** A Postgres of a test's own, reached by TCP: killed, frozen and started again with the same data and port. */
import { closeSync, openSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { findServerBinaries } from '../../src/store/embedded/binaries.ts';
import { createDataFolder, ownerOf, SERVER_USER, takeOver } from '../../src/store/embedded/data-folder.ts';
import { firstWorkingWay, startServer, waysToServe } from '../../src/store/embedded/launch.ts';
import { readPostmaster } from '../../src/store/embedded/postmaster.ts';
import { descendantsOf, isRunning, signal } from './cluster-processes.ts';

export interface TestPostgres {
  readonly dsn: string;
  readonly pid: number;
  /** SIGKILL of the server and of its processes, as a machine that loses power. */
  kill(): Promise<void>;
  /** With the data that it had. */
  start(): Promise<void>;
  freeze(): void;
  thaw(): void;
  query<Row extends object>(text: string, values?: readonly unknown[]): Promise<Row[]>;
}

const START_MS = 20_000;

/** @param folder its own; made when it is not there. */
export async function startTestPostgres(folder: string): Promise<TestPostgres> {
  await mkdir(folder, { recursive: true });
  const dataDir = join(folder, 'postgres');
  const binaries = findServerBinaries();
  await createDataFolder(dataDir, binaries);
  const way = firstWorkingWay(waysToServe(ownerOf(dataDir) ?? { uid: 0, gid: 0 }), binaries.postgres, folder);
  takeOver(dataDir, way);
  const port = await freePort();
  const dsn = `postgres://${SERVER_USER}@127.0.0.1:${port}/postgres`;
  const settings = {
    listen_addresses: '127.0.0.1',
    port: String(port),
    unix_socket_directories: '',
    max_connections: '400',
    shared_buffers: '64MB',
    max_wal_size: '256MB',
    jit: 'off',
  };
  const args = [
    '-D',
    dataDir,
    ...Object.entries(settings).flatMap(([key, value]) => ['-c', `${key}=${value}`]),
  ];
  let pid = 0;

  const query = async <Row extends object>(text: string, values: readonly unknown[] = []): Promise<Row[]> => {
    const client = new Client({ connectionString: dsn, connectionTimeoutMillis: 5_000 });
    // A server that is killed says so to whoever waits for an answer.
    client.on('error', () => undefined);
    await client.connect();
    try {
      return (await client.query<Row>(text, [...values])).rows;
    } finally {
      await client.end();
    }
  };

  const start = async (): Promise<void> => {
    const deadlineMs = Date.now() + START_MS;
    let started: ReturnType<typeof startServer> | null = null;
    let why: unknown = null;
    while (Date.now() < deadlineMs) {
      // What is left of a killed server keeps the next one out for a moment.
      if (started === null || started.end() !== null) {
        const log = openSync(join(folder, 'postgres.log'), 'a', 0o600);
        started = startServer(way, binaries.postgres, args, join(dataDir, 'PG_VERSION'), log);
        closeSync(log);
      }
      try {
        await query('SELECT 1');
        pid = readPostmaster(dataDir)?.pid ?? 0;
        return;
      } catch (error) {
        why = error;
        await sleep(50);
      }
    }
    throw new Error(`Postgres in ${folder} is not ready`, { cause: why });
  };
  await start();

  const all = (): number[] => [pid, ...descendantsOf(pid)];
  return {
    dsn,
    get pid() {
      return pid;
    },
    async kill() {
      const gone = all();
      for (const each of gone) signal(each, 'SIGKILL');
      while (gone.some(isRunning)) await sleep(10);
    },
    start,
    freeze() {
      for (const each of all()) signal(each, 'SIGSTOP');
    },
    thaw() {
      for (const each of all()) signal(each, 'SIGCONT');
    },
    query,
  };
}

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}
