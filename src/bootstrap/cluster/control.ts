/** Drains and stops nodes of a cluster. */
import { hostname } from 'node:os';
import { DlgforgeError } from '../../kernel/errors.ts';
import type { Member } from '../../ports/membership.ts';
import { askNode, nodesOf, untilGone } from './client.ts';
import type { ClusterNode } from './join.ts';

const DRAIN_WITHIN_MS = 120_000;
const STOP_WITHIN_MS = 30_000;

export interface StopReport {
  readonly stopped: readonly string[];
  readonly stillThere: readonly string[];
}

/** Its conversations go on elsewhere. @throws DlgforgeError `usage` when there is no such node. */
export async function drainNode(client: ClusterNode, name: string): Promise<StopReport> {
  return await endNodes(client, [nodeNamed(client, name)], DRAIN_WITHIN_MS);
}

export type StopWhich =
  | { readonly type: 'node'; readonly name: string }
  | { readonly type: 'host' }
  | { readonly type: 'all' };

/** A head goes last: the others say good-bye through its servers. */
export async function stopNodes(client: ClusterNode, which: StopWhich): Promise<StopReport> {
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
    STOP_WITHIN_MS,
  );
  const heads = await endNodes(client, nodes.filter(isHead), STOP_WITHIN_MS);
  return {
    stopped: [...others.stopped, ...heads.stopped],
    stillThere: [...others.stillThere, ...heads.stillThere],
  };
}

async function endNodes(
  client: ClusterNode,
  nodes: readonly Member[],
  withinMs: number,
): Promise<StopReport> {
  const gone = await Promise.all(
    nodes.map(async ({ card }) => {
      // One that ends before it answers has done what was asked.
      await askNode<unknown>(client, card.node, (replyTo) => ({ type: 'Drain', replyTo })).catch(
        () => undefined,
      );
      return await untilGone(client, card.node, withinMs);
    }),
  );
  const names = (want: boolean): string[] =>
    nodes.filter((_, index) => gone[index] === want).map(({ card }) => card.node);
  return { stopped: names(true), stillThere: names(false) };
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
