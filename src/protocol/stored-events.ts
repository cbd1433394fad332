/**
 * The stored form of a conversation's events. They are stored as they are, so this only holds the
 * door: an event of a newer release is refused instead of being misread. Names are never reused with
 * another meaning; a change of meaning gets a new name.
 */
import type { ConversationEvent, ConversationState } from '../dialogue/conversation-state.ts';
import { DlgforgeError } from '../kernel/errors.ts';

const KNOWN: Readonly<Record<ConversationEvent['type'], true>> = {
  ConversationStarted: true,
  TurnOpened: true,
  EvidenceGathered: true,
  RequestSent: true,
  ModelAnswered: true,
  AnswerReused: true,
  LateAnswerKept: true,
  OutputRejected: true,
  RequestRefused: true,
  QuestionProposed: true,
  QuestionAccepted: true,
  QuestionRejected: true,
  ToolsRequested: true,
  ToolUsed: true,
  AnswerGiven: true,
  VerdictGiven: true,
  TurnAccepted: true,
  ConversationJudgingStarted: true,
  ConversationJudged: true,
  ConversationFinished: true,
  ConversationDropped: true,
  SentBack: true,
  ConversationSettled: true,
};

export function decodeConversationEvent(stored: unknown): ConversationEvent {
  const type = (stored as { readonly type?: unknown } | null)?.type;
  if (typeof type === 'string' && Object.hasOwn(KNOWN, type)) return stored as ConversationEvent;
  throw new DlgforgeError(
    'store',
    `The journal holds an event of the unknown type ${JSON.stringify(type)}; it was written by another release of dlgforge. Go on with that release.`,
  );
}

/** Grows when the shape of the state changes; an older snapshot is then passed over and the journal replayed. */
export const CONVERSATION_SNAPSHOT_VERSION = 1;

export interface ConversationSnapshot {
  readonly version: number;
  readonly state: ConversationState;
}

export function decodeConversationSnapshot(stored: unknown): ConversationState | null {
  const snapshot = stored as ConversationSnapshot | null;
  return snapshot?.version === CONVERSATION_SNAPSHOT_VERSION ? snapshot.state : null;
}
