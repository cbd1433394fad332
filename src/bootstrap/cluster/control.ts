/** Drains and stops nodes of a cluster. */
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Environment } from '../../config/environment.ts';
import { DlgforgeError, isDlgforgeError } from '../../kernel/errors.ts';
import type { Member } from '../../ports/membership.ts';
import { askNode, joinAsClient, nodesOf } from './client.ts';
import { homesOf, type Wanted } from './find-cluster.ts';
import type { ClusterNode } from './join.ts';
import { stopLeftServices } from './left-services.ts';

/** Longer than a node gives its workers, so that one that is still there has a fault. */
const DRAIN_WITHIN_MS = 90_000;
const STOP_WITHIN_MS = 20_000;
const POLL_MS = 50;

export interface StopReport {
  readonly stopped: readonly string[];
  /** Attached runs: they do no work any more, and follow their run to its end. */
  readonly handedOver: readonly string[];
  readonly stillThere: readonly string[];
  /** The servers of a head that was killed ran on. */
  readonly leftServersStopped: boolean;
}

/** Its conversations go on elsewhere. @throws DlgforgeError `usage` when there is no such node. */
export async function drainNode(client: ClusterNode, name: string): Promise<StopReport> {
  return await endNodes(client, [nodeNamed(client, name)], 'Drain');
}

export type StopWhich =
  | { readonly type: 'node'; readonly name: string }
  | { readonly type: 'host' }
  | { readonly type: 'all' };

export interface StopOptions {
  readonly wanted: Wanted;
  readonly which: StopWhich;
  readonly environment: Environment;
  readonly command: string;
}

/**
 * Stops nodes, and what a head that was killed has left on this machine when nobody else uses it.
 * @throws DlgforgeError `transport` when there is nothing at all to stop; `usage` when there is no such node.
 */
export async function stopCluster(options: StopOptions): Promise<StopReport> {
  const { wanted, which } = options;
  try {
    const { report, isUsed } = await stopThrough(options);
    const mayClear = which.type !== 'node' && !isUsed && report.stillThere.length === 0;
    return { ...report, leftServersStopped: mayClear && (await stopLeft(wanted)) };
  } catch (error) {
    // Servers that do not answer any more may be left all the same.
    if (which.type === 'node' || !isDlgforgeError(error, 'transport') || !(await stopLeft(wanted)))
      throw error;
    return { stopped: [], handedOver: [], stillThere: [], leftServersStopped: true };
  }
}

async function stopThrough({
  wanted,
  which,
  environment,
  command,
}: StopOptions): Promise<{ readonly report: StopReport; readonly isUsed: boolean }> {
  const client = await joinAsClient({ wanted, environment, command });
  try {
    const report = await stopNodes(client, which);
    return { report, isUsed: which.type === 'host' && nodesOf(client).length > 0 };
  } finally {
    await client.close();
  }
}

async function stopLeft(wanted: Wanted): Promise<boolean> {
  const runtimeDir = wanted.environment['XDG_RUNTIME_DIR'];
  let stopped = false;
  for (const home of await homesOf(wanted))
    stopped = (await stopLeftServices(home, wanted.namespace, runtimeDir)) || stopped;
  return stopped;
}

/** A head goes last: the others say good-bye through its servers. */
async function stopNodes(client: ClusterNode, which: StopWhich): Promise<StopReport> {
  const nodes =
    which.type === 'node'
      ? [nodeNamed(client, which.name)]
      : nodesOf(client).filter(
          ({ card }) => card.kind === 'agent' && (which.type === 'all' || card.host === hostname()),
        );
  const isHead = ({ card }: Member): boolean => card.status['head'] === true;
  const others = await endNodes(
    client,
    nodes.filter((node) => !isHead(node)),
    'Stop',
  );
  const heads = await endNodes(client, nodes.filter(isHead), 'Stop');
  return {
    stopped: [...others.stopped, ...heads.stopped],
    handedOver: [...others.handedOver, ...heads.handedOver],
    stillThere: [...others.stillThere, ...heads.stillThere],
    leftServersStopped: false,
  };
}

async function endNodes(
  client: ClusterNode,
  nodes: readonly Member[],
  order: 'Drain' | 'Stop',
): Promise<StopReport> {
  const withinMs = order === 'Drain' ? DRAIN_WITHIN_MS : STOP_WITHIN_MS;
  const ends = await Promise.all(
    nodes.map(async ({ card }) => {
      // One that ends before it answers has done what was asked.
      await askNode<unknown>(client, card.node, (replyTo) => ({ type: order, replyTo })).catch(
        () => undefined,
      );
      return await endOf(client, card.node, withinMs);
    }),
  );
  const names = (end: NodeEnd): string[] =>
    nodes.filter((_, index) => ends[index] === end).map(({ card }) => card.node);
  return {
    stopped: names('gone'),
    handedOver: names('handed over'),
    stillThere: names('there'),
    leftServersStopped: false,
  };
}

type NodeEnd = 'gone' | 'handed over' | 'there';

async function endOf({ membership }: ClusterNode, node: string, withinMs: number): Promise<NodeEnd> {
  const deadlineMs = Date.now() + withinMs;
  while (Date.now() < deadlineMs) {
    const card = membership.members().find((member) => member.card.node === node)?.card;
    if (card === undefined) return 'gone';
    if (card.kind === 'run' && card.status['drained'] === true) return 'handed over';
    await sleep(POLL_MS);
  }
  return 'there';
}

function nodeNamed(client: ClusterNode, name: string): Member {
  const nodes = nodesOf(client);
  const found = nodes.find(({ card }) => card.node === name);
  if (found !== undefined) return found;
  const known = nodes.map(({ card }) => card.node).join(', ');
  throw new DlgforgeError(
    'usage',
    `There is no node ${name} in this cluster. ${known === '' ? 'It has none.' : `It has: ${known}.`}`,
  );
}
