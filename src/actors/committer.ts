/**
 * Commits conversations in rank order, each in one transaction, and answers whether a question is new.
 *
 * Owns: the conversations that were handed over and wait for their turn, and the claims of open ones.
 * Both are guesses or copies; losing them costs no paid answer: after a move to another node the
 * conversations hand over again, and a commit that was made is made once (it is known by its key).
 * Invariants: I3 (one transaction), I4 (keys of the committed set decide, claims only guess), and the
 * validity rule of ARCHITECTURE.md, "Commit in rank order" (`dialogue/validity.ts`).
 */
import { type Claims, createClaims } from '../dialogue/claims.ts';
import { compareRanks, type Rank, type Standing } from '../dialogue/schedule.ts';
import { keysOf, type Validity, validate } from '../dialogue/validity.ts';
import { invariant, unreachable } from '../kernel/errors.ts';
import type { DatasetId, RunId } from '../kernel/ids.ts';
import type { CommitRequest, LeaseGrant, Store } from '../ports/store.ts';
import { decodeCommitterMessage } from './decode-messages.ts';
import type {
  CommitterMessage,
  CommitterSays,
  CoordinatorMessage,
  HandOver,
  QuestionFinding,
} from './messages.ts';
import type { ActorContext, ActorDefinition, ActorRef, Behaviour } from './runtime/types.ts';

export interface CommitterOptions {
  readonly store: Store;
  readonly datasetId: DatasetId;
  readonly runId: RunId;
  readonly lease: LeaseGrant;
  /** Names, by language index. */
  readonly languages: readonly string[];
  readonly coordinator: ActorRef<CoordinatorMessage>;
  /** Where a rank stands in the schedule. */
  readonly standing: (rank: Rank) => Standing;
}

/** What a restart must not lose, or conversations would wait for an answer that never comes. */
interface Held {
  readonly claims: Claims;
  readonly handedOver: Map<string, HandOver>;
  /** The rank in hand. */
  committing: Rank | null;
  /** The last one that was settled: a hand-over of it, or of a lower one, is a repetition. */
  settled: Rank | null;
}

type Check = Extract<CommitterMessage, { type: 'CheckQuestion' }>;

const nameOf = (rank: Rank): string => `${rank.index}/${rank.languageIndex}`;

export function committer(options: CommitterOptions): ActorDefinition<CommitterMessage> {
  const held: Held = { claims: createClaims(), handedOver: new Map(), committing: null, settled: null };
  return {
    kind: 'committer',
    decode: decodeCommitterMessage,
    mailbox: { capacity: 65_536 },
    restart: { maxRestarts: 5, withinMs: 60_000, onGivenUp: 'escalate' },
    start: (context) => {
      if (held.committing !== null) context.tell(context.self, { type: 'CommitNext', rank: held.committing });
      return createCommitter(options, held, context);
    },
  };
}

function createCommitter(
  options: CommitterOptions,
  held: Held,
  context: ActorContext<CommitterMessage>,
): Behaviour<CommitterMessage> {
  const { store, coordinator } = options;
  const { claims, handedOver } = held;
  /** By rank and question: who asks again, because no answer came, takes the place of the first (I9). */
  let checks = new Map<string, Check>();
  let looking = false;

  /** Checks that arrive while a look-up is under way share the next one. */
  const lookUp = (): void => {
    if (looking || checks.size === 0) return;
    const batch = [...checks.values()];
    checks = new Map();
    looking = true;
    const keys = [...new Set(batch.map((check) => check.questionKey))];
    context.pipe(
      store.knownQuestions(options.datasetId, keys),
      (known) => ({ type: 'QuestionsLookedUp', batch, known }),
      (error) => ({ type: 'LookUpFailed', error }),
    );
  };

  const answer = (batch: readonly Check[], known: ReadonlySet<string>): void => {
    looking = false;
    for (const { rank, questionKey, replyTo } of batch) {
      context.reply(replyTo, known.has(questionKey) ? 'committed' : guess(rank, questionKey));
    }
    lookUp();
  };

  /** A claim of a rank that will not commit any more is nobody's. */
  const guess = (rank: Rank, questionKey: string): QuestionFinding => {
    for (
      let holder = claims.claim(rank, questionKey);
      holder !== null;
      holder = claims.claim(rank, questionKey)
    ) {
      if (options.standing(holder) === 'to_come') return 'claim';
      claims.release(holder);
    }
    return 'new';
  };

  const say = (conversation: HandOver['conversation'], command: CommitterSays['command']): void => {
    if (conversation === null) return;
    context.tell(conversation, { type: 'CommitterSays', epoch: options.lease.epoch, command });
  };
  const tellSettled = (handOver: HandOver): void =>
    say(handOver.conversation, { type: 'SettleConversation' });

  const take = (handOver: HandOver): void => {
    const where = place(handOver.rank);
    // Its worker has been told to end it; it goes on when the run is resumed.
    if (where === 'left') return;
    if (where === 'settled') return tellSettled(handOver);
    handedOver.set(nameOf(handOver.rank), handOver);
    context.tell(coordinator, { type: 'ConversationHandedOver', rank: handOver.rank });
  };

  const remind = (reminder: Extract<CommitterMessage, { type: 'RemindOfHandOver' }>): void => {
    const { rank, conversation } = reminder;
    const known = handedOver.get(nameOf(rank))?.conversation;
    if (known?.incarnation === conversation.incarnation && known.node === conversation.node) return;
    const where = place(rank);
    if (where === 'left') return;
    say(conversation, { type: where === 'settled' ? 'SettleConversation' : 'HandOverAgain' });
  };

  /** The coordinator may not have heard yet of what was settled here a moment ago. */
  const place = (rank: Rank): Standing => {
    const isSettled = held.settled !== null && compareRanks(rank, held.settled) <= 0;
    const standing = options.standing(rank);
    return standing === 'to_come' && isSettled ? 'settled' : standing;
  };

  const commitNext = async (rank: Rank): Promise<void> => {
    const handOver = handedOver.get(nameOf(rank));
    if (handOver === undefined) {
      // A restart has forgotten it; the conversation hands over again.
      context.tell(coordinator, { type: 'ConversationSentBack', rank });
      return;
    }
    const isRepeated = held.committing !== null;
    held.committing = rank;
    // The answer of the first try was lost, not the commit.
    if (isRepeated && (await isCommitted(rank))) await commit(handOver);
    else await commitIfValid(handOver);
    held.committing = null;
  };

  const commitIfValid = async (handOver: HandOver): Promise<void> => {
    const known = await store.knownQuestions(options.datasetId, keysOf(handOver.turns));
    const validity = validate(handOver.turns, (key) => known.has(key));
    if (validity.type === 'wrong_guess' && handOver.conversation !== null) sendBack(handOver, validity);
    else await commit(handOver);
  };

  /** Done again, it changes nothing and says what it said the first time. */
  const commit = async (handOver: HandOver): Promise<void> => {
    const result = await store.commit(commitRequest(options, handOver));
    invariant(result.type === 'committed', `${handOver.conversationId} was validated in rank order`);
    tellOutcome(handOver, result.commitSeq);
  };

  const isCommitted = async ({ languageIndex, index }: Rank): Promise<boolean> => {
    const counts = await store.runCounts(options.runId);
    return (counts.find((count) => count.languageIndex === languageIndex)?.nextIndex ?? 0) > index;
  };

  const tellOutcome = (handOver: HandOver, commitSeq: number): void => {
    const { rank, outcome } = handOver;
    held.settled = rank;
    handedOver.delete(nameOf(rank));
    claims.release(rank);
    tellSettled(handOver);
    context.tell(coordinator, {
      type: 'ConversationSettled',
      settled: {
        rank,
        conversationId: handOver.conversationId,
        outcome: outcome.type === 'finished' ? 'committed' : 'dropped',
        reason: outcome.type === 'dropped' ? outcome.reason : null,
        detail: outcome.type === 'dropped' ? outcome.detail : '',
        turns: handOver.payload?.turns.length ?? 0,
        commitSeq,
      },
    });
  };

  const sendBack = (handOver: HandOver, found: Extract<Validity, { type: 'wrong_guess' }>): void => {
    const { turn, attempt, verdict } = found;
    context.logger.log(
      'debug',
      'run',
      `[commit] ${handOver.conversationId} goes back to turn ${turn}, attempt ${attempt}: ${verdict} the question`,
    );
    handedOver.delete(nameOf(handOver.rank));
    claims.release(handOver.rank);
    context.tell(coordinator, { type: 'ConversationSentBack', rank: handOver.rank });
    say(handOver.conversation, { type: 'SendBack', turn, attempt, verdict });
  };

  return {
    receive(message) {
      switch (message.type) {
        case 'CheckQuestion':
          checks.set(`${nameOf(message.rank)} ${message.questionKey}`, message);
          return lookUp();
        case 'QuestionsLookedUp':
          return answer(message.batch, message.known);
        case 'LookUpFailed':
          throw message.error;
        case 'HandOver':
          if (message.replyTo !== undefined) context.reply(message.replyTo, 'taken');
          return take(message);
        case 'RemindOfHandOver':
          return remind(message);
        case 'CommitNext':
          return commitNext(message.rank);
        default:
          return unreachable(message);
      }
    },
  };
}

function commitRequest(options: CommitterOptions, handOver: HandOver): CommitRequest {
  const { rank, payload, turns, outcome } = handOver;
  return {
    datasetId: options.datasetId,
    runId: options.runId,
    lease: options.lease,
    languageIndex: rank.languageIndex,
    language: options.languages[rank.languageIndex] ?? '',
    index: rank.index,
    conversationId: handOver.conversationId,
    turns: payload?.turns.length ?? 0,
    outcome:
      outcome.type === 'finished'
        ? {
            type: 'committed',
            payload,
            questionKeys: turns.map((turn) => turn.attempts.at(-1) as string),
            ledger: handOver.ledger,
          }
        : { type: 'dropped', reason: outcome.reason, payload },
  };
}
