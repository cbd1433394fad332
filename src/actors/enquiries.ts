/**
 * What a conversation asks of others and pays nothing for: passages, and whether a question is new. Those
 * who answer may be restarting or moving to another node, which is never the conversation's failure.
 */
import { type EvidenceRequest, offerOf } from '../dialogue/evidence.ts';
import type { Passage } from '../dialogue/passage.ts';
import type { Rank } from '../dialogue/schedule.ts';
import { DlgforgeError } from '../kernel/errors.ts';
import { decodeFinding, decodeSearchReply } from './decode-messages.ts';
import type { RunDirectory } from './directory.ts';
import type {
  CommitterMessage,
  ConversationMessage,
  QuestionFinding,
  RetrieverMessage,
  SearchReply,
} from './messages.ts';
import { askPatiently } from './patient-ask.ts';
import type { ActorContext, ReplyTo } from './runtime/types.ts';

/** All of these throw `timeout` when nobody has answered for long, and `retrieval` for what the index says. */
export interface Enquiries {
  search(query: string, k: number): Promise<readonly Passage[]>;
  gather(evidence: EvidenceRequest): Promise<readonly Passage[]>;
  checkQuestion(questionKey: string): Promise<QuestionFinding>;
}

/** One try; whoever is asked may be restarting, moving to another node, or waiting for the database. */
const CHECK_TRY_MS = 5_000;
/** A search may wait for an embedder that has much to do. */
const LOOK_UP_TRY_MS = 120_000;
/** Beyond this nobody will answer: the run stops, and goes on later. */
const PATIENCE_MS = 900_000;

export function createEnquiries(
  context: ActorContext<ConversationMessage>,
  directory: RunDirectory,
  rank: Rank,
): Enquiries {
  const lookUp = async (
    message: (replyTo: ReplyTo<SearchReply>) => RetrieverMessage,
  ): Promise<readonly Passage[]> => {
    const reply = await askPatiently<RetrieverMessage, SearchReply>(context, {
      to: () => directory.retriever(),
      message,
      decode: decodeSearchReply,
      isNotYet: ({ type }) => type === 'busy',
      whom: 'The knowledge search',
      tryMs: LOOK_UP_TRY_MS,
      patienceMs: PATIENCE_MS,
    });
    if (reply.type === 'found') return reply.passages;
    const why = reply.type === 'failed' ? reply.message : 'it has too much to do';
    throw new DlgforgeError('retrieval', `The knowledge search failed: ${why}`);
  };

  const search = (query: string, k: number) => lookUp((replyTo) => ({ type: 'Search', query, k, replyTo }));

  return {
    search,
    async gather(evidence) {
      const hits =
        evidence.query === null || evidence.query === '' ? [] : await search(evidence.query, evidence.hits);
      const ids = offerOf(
        evidence,
        hits.map((hit) => hit.id),
      );
      const found = new Map(hits.map((hit) => [hit.id, hit]));
      const missing = ids.filter((id) => !found.has(id));
      if (missing.length > 0) {
        for (const passage of await lookUp((replyTo) => ({ type: 'Fetch', ids: missing, replyTo })))
          found.set(passage.id, passage);
      }
      return ids.flatMap((id) => found.get(id) ?? []);
    },
    checkQuestion: (questionKey) =>
      askPatiently<CommitterMessage, QuestionFinding>(context, {
        to: () => directory.committer(),
        message: (replyTo) => ({ type: 'CheckQuestion', rank, questionKey, replyTo }),
        decode: decodeFinding,
        whom: "The run's committer",
        tryMs: CHECK_TRY_MS,
        patienceMs: PATIENCE_MS,
      }),
  };
}
