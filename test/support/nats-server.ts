/** A NATS server for a test file: on a free port of the loopback, in a folder of its own, with a token. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Logger, silentLogger } from '../../src/kernel/logger.ts';
import { connectNats, type NatsLink, type NatsOptions } from '../../src/transport/nats/connection.ts';
import {
  findNatsServer,
  natsInstallLine,
  type NatsServer,
  startNatsServer,
} from '../../src/transport/nats/local-server.ts';

export interface TestNats {
  readonly url: string;
  readonly port: number;
  readonly token: string;
  /** Its own; `streams` in it is what JetStream has stored. */
  readonly folder: string;
  readonly logFile: string;
  readonly pid: number;
  /** A connection as another process would have it, on a namespace of its own unless one is given. */
  connect(options?: Partial<NatsOptions>): Promise<NatsLink>;
  stop(): Promise<void>;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** On the same port, with what is in the folder. */
  start(): Promise<void>;
  /** Stops it and removes its folder; the links are the caller's to close. */
  remove(): Promise<void>;
}

let namespaces = 0;

/** A namespace that no other test has. */
export function freshNamespace(): string {
  namespaces += 1;
  return `test_${process.pid}_${namespaces}`;
}

/** The program; a missing one fails the test with what to type. */
export async function natsProgram(): Promise<string> {
  const program = await findNatsServer({
    given: process.env['DLGFORGE_NATS_SERVER'],
    path: process.env['PATH'],
  });
  if (program === null)
    throw new Error(`nats-server is not installed, and this test needs it: ${await natsInstallLine()}`);
  return program;
}

export async function startTestNats(logger: Logger = silentLogger): Promise<TestNats> {
  const program = await natsProgram();
  const folder = await mkdtemp(join(tmpdir(), 'dlgforge-nats-'));
  const logFile = join(folder, 'nats-server.log');
  const token = `test-token-${Math.random().toString(36).slice(2)}`;
  const launch = (port: number): Promise<NatsServer> =>
    startNatsServer({ program, folder, port, token, logFile });
  let server = await launch(0);
  return {
    url: server.url,
    port: server.port,
    token,
    folder,
    logFile,
    get pid() {
      return server.pid;
    },
    connect: (options = {}) =>
      connectNats({
        urls: [server.url],
        token,
        name: 'test',
        namespace: freshNamespace(),
        logger,
        ...options,
      }),
    stop: () => server.stop(),
    async kill() {
      process.kill(server.pid, 'SIGKILL');
      await server.exited;
    },
    async start() {
      server = await launch(server.port);
    },
    async remove() {
      await server.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
