import { resolve } from 'node:path';
import { type DaemonMessage, startDaemon } from '../../bootstrap/cluster/daemon.ts';
import type { StartFlags } from '../../bootstrap/cluster/start.ts';
import { clusterLogsDir, daemonArguments } from '../../bootstrap/cluster/start-arguments.ts';
import { processEnvironment } from '../../config/environment.ts';
import { EXIT } from '../exit-codes.ts';
import { print, say } from '../terminal.ts';

interface Flags extends StartFlags {
  readonly block?: boolean;
  readonly json?: boolean;
}

export async function clusterStart(flags: Flags): Promise<number> {
  return flags.block === true ? await inForeground(flags) : await inBackground(flags);
}

async function inBackground(flags: Flags): Promise<number> {
  const environment = processEnvironment();
  const { args, variables } = daemonArguments(flags);
  const ready = await startDaemon(
    {
      args,
      environment: { ...environment, ...variables },
      folder: process.cwd(),
      logsDir: clusterLogsDir(flags, environment),
    },
    (text) => {
      if (text !== null && flags.json !== true) say(`[cluster] ${text}`);
    },
  );
  if (flags.json === true)
    print(JSON.stringify({ node: ready.node, pid: ready.pid, metricsPort: ready.metricsPort }));
  else print(readyLines(ready, flags.head === true).join('\n'));
  return EXIT.done;
}

async function inForeground(flags: Flags): Promise<number> {
  // Said to whoever started this in the background, who hangs up when the node is ready; in a terminal it is
  // said to the person.
  const tell = (message: DaemonMessage): void => {
    if (process.connected) process.send?.(message, () => undefined);
  };
  const isChild = process.send !== undefined;
  // Whoever only starts a node in the background does without all that.
  const { startClusterNode } = await import('../../bootstrap/cluster/start.ts');
  const node = await startClusterNode({
    flags: { ...flags, ...(flags.stateDir === undefined ? {} : { stateDir: resolve(flags.stateDir) }) },
    environment: processEnvironment(),
    folder: process.cwd(),
    command: `dlgforge cluster start${flags.head === true ? ' --head' : ''}`,
    onStatus: (text) =>
      isChild ? tell({ type: 'status', text }) : text === null || say(`[cluster] ${text}`),
  }).catch((error: unknown) => {
    tell({ type: 'failed', message: error instanceof Error ? error.message : String(error) });
    throw error;
  });
  const ready = {
    type: 'ready',
    node: node.name,
    joinLines: node.joinLines,
    opened: node.opened,
    metricsPort: node.metricsPort,
  } as const;
  tell(ready);
  if (!isChild) print(readyLines(ready, flags.head === true).join('\n'));
  let asked = 0;
  const onSignal = (): void => {
    asked += 1;
    if (asked > 1) process.exit(EXIT.interrupted);
    void node.drain();
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, onSignal);
  // Started from a terminal that is closed, it goes on.
  process.on('SIGHUP', () => undefined);
  await node.ended;
  return EXIT.done;
}

function readyLines(
  { node, joinLines, opened, metricsPort }: Omit<Extract<DaemonMessage, { type: 'ready' }>, 'type'>,
  isHead: boolean,
): string[] {
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
