/**
 * What the nodes of a cluster tell each other all the time, and what happens to it at the door (I10).
 *
 * The form of `STRANGER` is fixed for all versions, so that a node can always tell who it does not
 * understand, and say so.
 */
import { z } from 'zod';
import type { Leader, Member, NodeCard } from '../../ports/membership.ts';

/** Nodes one step apart work together, so that a cluster can be updated node by node. */
const PROTOCOL_STEPS_MAX = 1;
/** Of one broadcast, in characters of JSON: it goes to everybody, all the time. */
export const BROADCAST_CHARS_MAX = 32_768;
const RETURNED_MAX = 100;

const nodeName = z.string().min(1).max(200);
const count = z.number().int().min(0);

const CARD = z.object({
  node: nodeName,
  kind: z.enum(['agent', 'worker', 'run', 'client']),
  parent: nodeName.nullable(),
  host: z.string().max(300),
  pid: count,
  startedAtMs: z.number(),
  protocol: count,
  build: z.string().max(100),
  labels: z.record(z.string(), z.string()),
  leads: z.array(z.object({ name: z.string().min(1).max(500), epoch: count })),
  store: z.enum(['here', 'away']).exactOptional(),
  status: z.record(z.string(), z.unknown()),
}) satisfies z.ZodType<NodeCard>;

const MESSAGE = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('heartbeat'),
    /** Rises with every broadcast of the node; the first is the time of its start. */
    seq: count,
    card: CARD,
    /** It has been warm once: who starts now joins it, not the other way round. */
    settled: z.boolean(),
    /** Nodes that the sender took for lost and has heard again; `time` tells their returns apart. */
    returned: z.array(z.object({ node: nodeName, time: count })).max(RETURNED_MAX),
  }),
  z.object({ type: z.literal('leaving'), node: nodeName }),
  /** The sender saw the process of `node` end. */
  z.object({ type: z.literal('lost'), node: nodeName, by: nodeName }),
]);

const STRANGER = z.object({
  settled: z.boolean().default(true),
  card: z.object({
    node: nodeName,
    protocol: count,
    build: z.string().max(100),
    startedAtMs: z.number().default(0),
  }),
});

export type MembershipMessage = Readonly<z.infer<typeof MESSAGE>>;
export type Heartbeat = Extract<MembershipMessage, { type: 'heartbeat' }>;
export type Stranger = Readonly<z.infer<typeof STRANGER>>;

export type Heard =
  | { readonly type: 'message'; readonly message: MembershipMessage }
  /** A node whose protocol is too far from ours. */
  | { readonly type: 'stranger'; readonly stranger: Stranger }
  | { readonly type: 'refused'; readonly sender: string; readonly why: string };

export function readBroadcast(body: unknown, protocol: number): Heard {
  const size = JSON.stringify(body)?.length ?? 0;
  if (size > BROADCAST_CHARS_MAX) {
    return refused(body, `it has ${size} characters, and ${BROADCAST_CHARS_MAX} are allowed`);
  }
  const stranger = STRANGER.safeParse(body);
  if (stranger.success && !speaks(stranger.data.card.protocol, protocol)) {
    return { type: 'stranger', stranger: stranger.data };
  }
  const message = MESSAGE.safeParse(body);
  if (message.success) return { type: 'message', message: message.data };
  const [issue] = message.error.issues;
  return refused(body, `${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'it is malformed'}`);
}

const speaks = (theirs: number, ours: number): boolean => Math.abs(theirs - ours) <= PROTOCOL_STEPS_MAX;

const SENDER = z.union([
  z.object({ card: z.object({ node: nodeName }) }).transform(({ card }) => card.node),
  z.object({ by: nodeName }).transform(({ by }) => by),
  z.object({ node: nodeName }).transform(({ node }) => node),
]);

function refused(body: unknown, why: string): Heard {
  const sender = SENDER.safeParse(body);
  return { type: 'refused', sender: sender.success ? sender.data : 'unknown', why };
}

export const sameLeads = (a: NodeCard['leads'], b: NodeCard['leads']): boolean =>
  a.length === b.length && a.every(({ name, epoch }) => b.some((l) => l.name === name && l.epoch === epoch));

/** Who runs the singleton `name`, by the highest epoch; null when nobody says so. */
export function leaderAmong(members: readonly Pick<Member, 'card'>[], name: string): Leader | null {
  let best: Leader | null = null;
  for (const { card } of members) {
    const epoch = card.leads.find((lead) => lead.name === name)?.epoch;
    if (epoch !== undefined && epoch > (best?.epoch ?? -1)) best = { node: card.node, epoch };
  }
  return best;
}

/** What is known of another node. */
export interface Peer {
  card: NodeCard;
  seq: number;
  lastHeardMs: number;
  isProbed: boolean;
  /** The latest return of ours that it told of. */
  heardReturn: number;
}
