/** A short-lived node for commands that look at a cluster or ask it for something. */
import { type NodeMessage, nodeRef } from '../../actors/node.ts';
import type { ReplyTo } from '../../actors/runtime/types.ts';
import type { Environment } from '../../config/environment.ts';
import { DlgforgeError } from '../../kernel/errors.ts';
import { silentLogger } from '../../kernel/logger.ts';
import type { Member } from '../../ports/membership.ts';
import { type ClusterAddress, findCluster, type Wanted } from './find-cluster.ts';
import { type ClusterNode, joinCluster } from './join.ts';

const ASK_MS = 3_000;

export interface ClientOptions {
  readonly wanted: Wanted;
  readonly environment: Environment;
  readonly command: string;
  readonly onStatus?: (text: string | null) => void;
}

/** @throws DlgforgeError `transport` when there is no cluster. */
export async function joinAsClient({
  wanted,
  environment,
  command,
  onStatus = () => undefined,
}: ClientOptions): Promise<ClusterNode> {
  const address = await findCluster(wanted);
  if (address === null) throw noCluster();
  return await clientOf(address, { environment, command, onStatus });
}

export async function clientOf(
  address: ClusterAddress,
  { environment, command, onStatus }: Required<Omit<ClientOptions, 'wanted'>>,
): Promise<ClusterNode> {
  return await joinCluster({
    address,
    kind: 'client',
    command,
    limits: { poolMax: 4 },
    runtimeDir: environment['XDG_RUNTIME_DIR'],
    logger: silentLogger,
    onStatus,
  });
}

export const noCluster = (): DlgforgeError =>
  new DlgforgeError(
    'transport',
    'No cluster is running on this machine. Start one with `dlgforge cluster start --head`, or name one that runs elsewhere with --address nats://host:4222 (DLGFORGE_NATS_URL).',
  );

/** Asks the actor that stands for a node. @throws DlgforgeError when it does not answer. */
export function askNode<R>(
  { system }: ClusterNode,
  node: string,
  message: (replyTo: ReplyTo<R>) => NodeMessage,
): Promise<R> {
  return system.ask<NodeMessage, R>(nodeRef(node), message, {
    timeoutMs: ASK_MS,
  });
}

/** The members that are nodes in the eyes of a person. */
export const nodesOf = ({ membership }: ClusterNode): readonly Member[] =>
  membership.members().filter(({ card }) => card.kind === 'agent' || card.kind === 'run');
