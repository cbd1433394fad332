/** Replicas in the cards of nodes: short, because a card goes to everybody, all the time. */
import { z } from 'zod';
import type { ReplicaReport } from '../../actors/vllm/host-messages.ts';
import type { RunId } from '../../kernel/ids.ts';
import type { Membership } from '../../ports/membership.ts';

const SHOWN_MAX = 16;
const TEXT_CHARS = 80;

const SHOWN = z.array(z.object({ run: z.string(), index: z.int(), state: z.string() })).catch([]);
type Shown = z.infer<typeof SHOWN>;

export const shownReplicas = (replicas: readonly ReplicaReport[]): Shown =>
  replicas.slice(0, SHOWN_MAX).map(({ runId, index, state, text }) => ({
    run: runId,
    index,
    state: state === 'serving' ? state : (text.split('\n', 1)[0] ?? state).slice(0, TEXT_CHARS),
  }));

/** What a node's card says of its replicas, one line each. */
export const replicaLines = (node: string, status: Readonly<Record<string, unknown>>): string[] =>
  SHOWN.parse(status['replicas']).map(
    ({ run, index, state }) => `${node}: vLLM replica ${index} of run ${run}: ${state}`,
  );

/** For a person who waits: what the servers of a run do while none serves; null when one does, or there are none. */
export function whatServersDo(membership: Pick<Membership, 'members'>, runId: RunId): string | null {
  const replicas = membership
    .members()
    .flatMap(({ card }) =>
      SHOWN.parse(card.status['replicas'])
        .filter(({ run }) => run === runId)
        .map((replica) => ({ ...replica, node: card.node })),
    )
    .toSorted((a, b) => a.index - b.index);
  if (replicas.length === 0 || replicas.some(({ state }) => state === 'serving')) return null;
  return replicas.map(({ index, node, state }) => `replica ${index} on ${node}: ${state}`).join('; ');
}
