/** Starts and stops one node on the machine where this runs, for `cluster up` and `down`. */
import { spawn } from 'node:child_process';
import { mkdir, readdir, readFile, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { nodeEnvironment } from '../../config/dotenv.ts';
import type { Environment } from '../../config/environment.ts';
import { fromWorkingDir } from '../../config/paths.ts';
import { DlgforgeError, messageOf } from '../../kernel/errors.ts';
import { redactor } from '../../kernel/redact.ts';
import { addressFile, clusterHome, readAddress } from './address-file.ts';
import { isNodeAlive, type NodeFile, removeNodeFile, runningNode } from './node-file.ts';
import { signalTo } from './signal-process.ts';

/** What is asked of a machine; it comes over ssh's input, so that no secret stands in an argument list (I8). */
const launchRequest = z.object({
  action: z.enum(['start', 'stop']),
  name: z.string(),
  namespace: z.string(),
  folder: z.string(),
  stateDir: z.string(),
  isHead: z.boolean(),
  /** Flags of `cluster start`. */
  flags: z.array(z.string()),
  /** Added to the environment of the node. */
  env: z.record(z.string(), z.string()),
  timeoutMs: z.number().positive(),
});
export type LaunchRequest = Readonly<z.infer<typeof launchRequest>>;

export const launchReply = z.discriminatedUnion('type', [
  z.object({
    /** `running`: it was there already. */
    type: z.enum(['started', 'running']),
    node: z.string(),
    pid: z.number(),
    /** What others need in order to join the head; null for other nodes. */
    address: addressFile.nullable(),
  }),
  z.object({ type: z.enum(['stopped', 'absent']) }),
  z.object({ type: z.literal('failed'), message: z.string(), log: z.array(z.string()) }),
]);
export type LaunchReply = Readonly<z.infer<typeof launchReply>>;

/** @throws DlgforgeError `usage` when it is not what `askOverSsh` sends. */
export function readLaunchRequest(text: string): LaunchRequest {
  try {
    return launchRequest.parse(JSON.parse(text));
  } catch {
    // The text holds secrets, and the parsers' messages quote it.
    throw new DlgforgeError(
      'usage',
      'This command is for `dlgforge cluster up` of the same version on another machine; it reads a request from its input.',
    );
  }
}

export interface LaunchContext {
  readonly environment: Environment;
  /** The program to start. @default this dlgforge */
  readonly launcher?: string;
}

const LAUNCHER = fileURLToPath(new URL('../../../bin/dlgforge.js', import.meta.url));
const POLL_MS = 25;
const LOG_LINES = 20;
const OUTPUT_MAX = 64 * 1024;
/** After its command has ended well, for its file to be there. */
const FILE_WAIT_MS = 2_000;

/** Never throws: what goes wrong is told to the one who asked, who may sit at another machine. */
export async function handleLaunch(request: LaunchRequest, context: LaunchContext): Promise<LaunchReply> {
  try {
    return request.action === 'start' ? await start(request, context) : await stop(request, context);
  } catch (error) {
    return { type: 'failed', message: messageOf(error), log: [] };
  }
}

async function start(request: LaunchRequest, context: LaunchContext): Promise<LaunchReply> {
  const stateDir = here(request.stateDir);
  const running = await runningNode(stateDir);
  if (running !== null) return await arrived('running', running, request, context);
  await mkdir(stateDir, { recursive: true });
  const startedAtMs = Date.now();
  const ended = await runStart(request, context, stateDir);
  const deadlineMs = Date.now() + FILE_WAIT_MS;
  for (;;) {
    const node = await runningNode(stateDir);
    if (node !== null) return await arrived('started', node, request, context);
    if (ended.code !== 0 || Date.now() > deadlineMs) break;
    await sleep(POLL_MS);
  }
  const clean = redactor(Object.values(request.env));
  const log = [...linesOf(ended.output), ...(await lastLogLines(stateDir, startedAtMs))];
  return { type: 'failed', message: clean(ended.reason), log: log.map(clean) };
}

interface Ended {
  readonly code: number | null;
  readonly reason: string;
  readonly output: string;
}

/** Runs `cluster start`, which returns when the node has joined and goes on by itself. */
async function runStart(request: LaunchRequest, context: LaunchContext, stateDir: string): Promise<Ended> {
  const { name, namespace, flags, env, folder, timeoutMs } = request;
  const args = [
    'cluster',
    'start',
    ...flags,
    '--namespace',
    namespace,
    '--name',
    name,
    '--state-dir',
    stateDir,
  ];
  const child = spawn(process.execPath, [context.launcher ?? LAUNCHER, ...args], {
    cwd: here(folder),
    env: { ...context.environment, ...env },
    // What it prints on stdout is the join line, which holds the token.
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let output = '';
  child.stderr.on('data', (chunk: Buffer) => {
    output = `${output}${chunk.toString()}`.slice(-OUTPUT_MAX);
  });
  const end = Promise.withResolvers<Ended>();
  const done = (code: number | null, reason: string): void => end.resolve({ code, reason, output });
  child.once('error', (error) => done(null, `it cannot be started: ${error.message}`));
  // Not `close`: the node itself may hold the stream open.
  child.once('exit', (code, signal) => {
    setTimeout(() => done(code, endReason(code, signal)), POLL_MS);
  });
  const timer = setTimeout(() => {
    child.kill('SIGTERM');
    done(null, `it has not joined within ${Math.round(timeoutMs / 1_000)} s`);
  }, timeoutMs);
  try {
    return await end.promise;
  } finally {
    clearTimeout(timer);
    child.stderr.destroy();
  }
}

const endReason = (code: number | null, signal: NodeJS.Signals | null): string =>
  code === 0 ? 'it says that it has joined, but does not run' : `its start ended with ${code ?? signal}`;

async function arrived(
  type: 'started' | 'running',
  { node, pid }: NodeFile,
  request: LaunchRequest,
  context: LaunchContext,
): Promise<LaunchReply> {
  const { isHead, namespace } = request;
  const address = isHead ? await readAddress(homeOf(request, context), namespace) : null;
  if (!isHead || address !== null) return { type, node, pid, address };
  const message = `the head runs as process ${pid}, but there is no address file for ${namespace}; stop it and start it again`;
  return { type: 'failed', message, log: [] };
}

async function stop(request: LaunchRequest, context: LaunchContext): Promise<LaunchReply> {
  const stateDir = here(request.stateDir);
  const node = await runningNode(stateDir);
  if (node !== null) await end(node, request.timeoutMs);
  if (node !== null) await removeNodeFile(stateDir, node.pid);
  // A head that was killed could not stop its servers.
  const left = request.isHead && (await stopLeft(homeOf(request, context), request.namespace));
  return { type: node === null && !left ? 'absent' : 'stopped' };
}

/** As the node itself finds it: the `.env` of its folder counts. */
const homeOf = ({ folder }: LaunchRequest, { environment }: LaunchContext): string =>
  clusterHome(nodeEnvironment(environment, here(folder)));

async function stopLeft(home: string, namespace: string): Promise<boolean> {
  // Loaded when it is needed: it brings the clients of both servers.
  const { stopLeftServices } = await import('./left-services.ts');
  return await stopLeftServices(home, namespace);
}

async function end(node: NodeFile, timeoutMs: number): Promise<void> {
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    if (!isNodeAlive(node)) return;
    signalTo(node.pid, signal);
    const deadlineMs = Date.now() + timeoutMs;
    while (isNodeAlive(node) && Date.now() < deadlineMs) await sleep(POLL_MS);
  }
}

/** What the node itself wrote before it failed. */
async function lastLogLines(stateDir: string, sinceMs: number): Promise<string[]> {
  const logs = join(stateDir, 'logs');
  // No folder: it did not come that far.
  const names = await readdir(logs).catch(() => []);
  const paths = names.filter((name) => name.endsWith('.log')).map((name) => join(logs, name));
  const dated = await Promise.all(paths.map(async (path) => ({ path, ms: (await stat(path)).mtimeMs })));
  const newest = dated.filter(({ ms }) => ms >= sinceMs - 1_000).toSorted((a, b) => b.ms - a.ms)[0];
  return newest === undefined ? [] : linesOf((await readFile(newest.path, 'utf8')).slice(-OUTPUT_MAX));
}

const linesOf = (text: string): string[] =>
  text
    .split('\n')
    .filter((line) => line.trim() !== '')
    .slice(-LOG_LINES);

/** Relative paths begin at the home folder: that is where ssh puts us. */
const here = (path: string): string => resolve(fromWorkingDir(path, homedir()));
