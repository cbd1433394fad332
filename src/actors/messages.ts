/**
 * What the actors of a run say to each other. Plain data; what may come from another node is checked by
 * `decode-messages.ts`, and everything else is an actor's own and refused from the wire (I10).
 * Prompts and answers are not in it: they go from a conversation to its endpoint and to the journal.
 *
 * `epoch` is that of the lease under which a run is led: who has seen a higher one ignores the message (I2).
 */
import type { ConversationPayload } from '../dialogue/conversation-record.ts';
import type { ConversationCommand, Effect } from '../dialogue/conversation.ts';
import type { DropReason } from '../dialogue/conversation-state.ts';
import type { Passage } from '../dialogue/passage.ts';
import type { LedgerEntry } from '../dialogue/payload.ts';
import type { LanguageProgress, Rank } from '../dialogue/schedule.ts';
import type { QuestionedTurn } from '../dialogue/validity.ts';
import type { RunWanted } from '../ports/store.ts';
import type { Delivery } from '../ports/work-queue.ts';
import type { RunEnd, RunTrouble } from '../protocol/run-events.ts';
import type { ActorRef, ReplyTo, Terminated } from './runtime/types.ts';

export type { RunEnd, RunTrouble };

// ---- conversation -------------------------------------------------------------------------------

/** What the committer says of a conversation that was handed over. */
export interface CommitterSays {
  readonly type: 'CommitterSays';
  readonly epoch: number;
  readonly command:
    | Extract<ConversationCommand, { type: 'SettleConversation' | 'SendBack' }>
    /** It is not known here, or from another actor. */
    | { readonly type: 'HandOverAgain' };
}

export type ConversationMessage =
  | CommitterSays
  | { readonly type: 'Command'; readonly command: ConversationCommand }
  /** An effect could not be carried out at all. */
  | { readonly type: 'EffectFailed'; readonly error: unknown }
  /** A model call or web search was not made, or failed for good. */
  | { readonly type: 'CallFailed'; readonly effect: Effect; readonly error: unknown }
  /** Null: it has arrived. */
  | { readonly type: 'HandOverAnswered'; readonly error: unknown }
  /** Start no further model call; say `ConversationDrained`, with this number, when the ones in flight are journalled. */
  | { readonly type: 'Drain'; readonly order: number }
  /** Calls may be made again. */
  | { readonly type: 'GoOn' }
  /** If it was handed over: whoever was told may have been restarted, or replaced, since. Null: whatever the step. */
  | { readonly type: 'RemindCommitter'; readonly step: number | null };

// ---- worker -------------------------------------------------------------------------------------

export type RunPhase = 'running' | 'paused' | 'draining';

/** From the coordinator to each worker, whenever it changes and whenever the worker reports. */
export interface RunNotice {
  readonly type: 'RunNotice';
  readonly epoch: number;
  /** Rises with every life of the coordinator, moves included. */
  readonly term: number;
  readonly phase: RunPhase;
  /** From here on the conversations with the most turns left are served first. */
  readonly isLastWindow: boolean;
  /** Nothing more is paid for these in this run. */
  readonly leftLanguages: readonly number[];
  /** Workers that take conversations of this run. */
  readonly workerCount: number;
  /** Conversations that may be known at a time, over all workers. */
  readonly window: number;
}

export type WorkerMessage =
  | RunNotice
  /** `life`: of the behaviour whose consumer it came to; another one's deliveries are back in the queue. */
  | { readonly type: 'TakeWork'; readonly delivery: Delivery; readonly life: number }
  | { readonly type: 'WorkClaimed'; readonly name: string; readonly reply: ClaimReply | null }
  | { readonly type: 'ClaimAgain'; readonly name: string }
  | { readonly type: 'ConversationEnded'; readonly name: string; readonly terminated: Terminated }
  | { readonly type: 'ConversationDrained'; readonly name: string; readonly order: number }
  | { readonly type: 'ReportTrouble'; readonly trouble: RunTrouble }
  | { readonly type: 'LeaderChanged' }
  /** The coordinator, then the queue, of what has left its hands. */
  | { readonly type: 'TellLeft' }
  | { readonly type: 'Tick' }
  /** Its node leaves: what it has goes to others as soon as the calls in flight are journalled. Then answered. */
  | { readonly type: 'HandBack'; readonly replyTo: ReplyTo<'handed_back'> };

// ---- committer ----------------------------------------------------------------------------------

export type QuestionFinding = 'new' | 'committed' | 'claim';

export interface HandOver {
  readonly type: 'HandOver';
  readonly rank: Rank;
  readonly conversationId: string;
  /** Null when the conversation's actor is gone for good; then nothing can be sent back to it. */
  readonly conversation: ActorRef<ConversationMessage> | null;
  readonly turns: readonly QuestionedTurn[];
  readonly payload: ConversationPayload | null;
  readonly ledger: readonly LedgerEntry[];
  readonly outcome:
    | { readonly type: 'finished' }
    | { readonly type: 'dropped'; readonly reason: DropReason; readonly detail: string };
  /** Told that it has arrived; what becomes of it is said later. */
  readonly replyTo?: ReplyTo<'taken'>;
}

export type CommitterMessage =
  | {
      readonly type: 'CheckQuestion';
      readonly rank: Rank;
      readonly questionKey: string;
      readonly replyTo: ReplyTo<QuestionFinding>;
    }
  | {
      readonly type: 'QuestionsLookedUp';
      readonly batch: readonly Extract<CommitterMessage, { type: 'CheckQuestion' }>[];
      readonly known: ReadonlySet<string>;
    }
  | { readonly type: 'LookUpFailed'; readonly error: unknown }
  | HandOver
  /** It was handed over, and waits. Small, because it is said again and again; the payload is not. */
  | {
      readonly type: 'RemindOfHandOver';
      readonly rank: Rank;
      readonly conversation: ActorRef<ConversationMessage>;
    }
  /** Its turn in the rank order has come. */
  | { readonly type: 'CommitNext'; readonly rank: Rank };

// ---- language wave ------------------------------------------------------------------------------

export interface WaveView {
  readonly languageIndex: number;
  readonly open: number;
  /** Turns accepted since this wave started, committed or not yet. */
  readonly turns: number;
}

export type WaveMessage =
  /** `isHeld`: a worker has it already, so it need not go through the queue. */
  | { readonly type: 'OpenConversation'; readonly rank: Rank; readonly isHeld: boolean }
  /** Whoever had it is gone. */
  | { readonly type: 'RepublishConversation'; readonly rank: Rank }
  | { readonly type: 'TurnAccepted'; readonly rank: Rank; readonly turn: number }
  | {
      readonly type: 'ConversationSettled';
      readonly settled: SettledConversation;
      readonly progress: LanguageProgress;
      readonly isHeld: boolean;
    }
  | { readonly type: 'GetWaveView'; readonly replyTo: ReplyTo<WaveView> };

// ---- coordinator --------------------------------------------------------------------------------

export interface SettledConversation {
  readonly rank: Rank;
  readonly conversationId: string;
  readonly outcome: 'committed' | 'dropped';
  readonly reason: string | null;
  readonly detail: string;
  readonly turns: number;
  readonly commitSeq: number;
}

export interface WorkerView {
  readonly worker: string;
  readonly conversations: number;
  /** Environment variables that it has not and would need. */
  readonly lacks: readonly string[];
  readonly drained: boolean;
}

export interface RunView {
  readonly phase: RunPhase | 'ended';
  readonly epoch: number;
  readonly languages: readonly (LanguageProgress & { readonly open: number; readonly turns: number })[];
  readonly open: number;
  readonly waiting: number;
  readonly workers: readonly WorkerView[];
}

/** What became of a coordinator: the run's end, or that another one has taken over and the run goes on there. */
export type Outcome = RunEnd | { readonly type: 'superseded'; readonly message: string };

/** A worker's word about itself, every second and whenever it matters. */
export interface WorkerHere {
  readonly type: 'WorkerHere';
  readonly worker: ActorRef<WorkerMessage>;
  /** What it works on. */
  readonly held: readonly Rank[];
  /** What it has asked for and had no answer yet. */
  readonly claiming: readonly Rank[];
  readonly lacks: readonly string[];
  /** Why it can do nothing for this run and hands back what it has; null when it can. */
  readonly trouble: RunTrouble | null;
  /** The run is draining and none of its conversations has a call in flight. */
  readonly drained: boolean;
}

export interface ClaimReply {
  readonly epoch: number;
  /**
   * `held`: by another that lives. `left`: its language has been given up in this run. `not_now`: ask again
   * shortly.
   */
  readonly type: 'granted' | 'held' | 'settled' | 'left' | 'not_now';
}

export type CoordinatorMessage =
  | WorkerHere
  | {
      readonly type: 'ClaimWork';
      readonly rank: Rank;
      readonly worker: ActorRef<WorkerMessage>;
      readonly replyTo: ReplyTo<ClaimReply>;
    }
  /** Admit nothing more and end as interrupted once nothing is in flight. */
  | { readonly type: 'StopRun' }
  /** Look now at what a person wants of the run. */
  | { readonly type: 'WantedChanged' }
  | { readonly type: 'GetRunView'; readonly replyTo: ReplyTo<RunView> }
  // Of its children.
  | { readonly type: 'ConversationHandedOver'; readonly rank: Rank }
  | { readonly type: 'ConversationSettled'; readonly settled: SettledConversation }
  | { readonly type: 'ConversationSentBack'; readonly rank: Rank }
  | { readonly type: 'CommitterEnded'; readonly terminated: Terminated }
  // Its own.
  | { readonly type: 'WorkerEnded'; readonly worker: string; readonly terminated: Terminated }
  | { readonly type: 'EventsWritten' }
  | { readonly type: 'WantedKnown'; readonly wanted: RunWanted | null }
  | { readonly type: 'StatusSet'; readonly error: unknown }
  | {
      readonly type: 'ViewReady';
      readonly views: readonly (WaveView | null)[];
      readonly replyTo: ReplyTo<RunView>;
    }
  | { readonly type: 'QueueLost' }
  | { readonly type: 'WarmUpOver' }
  | { readonly type: 'GraceOver' }
  | { readonly type: 'Tick' };

// ---- retriever and exporter ---------------------------------------------------------------------

export type SearchReply =
  | { readonly type: 'found'; readonly passages: readonly Passage[] }
  | { readonly type: 'failed'; readonly message: string }
  /** Nothing was tried: too much is waiting. */
  | { readonly type: 'busy' };

export type RetrieverMessage =
  | {
      readonly type: 'Search';
      readonly query: string;
      readonly k: number;
      readonly replyTo: ReplyTo<SearchReply>;
    }
  | { readonly type: 'Fetch'; readonly ids: readonly string[]; readonly replyTo: ReplyTo<SearchReply> }
  | { readonly type: 'LookUpDone'; readonly replyTo: ReplyTo<SearchReply>; readonly reply: SearchReply };

export type ExporterMessage =
  /** Something was committed; many of them make one pass. */
  | { readonly type: 'CatchUp' }
  | { readonly type: 'PauseOver' }
  | { readonly type: 'PassDone'; readonly error: unknown }
  | { readonly type: 'Flush'; readonly replyTo: ReplyTo<{ readonly error: string | null }> };
