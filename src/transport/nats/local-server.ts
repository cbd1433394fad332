/**
 * A `nats-server` of our own: found on this machine, started with JetStream in a private folder, and guarded by
 * a token that stands in its configuration file (0600), never in an argument list (I8).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { access, chmod, constants, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { delimiter, dirname, join, resolve } from 'node:path';
import { connect } from 'nats';
import { DlgforgeError, messageOf } from '../../kernel/errors.ts';

export interface NatsServerOptions {
  /** The program, as `findNatsServer` finds it. */
  readonly program: string;
  /** Its own: configuration and stored streams. Made when it is not there. */
  readonly folder: string;
  /** @default 127.0.0.1 */
  readonly host?: string;
  /** @default 0, any free one */
  readonly port?: number;
  /** Null only with TLS client certificates, or on a loopback address. */
  readonly token: string | null;
  /** PEM files; with `ca`, clients need a certificate of it. */
  readonly tls?: { readonly cert: string; readonly key: string; readonly ca?: string };
  readonly logFile: string;
  /** It goes on when this process ends. @default false */
  readonly detached?: boolean;
}

export interface NatsServer {
  /** Without the token. */
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  /** Resolves when it has ended; what it has stored stays. */
  stop(): Promise<void>;
  /** When it has ended, however that came: the exit code, null after a signal. */
  readonly exited: Promise<number | null>;
}

const READY_MS = 10_000;
const STOP_MS = 5_000;
const LOG_BYTES_MAX = 10 * 1024 * 1024;
const USUAL_FOLDERS = ['/usr/sbin', '/usr/local/sbin', '/usr/local/bin', '/opt/homebrew/bin'];

/**
 * The program, or null. `given` is what the user named (`DLGFORGE_NATS_SERVER`); `path` is the search path.
 * @throws DlgforgeError `config` when the given one cannot be run.
 */
export async function findNatsServer(search: {
  readonly given?: string | undefined;
  readonly path?: string | undefined;
}): Promise<string | null> {
  if (search.given !== undefined && search.given !== '') {
    if (await canRun(search.given)) return resolve(search.given);
    throw new DlgforgeError('config', `${search.given} cannot be run; correct DLGFORGE_NATS_SERVER`);
  }
  const folders = [...(search.path ?? '').split(delimiter), ...USUAL_FOLDERS];
  for (const folder of folders.filter((name) => name !== '')) {
    const program = join(folder, 'nats-server');
    if (await canRun(program)) return program;
  }
  return null;
}

/** What to type to get the program on this system. */
export async function natsInstallLine(platform: NodeJS.Platform = process.platform): Promise<string> {
  if (platform === 'darwin') return 'brew install nats-server';
  if (platform === 'linux' && (await canRun('/usr/bin/apt-get'))) {
    const sudo = process.getuid?.() === 0 ? '' : 'sudo ';
    return `${sudo}apt-get update && ${sudo}apt-get install -y nats-server`;
  }
  return 'get nats-server from https://github.com/nats-io/nats-server/releases and put it on the PATH';
}

/**
 * Resolves when the server accepts clients with the token.
 * @throws DlgforgeError `config` for a listener that would be open to the network; `transport` when it does not start.
 */
export async function startNatsServer(options: NatsServerOptions): Promise<NatsServer> {
  const host = options.host ?? '127.0.0.1';
  refuseOpenListener(host, options);
  const folder = resolve(options.folder);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await chmod(folder, 0o700);
  await mkdir(dirname(resolve(options.logFile)), { recursive: true });
  const configFile = join(folder, 'nats-server.conf');
  // The mode only counts for a new file, and an older one may be readable to others.
  await rm(configFile, { force: true });
  await writeFile(configFile, configuration(folder, host, options), { mode: 0o600 });
  const started = launch(options, configFile);
  try {
    const port = await listeningPort(started, folder);
    await accepting(started, host, port, options);
    return serverOf(started, host, port, options);
  } catch (error) {
    started.child.kill('SIGKILL');
    throw await startFault(options, error);
  }
}

interface Started {
  readonly child: ChildProcess;
  readonly pid: number;
  readonly exited: Promise<number | null>;
  hasEnded: boolean;
}

function launch(options: NatsServerOptions, configFile: string): Started {
  const log = openSync(options.logFile, 'a', 0o600);
  const detached = options.detached ?? false;
  const child = spawn(options.program, ['-c', configFile], { detached, stdio: ['ignore', log, log] });
  closeSync(log);
  if (detached) child.unref();
  const { promise: exited, resolve: end } = Promise.withResolvers<number | null>();
  const started: Started = { child, pid: child.pid ?? 0, exited, hasEnded: false };
  const ended = (code: number | null): void => {
    started.hasEnded = true;
    end(code);
  };
  child.once('exit', ended);
  child.once('error', () => ended(null));
  return started;
}

function serverOf(started: Started, host: string, port: number, options: NatsServerOptions): NatsServer {
  return {
    url: `${options.tls === undefined ? 'nats' : 'tls'}://${inUrl(host)}:${port}`,
    port,
    pid: started.pid,
    exited: started.exited,
    async stop() {
      if (started.hasEnded) return;
      started.child.kill('SIGTERM');
      const timer = setTimeout(() => started.child.kill('SIGKILL'), STOP_MS);
      await started.exited;
      clearTimeout(timer);
    },
  };
}

function refuseOpenListener(host: string, { token, tls }: NatsServerOptions): void {
  if (host === 'localhost' || host === '::1' || host.startsWith('127.')) return;
  if (token !== null || tls?.ca !== undefined) return;
  const advice = 'give a token, or TLS files with a CA for client certificates';
  throw new DlgforgeError('config', `a NATS server on ${host} would be open to its network; ${advice}`);
}

/**
 * `-1` is any free port, which the server tells in a file. The deadlines are short so that a client that is cut
 * off, or so slow that its messages pile up here, is dropped within some seconds and comes back to fresh ones.
 */
function configuration(folder: string, host: string, options: NatsServerOptions): string {
  const { port = 0, token, tls, logFile } = options;
  return [
    `listen: ${quoted(`${inUrl(host)}:${port === 0 ? -1 : port}`)}`,
    'server_name: "dlgforge"',
    `ports_file_dir: ${quoted(folder)}`,
    `logfile: ${quoted(resolve(logFile))}`,
    `logfile_size_limit: ${LOG_BYTES_MAX}`,
    'ping_interval: "2s"',
    'ping_max: 3',
    'write_deadline: "5s"',
    `jetstream { store_dir: ${quoted(join(folder, 'streams'))} }`,
    ...(token === null ? [] : [`authorization { token: ${quoted(token)} }`]),
    ...(tls === undefined ? [] : [tlsBlock(tls)]),
    '',
  ].join('\n');
}

function tlsBlock({ cert, key, ca }: { cert: string; key: string; ca?: string }): string {
  const files = [`cert_file: ${quoted(resolve(cert))}`, `key_file: ${quoted(resolve(key))}`];
  if (ca !== undefined) files.push(`ca_file: ${quoted(resolve(ca))}`, 'verify: true');
  return `tls { ${files.join(', ')} }`;
}

function quoted(text: string): string {
  if (!/\p{Cc}/u.test(text)) return `"${text.replace(/["\\]/g, '\\$&')}"`;
  throw new DlgforgeError('config', 'a path or token for NATS has a control character in it; leave it out');
}

const inUrl = (host: string): string => (host.includes(':') ? `[${host}]` : host);

async function listeningPort(started: Started, folder: string): Promise<number> {
  const portsFile = join(folder, `nats-server_${started.pid}.ports`);
  // The file is there a moment before it is written.
  const ports = await attempts(
    started,
    5,
    async () => JSON.parse(await readFile(portsFile, 'utf8')) as { readonly nats?: readonly string[] },
  );
  await rm(portsFile, { force: true });
  const port = Number(URL.parse((ports.nats ?? [])[0] ?? '')?.port);
  if (Number.isInteger(port) && port > 0) return port;
  throw new Error(`${portsFile} names no port`);
}

async function accepting(
  started: Started,
  host: string,
  port: number,
  { token, tls }: NatsServerOptions,
): Promise<void> {
  // Every address of the machine includes this one.
  const reachable = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host;
  const logIn = async (): Promise<void> => {
    const login = token === null ? {} : { token };
    const servers = `${inUrl(reachable)}:${port}`;
    const nats = await connect({ servers, timeout: 1_000, reconnect: false, resolve: false, ...login });
    await nats.close();
  };
  // With TLS its greeting is enough: who may log in, and by which name, only its clients know.
  await attempts(started, 10, tls === undefined ? logIn : () => greeting(reachable, port));
}

function greeting(host: string, port: number): Promise<void> {
  const { promise, resolve: done, reject } = Promise.withResolvers<void>();
  const socket = createConnection({ host, port, timeout: 1_000 });
  socket.once('data', () => done());
  for (const event of ['error', 'timeout', 'close'])
    socket.once(event, () => reject(new Error('it does not greet')));
  return promise.finally(() => socket.destroy());
}

/** Tries until it works, the server has ended, or the time is over. */
async function attempts<T>(started: Started, pauseMs: number, attempt: () => Promise<T>): Promise<T> {
  const deadlineMs = performance.now() + READY_MS;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (started.hasEnded) throw new Error('it ended at once', { cause: error });
      if (performance.now() > deadlineMs) throw error;
    }
    await new Promise((done) => setTimeout(done, pauseMs));
  }
}

async function startFault(options: NatsServerOptions, error: unknown): Promise<DlgforgeError> {
  const lines = await readFile(options.logFile, 'utf8').then(
    (text) => text.trim().split('\n').slice(-3).join(' | '),
    () => '',
  );
  const said = lines === '' ? '' : ` Its last lines: ${lines}.`;
  const text = `nats-server did not start: ${messageOf(error)}.${said} Look into ${options.logFile}, or name a running server with --nats`;
  return new DlgforgeError('transport', text, { cause: error });
}

async function canRun(program: string): Promise<boolean> {
  return await access(program, constants.X_OK).then(
    () => true,
    () => false,
  );
}
