/**
 * What every node answers about itself, at the path `node`. It decides nothing: the process that it lives
 * in says what its status is and how it ends.
 */
import { z } from 'zod';
import { messageOf } from '../kernel/errors.ts';
import {
  type ActorDefinition,
  type ActorInfo,
  type ActorRef,
  actorRef,
  type ReplyTo,
} from './runtime/types.ts';

export const NODE_PATH = 'node';

export const nodeRef = (node: string): ActorRef<NodeMessage> => actorRef(node, NODE_PATH);

export type NodeMessage =
  | { readonly type: 'GetTree'; readonly replyTo: ReplyTo<NodeTree> }
  | { readonly type: 'GetNodeStatus'; readonly replyTo: ReplyTo<NodeStatus> }
  /** Finish the steps in hand, hand the conversations over, leave. Answered when it has begun. */
  | { readonly type: 'Drain'; readonly replyTo: ReplyTo<NodeOrderReply> }
  /** End soon; what is in hand is done elsewhere. Answered when it has begun. */
  | { readonly type: 'Stop'; readonly replyTo: ReplyTo<NodeOrderReply> };

export interface NodeTree {
  readonly node: string;
  /** Parents before children; the first of them when there are very many. */
  readonly actors: readonly ActorInfo[];
  readonly omitted: number;
}

export interface NodeStatus {
  readonly node: string;
  readonly status: Readonly<Record<string, unknown>>;
}

export type NodeOrderReply =
  | { readonly type: 'accepted' }
  | { readonly type: 'refused'; readonly reason: string };

export interface NodeActorOptions {
  readonly node: string;
  readonly tree: () => readonly ActorInfo[];
  /** Plain JSON. */
  readonly status: () => Readonly<Record<string, unknown>>;
  /** Begins it and returns; throwing refuses the order. */
  readonly onDrain: () => void;
  readonly onStop: () => void;
}

/** Actors in one answer; a node has a few hundred. */
const ACTORS_MAX = 5_000;

const replyTo = z.object({ node: z.string(), correlation: z.string() });
const MESSAGE = z.discriminatedUnion('type', [
  z.object({ type: z.literal('GetTree'), replyTo }),
  z.object({ type: z.literal('GetNodeStatus'), replyTo }),
  z.object({ type: z.literal('Drain'), replyTo }),
  z.object({ type: z.literal('Stop'), replyTo }),
]);

export function nodeActor(options: NodeActorOptions): ActorDefinition<NodeMessage> {
  const { node, tree, status, onDrain, onStop } = options;
  return {
    kind: 'node',
    decode: (body) => MESSAGE.parse(body),
    start: (context) => ({
      receive(message) {
        switch (message.type) {
          case 'GetTree': {
            const actors = tree();
            const shown = actors.slice(0, ACTORS_MAX);
            return context.reply(message.replyTo, {
              node,
              actors: shown,
              omitted: actors.length - shown.length,
            });
          }
          case 'GetNodeStatus':
            return context.reply(message.replyTo, { node, status: status() });
          case 'Drain':
            return context.reply(message.replyTo, order(onDrain));
          case 'Stop':
            return context.reply(message.replyTo, order(onStop));
        }
      },
    }),
  };
}

function order(begin: () => void): NodeOrderReply {
  try {
    begin();
    return { type: 'accepted' };
  } catch (error) {
    return { type: 'refused', reason: messageOf(error) };
  }
}
