import { z } from 'zod';
import { ROLES } from '../../dialogue/chat.ts';
import type { ActorRef, ReplyTo } from '../runtime/types.ts';
import type { EndpointStats, PermitOutcome } from './endpoint-state.ts';
import type { Rejection } from './permits.ts';
import type { PermitWish } from './router.ts';

/** Plain values only: one router serves callers on every node. */
export type RouterMessage =
  | {
      readonly type: 'Acquire';
      readonly ticket: string;
      readonly wish: PermitWish;
      /** When it ends, its tickets end; null leaves that to the lease. */
      readonly holder: ActorRef<never> | null;
      readonly replyTo: ReplyTo<RouterReply>;
    }
  | { readonly type: 'Release'; readonly ticket: string; readonly outcome: PermitOutcome }
  | { readonly type: 'Cancel'; readonly ticket: string }
  | { readonly type: 'GetStats'; readonly replyTo: ReplyTo<readonly EndpointStats[]> }
  /** The router's own. */
  | { readonly type: 'HolderEnded'; readonly holder: string }
  | { readonly type: 'Wake' };

export type RouterReply =
  | { readonly type: 'granted'; readonly ticket: string; readonly endpoint: string }
  | { readonly type: 'rejected'; readonly rejection: Rejection };

/** A year: longer spans are a mistake, and timers do not take them. */
const spanMs = z.number().min(0).max(31_536_000_000);
const ticket = z.string().min(1).max(200);
const replyTo = z.object({ node: z.string(), correlation: z.string() });
const retryAfterMs = spanMs.nullable();

const messageSchema = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('Acquire'),
    ticket,
    wish: z.object({
      role: z.enum(ROLES),
      conversation: z.string().max(500),
      priority: z.number(),
      avoid: z.string().nullable(),
      waitMs: spanMs,
      leaseMs: spanMs,
    }),
    holder: z.object({ node: z.string(), path: z.string(), incarnation: z.number().int() }).nullable(),
    replyTo,
  }),
  z.object({
    type: z.literal('Release'),
    ticket,
    outcome: z.discriminatedUnion('type', [
      z.object({ type: z.literal('answered') }),
      z.object({ type: z.literal('rate_limited'), retryAfterMs }),
      z.object({ type: z.literal('failed'), retryAfterMs }),
      z.object({ type: z.literal('unusable'), reason: z.string(), status: z.number().int() }),
      z.object({ type: z.literal('abandoned') }),
    ]),
  }),
  z.object({ type: z.literal('Cancel'), ticket }),
  z.object({ type: z.literal('GetStats'), replyTo }),
]);

/** What may come over the wire (I10); the router tells itself the rest. Throws for anything else. */
export const decodeRouterMessage = (body: unknown): RouterMessage => messageSchema.parse(body);
