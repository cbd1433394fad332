import { z } from 'zod';
import { ROLES } from '../../dialogue/chat.ts';
import type { EndpointSpec } from '../../ports/model.ts';
import type { ActorRef, ReplyTo } from '../runtime/types.ts';
import { STRATEGIES } from './choose.ts';
import type { EndpointStats, PermitOutcome } from './endpoint-state.ts';
import type { HeldPermit, Rejection, RunRegistration } from './permits.ts';
import type { PermitWish } from './router.ts';

/** Told when a message has taken effect; a sender that hears nothing sends it again. */
interface Acknowledged {
  readonly replyTo?: ReplyTo<'done'>;
}

/** Plain values only: one router serves callers on every node. Every message may come twice or late. */
export type RouterMessage =
  | {
      readonly type: 'Acquire';
      readonly ticket: string;
      readonly runId: string;
      readonly wish: PermitWish;
      /** When it ends, its tickets end; null leaves that to the lease. */
      readonly holder: ActorRef<never> | null;
      /** Of the router that is meant: another one answers `moved`. */
      readonly epoch: number;
      readonly replyTo: ReplyTo<RouterReply>;
    }
  | ({ readonly type: 'Release'; readonly ticket: string; readonly outcome: PermitOutcome } & Acknowledged)
  | ({ readonly type: 'Cancel'; readonly ticket: string } & Acknowledged)
  /** What a node has out under earlier routers, when it hears of this one; `isComplete` with the last part. */
  | ({
      readonly type: 'AdoptPermits';
      readonly node: string;
      readonly holder: ActorRef<never>;
      readonly permits: readonly HeldPermit[];
      readonly isComplete: boolean;
      readonly epoch: number;
    } & Acknowledged)
  /** Idempotent; the endpoints may change. */
  | ({ readonly type: 'RegisterRun' } & RunRegistration & Acknowledged)
  | ({ readonly type: 'UnregisterRun'; readonly runId: string } & Acknowledged)
  | ({ readonly type: 'AddEndpoint'; readonly runId: string; readonly endpoint: EndpointSpec } & Acknowledged)
  | ({
      readonly type: 'DrainEndpoint' | 'RemoveEndpoint';
      readonly runId: string;
      /** The endpoint's in the run. */
      readonly name: string;
    } & Acknowledged)
  | {
      readonly type: 'GetStats';
      /** @default the endpoints of all runs */
      readonly runId?: string;
      readonly replyTo: ReplyTo<readonly EndpointStats[]>;
    }
  /** The router's own. */
  | { readonly type: 'HolderEnded'; readonly holder: string; readonly isNodeLost: boolean }
  | { readonly type: 'Wake' };

export type RouterReply =
  | {
      readonly type: 'granted';
      readonly ticket: string;
      readonly endpoint: string;
      readonly identity: string;
      readonly isProbe?: true;
      readonly epoch: number;
    }
  | { readonly type: 'rejected'; readonly rejection: Rejection }
  /** Another router was meant. */
  | { readonly type: 'moved' };

/** Where the router of a cluster lives on the node that leads it. */
export const ROUTER_PATH = 'router';
/** Permits of one `AdoptPermits`, or a few more that came meanwhile: a message stays well below a megabyte. */
export const ADOPTED_MAX = 500;
const ENDPOINTS_MAX = 1_000;

/** A year: longer spans are a mistake, and timers do not take them. */
const spanMs = z.number().min(0).max(31_536_000_000);
const ticket = z.string().min(1).max(200);
const name = z.string().min(1).max(500);
const identity = z.string().min(1).max(1_000);
const epoch = z.number().int().min(0);
const role = z.enum(ROLES);
const replyTo = z.object({ node: z.string().max(200), correlation: z.string().max(200) });
const done = replyTo.exactOptional();
const retryAfterMs = spanMs.nullable();
const actor = z.object({
  node: z.string().max(200),
  path: z.string().max(500),
  incarnation: z.number().int(),
});
const strategy = z.enum(STRATEGIES);

const endpoint = z.object({
  name,
  identity: identity.exactOptional(),
  roles: z.array(role).max(ROLES.length),
  weight: z.number().positive().finite(),
  maxInFlight: z.number().int().min(1),
  isDraining: z.boolean().exactOptional(),
});

const outcome = z.discriminatedUnion('type', [
  z.object({ type: z.literal('answered') }),
  z.object({ type: z.literal('rate_limited'), retryAfterMs }),
  z.object({ type: z.literal('failed'), retryAfterMs }),
  z.object({ type: z.literal('unusable'), reason: z.string().max(10_000), status: z.number().int() }),
  z.object({ type: z.literal('abandoned') }),
]);

const messageSchema = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('Acquire'),
    ticket,
    runId: name,
    wish: z.object({
      role,
      conversation: z.string().max(500),
      priority: z.number(),
      avoid: z.string().max(500).nullable(),
      waitMs: spanMs,
      leaseMs: spanMs,
    }),
    holder: actor.nullable(),
    epoch,
    replyTo,
  }),
  z.object({ type: z.literal('Release'), ticket, outcome, replyTo: done }),
  z.object({ type: z.literal('Cancel'), ticket, replyTo: done }),
  z.object({
    type: z.literal('AdoptPermits'),
    node: name,
    holder: actor,
    permits: z
      .array(z.object({ ticket, runId: name, endpoint: name, identity, role, leaseMs: spanMs }))
      .max(2 * ADOPTED_MAX),
    isComplete: z.boolean(),
    epoch,
    replyTo: done,
  }),
  z.object({
    type: z.literal('RegisterRun'),
    runId: name,
    endpoints: z.array(endpoint).max(ENDPOINTS_MAX),
    strategy: strategy.exactOptional(),
    roleStrategies: z.partialRecord(role, strategy).exactOptional(),
    asksFirst: z.boolean().exactOptional(),
    replyTo: done,
  }),
  z.object({ type: z.literal('UnregisterRun'), runId: name, replyTo: done }),
  z.object({ type: z.literal('AddEndpoint'), runId: name, endpoint, replyTo: done }),
  z.object({ type: z.enum(['DrainEndpoint', 'RemoveEndpoint']), runId: name, name, replyTo: done }),
  z.object({ type: z.literal('GetStats'), runId: name.exactOptional(), replyTo }),
]);

/** What may come over the wire (I10); the router tells itself the rest. Throws for anything else. */
export const decodeRouterMessage = (body: unknown): RouterMessage => messageSchema.parse(body);
