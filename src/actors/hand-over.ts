/** What the committer gets of a conversation that is over. */
import type { InputsBase } from '../dialogue/conversation-record.ts';
import type { ConversationState } from '../dialogue/conversation-state.ts';
import { ledgerOf, payloadOf, questionedTurns } from '../dialogue/payload.ts';
import type { Rank } from '../dialogue/schedule.ts';
import { conversationIdOf, type DialogueSettings } from '../dialogue/settings.ts';
import { invariant } from '../kernel/errors.ts';
import type { ConversationMessage, HandOver } from './messages.ts';
import type { ActorRef } from './runtime/types.ts';

export function handOverOf(
  state: ConversationState,
  conversation: ActorRef<ConversationMessage>,
  settings: DialogueSettings,
  inputs: InputsBase,
): HandOver {
  const { plan, stage, key } = state;
  invariant(stage.type === 'ready', 'a conversation is handed over when it is ready');
  const { outcome } = stage;
  const { languageIndex, index } = key;
  return {
    type: 'HandOver',
    rank: { languageIndex, index },
    conversationId: plan?.conversationId ?? conversationIdOf(settings, languageIndex, index),
    conversation,
    turns: questionedTurns(state),
    payload: payloadOf(state, settings, inputs),
    ledger: outcome.type === 'finished' ? ledgerOf(state) : [],
    outcome,
  };
}

/** The drop of a conversation whose actor has been given up: nothing of it can be read, or sent back. */
export const crashed = (rank: Rank, conversationId: string, detail: string): HandOver => ({
  type: 'HandOver',
  rank,
  conversationId,
  conversation: null,
  turns: [],
  payload: null,
  ledger: [],
  outcome: { type: 'dropped', reason: 'crashed', detail },
});
