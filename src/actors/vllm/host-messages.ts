/** What a host of model servers is told and asked, and what it answers; checked where it arrives (I10). */
import { z } from 'zod';
import type { RunId } from '../../kernel/ids.ts';
import { type ActorRef, actorRef, type ReplyTo } from '../runtime/types.ts';

export const VLLM_HOST_PATH = 'vllm-host';

export const vllmHostRef = (node: string): ActorRef<HostMessage> => actorRef(node, VLLM_HOST_PATH);

/** A replica that is there already, or not, is no error: whoever asks may not have heard the answer. */
export type HostMessage =
  | {
      readonly type: 'StartReplica';
      readonly runId: RunId;
      readonly index: number;
      readonly replyTo: ReplyTo<HostReply>;
    }
  /** Also forgets that one was given up. */
  | {
      readonly type: 'StopReplica';
      readonly runId: RunId;
      readonly index: number;
      readonly replyTo: ReplyTo<HostReply>;
    }
  | { readonly type: 'ListReplicas'; readonly replyTo: ReplyTo<HostReport> }
  /** Whether it could start this program; nothing is started. */
  | { readonly type: 'LookFor'; readonly program: string; readonly replyTo: ReplyTo<HostReply> }
  | HostOwnMessage;

/** From the process that the host lives in; not accepted from elsewhere. */
export type HostOwnMessage =
  /** Runs that go on; the replicas of others are stopped. */
  | { readonly type: 'RunsOn'; readonly runs: readonly RunId[] }
  /** The node is about to go: nothing more is started here. */
  | { readonly type: 'Leave' };

export type HostReply = { readonly type: 'accepted' } | { readonly type: 'refused'; readonly reason: string };

const text = z.string().max(20_000);
const count = z.int().min(0);

const GPU = z.object({
  index: count,
  /** Null: nobody knows. */
  freeMb: z.number().nullable(),
  totalMb: z.number().nullable(),
  /** What has it; null when it is free. */
  usedBy: text.nullable(),
});

const REPLICA = z.object({
  runId: text.transform((id) => id as RunId),
  index: count,
  state: z.enum([
    'starting',
    'serving',
    'restarting',
    /** Its restarts are used up. */
    'given_up',
    /** This node cannot run it; another may. */
    'unable',
  ]),
  /** What it does, or why it does not. */
  text,
  gpus: z.array(count),
  /** Where it answers, with `/v1`; null while it does not. */
  baseUrl: text.nullable(),
  /** The variable that holds the key that it demands, on every node that asks it; never the key (I8). */
  keyVariable: text.nullable(),
});

const REPORT = z.object({
  node: text,
  gpus: z.array(GPU).max(1_024),
  /** Why it may have more than it knows of; null when it knows. */
  gpuTrouble: text.nullable(),
  /** It takes nothing more. */
  isLeaving: z.boolean(),
  replicas: z.array(REPLICA).max(1_024),
  /** Kept servers that nobody uses. */
  kept: z.array(z.object({ orderHash: text, gpus: z.array(count) })).max(1_024),
});

export type OfferedGpu = Readonly<z.infer<typeof GPU>>;
export type ReplicaReport = Readonly<z.infer<typeof REPLICA>>;
export type HostReport = Readonly<z.infer<typeof REPORT>>;

/** @throws ZodError when it is no report. */
export const decodeHostReport = (body: unknown): HostReport => REPORT.parse(body);

const REPLY = z.discriminatedUnion('type', [
  z.object({ type: z.literal('accepted') }),
  z.object({ type: z.literal('refused'), reason: text }),
]);

/** @throws ZodError when it is no reply. */
export const decodeHostReply = (body: unknown): HostReply => REPLY.parse(body);

const replyTo = z.object({ node: z.string(), correlation: z.string() });
const replica = {
  runId: z
    .string()
    .min(1)
    .max(200)
    .transform((id) => id as RunId),
  index: z.int().min(0).max(10_000),
  replyTo,
};

const MESSAGE = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('StartReplica'), ...replica }),
  z.strictObject({ type: z.literal('StopReplica'), ...replica }),
  z.strictObject({ type: z.literal('ListReplicas'), replyTo }),
  z.strictObject({ type: z.literal('LookFor'), program: z.string().min(1).max(4_096), replyTo }),
]);

/** Only names what to start: what that means stands in the store. */
export const decodeHostMessage = (body: unknown): HostMessage => MESSAGE.parse(body);
