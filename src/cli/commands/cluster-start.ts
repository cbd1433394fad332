import { resolve } from 'node:path';
import { type DaemonMessage, type ReadyMessage, startDaemon } from '../../bootstrap/cluster/daemon.ts';
import type { StartedNode } from '../../bootstrap/cluster/start.ts';
import type { StartFlags } from '../../bootstrap/cluster/start-flags.ts';
import { clusterLogsDir, daemonArguments } from '../../bootstrap/cluster/start-arguments.ts';
import { processEnvironment } from '../../config/environment.ts';
import { DlgforgeError, isDlgforgeError, messageOf } from '../../kernel/errors.ts';
import { EXIT } from '../exit-codes.ts';
import { print, say } from '../terminal.ts';

interface Flags extends StartFlags {
  readonly block?: boolean;
  readonly json?: boolean;
}

export async function clusterStart(flags: Flags): Promise<number> {
  return flags.block === true ? await inForeground(flags) : await inBackground(flags);
}

const stopped = (): DlgforgeError =>
  new DlgforgeError('cancelled', 'Stopped before the node was ready; nothing of it is left.');

async function inBackground(flags: Flags): Promise<number> {
  const environment = processEnvironment();
  const { args, variables } = daemonArguments(flags);
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => stop.abort(stopped()));
  const ready = await startDaemon(
    {
      args,
      environment: { ...environment, ...variables },
      folder: process.cwd(),
      logsDir: clusterLogsDir(flags, environment),
      signal: stop.signal,
    },
    (text) => {
      if (text !== null && flags.json !== true) say(`[cluster] ${text}`);
    },
  );
  printReady(ready, ready.pid, flags);
  return EXIT.done;
}

async function inForeground(flags: Flags): Promise<number> {
  // Said to whoever started this in the background, who hangs up when the node is ready; in a terminal it is
  // said to the person.
  const tell = (message: DaemonMessage): void => {
    if (process.connected) process.send?.(message, () => undefined);
  };
  const isChild = process.send !== undefined;
  // Before anything is started: a signal undoes all of it.
  const life = watchSignals(isChild);
  try {
    // Whoever only starts a node in the background does without all that.
    const { startClusterNode } = await import('../../bootstrap/cluster/start.ts');
    const node = await startClusterNode({
      flags: { ...flags, ...(flags.stateDir === undefined ? {} : { stateDir: resolve(flags.stateDir) }) },
      environment: processEnvironment(),
      folder: process.cwd(),
      command: `dlgforge cluster start${flags.head === true ? ' --head' : ''}`,
      onStatus: (text) => {
        if (isChild) tell({ type: 'status', text });
        else if (text !== null && flags.json !== true) say(`[cluster] ${text}`);
      },
      signal: life.signal,
    });
    life.began(node);
    const { name, joinLines, opened, metricsPort } = node;
    const ready = { type: 'ready', node: name, joinLines, opened, metricsPort } as const;
    tell(ready);
    if (!isChild) printReady(ready, process.pid, flags);
    await node.ended;
    return EXIT.done;
  } catch (error) {
    const code = isDlgforgeError(error) ? error.code : 'transport';
    tell({ type: 'failed', code, message: messageOf(error) });
    throw error;
  } finally {
    // What could not be ended must not keep the process.
    setTimeout(() => process.exit(), LINGER_MS).unref();
  }
}

const LINGER_MS = 2_000;

interface Life {
  readonly signal: AbortSignal;
  began(node: StartedNode): void;
}

/** The first request drains, or ends the start; the second leaves soon; the third ends the process at once. */
function watchSignals(isChild: boolean): Life {
  const starting = new AbortController();
  let node: StartedNode | null = null;
  let asked = 0;
  const onSignal = (): void => {
    asked += 1;
    if (asked > 2) process.exit(EXIT.interrupted);
    if (node === null) starting.abort(stopped());
    // How it went is told by `ended`.
    else (asked === 1 ? node.drain() : node.stop()).catch(() => undefined);
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, onSignal);
  // Started from a terminal that is closed, it goes on.
  process.on('SIGHUP', () => undefined);
  process.on('SIGUSR2', () => {
    if (node === null) starting.abort(stopped());
    else node.unwanted();
  });
  if (isChild) process.once('disconnect', () => node ?? starting.abort(stopped()));
  return {
    signal: starting.signal,
    began(started) {
      node = started;
    },
  };
}

function printReady(ready: ReadyMessage, pid: number, { json, head }: Flags): void {
  const { node, metricsPort } = ready;
  print(
    json === true ? JSON.stringify({ node, pid, metricsPort }) : readyLines(ready, head === true).join('\n'),
  );
}

function readyLines({ node, joinLines, opened, metricsPort }: ReadyMessage, isHead: boolean): string[] {
  return [
    `Node ${node} is ready${isHead ? ', the head of a new cluster' : ''}.`,
    ...opened.map((line) => `  open to other machines: ${line}`),
    ...(metricsPort === null ? [] : [`  metrics: http://127.0.0.1:${metricsPort}/metrics`]),
    ...(joinLines.length === 0
      ? []
      : ['Join it from elsewhere with:', ...joinLines.map((line) => `  ${line}`)]),
    ...(isHead
      ? [
          'Use it: dlgforge run config.yaml with run.distributed.enabled: true. Stop it: dlgforge cluster stop --all',
        ]
      : []),
  ];
}
