/**
 * What the actors of a run say to each other. Plain data, so that every message can cross a wire.
 * Prompts and answers are not in it: they go from a conversation to its endpoint and to the journal.
 */
import type { ConversationPayload } from '../dialogue/conversation-record.ts';
import type { ConversationCommand } from '../dialogue/conversation.ts';
import type { DropReason } from '../dialogue/conversation-state.ts';
import type { Passage } from '../dialogue/passage.ts';
import type { LedgerEntry } from '../dialogue/payload.ts';
import type { LanguageProgress, Rank } from '../dialogue/schedule.ts';
import type { QuestionedTurn } from '../dialogue/validity.ts';
import type { Delivery } from '../ports/work-queue.ts';
import type { ActorRef, ReplyTo, Terminated } from './runtime/types.ts';

/** Why a run cannot go on; the run is resumable whatever it says. */
export interface RunTrouble {
  readonly code: string;
  readonly message: string;
}

// ---- conversation -------------------------------------------------------------------------------

export type ConversationMessage =
  | { readonly type: 'Command'; readonly command: ConversationCommand }
  /** An effect could not be carried out at all. */
  | { readonly type: 'EffectFailed'; readonly error: unknown }
  | { readonly type: 'CallFailed'; readonly error: unknown }
  /** Start no further model call; say `Drained` when the ones in flight are journalled. */
  | { readonly type: 'Drain' }
  /** Hand over again: whoever was told may have been restarted since. */
  | { readonly type: 'RepeatHandOver'; readonly step: number };

// ---- worker -------------------------------------------------------------------------------------

export type WorkerMessage =
  | { readonly type: 'TakeWork'; readonly delivery: Delivery }
  | { readonly type: 'ConversationEnded'; readonly name: string; readonly terminated: Terminated }
  | { readonly type: 'ConversationDrained'; readonly name: string }
  | { readonly type: 'ReportTrouble'; readonly trouble: RunTrouble }
  /** Its conversations end as soon as the calls in flight are journalled; they go on when the run is resumed. */
  | { readonly type: 'LeaveLanguage'; readonly languageIndex: number }
  /** Answered when no conversation of this worker has a model call in flight. */
  | { readonly type: 'DrainWorker'; readonly replyTo: ReplyTo<'drained'> };

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
  /** Its turn in the rank order has come. */
  | { readonly type: 'CommitNext'; readonly rank: Rank };

// ---- language wave ------------------------------------------------------------------------------

export interface WaveView {
  readonly languageIndex: number;
  readonly open: number;
  /** Turns accepted by this process, committed or not yet. */
  readonly turns: number;
}

export type WaveMessage =
  | { readonly type: 'OpenConversation'; readonly rank: Rank; readonly priority: number }
  | { readonly type: 'TurnAccepted'; readonly rank: Rank; readonly turn: number }
  | {
      readonly type: 'ConversationSettled';
      readonly settled: SettledConversation;
      readonly progress: LanguageProgress;
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
}

export interface RunView {
  readonly languages: readonly (LanguageProgress & { readonly open: number; readonly turns: number })[];
  readonly open: number;
  readonly waiting: number;
}

/** How a run's generation ended; files and exit codes are others' business. */
export type RunEnd =
  | { readonly type: 'completed' }
  | { readonly type: 'interrupted' }
  | { readonly type: 'failed'; readonly trouble: RunTrouble };

export type CoordinatorMessage =
  | { readonly type: 'ConversationHandedOver'; readonly rank: Rank }
  | { readonly type: 'ConversationSettled'; readonly settled: SettledConversation }
  | { readonly type: 'ConversationSentBack'; readonly rank: Rank }
  | { readonly type: 'TroubleReported'; readonly trouble: RunTrouble }
  /** Admit nothing more and end as interrupted once nothing is in flight. */
  | { readonly type: 'StopRun' }
  | { readonly type: 'CommitterEnded'; readonly terminated: Terminated }
  | { readonly type: 'WorkersDrained'; readonly error: unknown }
  | { readonly type: 'GetRunView'; readonly replyTo: ReplyTo<RunView> };

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
