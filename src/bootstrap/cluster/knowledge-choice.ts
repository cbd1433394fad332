/** Who serves the passages of an index: this process when it has the index open, else a node that says so. */
import { z } from 'zod';
import type { RetrieverMessage } from '../../actors/messages.ts';
import { type ActorRef, actorRef } from '../../actors/runtime/types.ts';
import { canonicalJson, sha256 } from '../../kernel/hash.ts';
import type { Member, Membership } from '../../ports/membership.ts';
import { retrieverPath } from './names.ts';
import type { RunParts } from './run-parts.ts';

/**
 * Names what a search of a run answers from. Runs with the same index share who serves it, unless they
 * rerank differently: then equal queries have other answers (I5).
 */
export function searchKeyOf({ spec, config }: Pick<RunParts, 'spec' | 'config'>): string {
  const { fingerprint } = spec.knowledge;
  const { enabled, model, base_url, instruction, max_length, candidates } = config.tools.retrieval.reranker;
  if (!enabled) return fingerprint;
  const reranker = { model, base_url, instruction, max_length, candidates };
  return `${fingerprint}-${sha256(canonicalJson(reranker)).slice(0, 16)}`;
}

/** What a node's card says under `status` when it serves indexes to others, by `searchKeyOf`. */
export interface IndexStatus {
  readonly indexes: readonly string[];
}

const statusSchema = z.object({ indexes: z.array(z.string()) });

const serves = ({ card }: Member, searchKey: string): boolean =>
  statusSchema.safeParse(card.status).data?.indexes.includes(searchKey) ?? false;

/**
 * Null when nobody has the index open now; ask again after the next change of the membership. The nodes
 * of this machine come first; who asks is spread over the others, and stays with one while it lives.
 */
export function chooseRetriever(
  searchKey: string,
  local: ActorRef<RetrieverMessage> | null,
  membership: Pick<Membership, 'node' | 'members'>,
): ActorRef<RetrieverMessage> | null {
  if (local !== null) return local;
  const members = membership.members();
  const host = members.find(({ card }) => card.node === membership.node)?.card.host ?? null;
  const able = members.filter((member) => member.card.node !== membership.node && serves(member, searchKey));
  const near = able.filter(({ card }) => card.host === host);
  const nodes = (near.length > 0 ? near : able).map(({ card }) => card.node);
  const chosen = highest(nodes, (node) => sha256(`${membership.node} ${node}`));
  return chosen === null ? null : actorRef<RetrieverMessage>(chosen, retrieverPath(searchKey));
}

/** Rendezvous hashing: when a node goes, only those who asked it choose anew. */
function highest(nodes: readonly string[], weightOf: (node: string) => string): string | null {
  const ranked = nodes.map((node) => ({ node, weight: weightOf(node) }));
  return ranked.sort((a, b) => (a.weight < b.weight ? 1 : -1))[0]?.node ?? null;
}
