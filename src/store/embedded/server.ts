/** Starts and stops the server of a data folder, which is made when it is not there. */
import { closeSync, openSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ServerBinaries } from './binaries.ts';
import { createDataFolder, makeSocketDir, ownerOf, removeSocketDir, takeOver } from './data-folder.ts';
import { firstWorkingWay, type StartedServer, startServer, waysToServe } from './launch.ts';
import type { Listener } from './listener.ts';
import { isServerOf, type Postmaster, readPostmaster, signalServer } from './postmaster.ts';
import { serverArguments } from './settings.ts';
import { wantedPlace, writeAccessFile } from './tcp-listen.ts';

export interface LaunchOptions {
  readonly dataDir: string;
  readonly logFile: string;
  readonly binaries: ServerBinaries;
  readonly runtimeDir: string | undefined;
  /** Null when this process lets no other machine in; another process may. */
  readonly listener: Listener | null;
  /** Before the database is made, which takes a while. */
  readonly onMaking: () => void;
}

const POLL_MS = 20;
const STOP_TIMEOUT_MS = 30_000;
const KILL_TIMEOUT_MS = 5_000;

export async function launchServer(options: LaunchOptions): Promise<StartedServer> {
  const { dataDir, binaries, listener } = options;
  if (ownerOf(dataDir) === null) {
    options.onMaking();
    await createDataFolder(dataDir, binaries);
  }
  const owner = ownerOf(dataDir) ?? { uid: 0, gid: 0 };
  const way = firstWorkingWay(waysToServe(owner), binaries.postgres, dirname(dataDir));
  takeOver(dataDir, way);
  const socketDir = makeSocketDir(dataDir, way, options.runtimeDir);
  await listener?.ask();
  writeAccessFile(dataDir);
  const args = serverArguments(dataDir, socketDir, wantedPlace(dataDir));
  const log = openSync(options.logFile, 'a', 0o600);
  try {
    return startServer(way, binaries.postgres, args, join(dataDir, 'PG_VERSION'), log);
  } finally {
    closeSync(log);
  }
}

/** `onLate`: it did not stop in order in its time, and is stopped at once. */
export async function stopServer(dataDir: string, onLate: () => void): Promise<void> {
  const postmaster = readPostmaster(dataDir);
  if (postmaster === null) return;
  signalServer(dataDir, postmaster.pid, 'SIGINT');
  if (!(await isGone(dataDir, postmaster, STOP_TIMEOUT_MS))) {
    onLate();
    signalServer(dataDir, postmaster.pid, 'SIGQUIT');
    await isGone(dataDir, postmaster, KILL_TIMEOUT_MS);
  }
  removeSocketDir(postmaster.socketDir);
}

async function isGone(dataDir: string, { pid }: Postmaster, timeoutMs: number): Promise<boolean> {
  const deadlineMs = Date.now() + timeoutMs;
  while (readPostmaster(dataDir)?.pid === pid && isServerOf(dataDir, pid)) {
    if (Date.now() > deadlineMs) return false;
    await sleep(POLL_MS);
  }
  return true;
}
