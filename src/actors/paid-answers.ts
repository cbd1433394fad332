/** What a conversation has paid for, as its journal has it. */
import type { ModelAnswer } from '../dialogue/chat.ts';
import type { ConversationEvent } from '../dialogue/conversation-state.ts';
import type { PersistenceId } from '../kernel/ids.ts';
import type { Journal } from '../ports/store.ts';
import { decodeConversationEvent } from '../protocol/stored-events.ts';

/** Events that hold what was paid for, and the end that the committer is told of. */
export function isPaidFor(event: ConversationEvent): boolean {
  if (event.type === 'ToolUsed') return event.use.call.name === 'web_search';
  return (
    event.type === 'ModelAnswered' || event.type === 'LateAnswerKept' || event.type === 'ConversationDropped'
  );
}

/** An answer that was paid for before; null when the event at this place holds none. */
export async function journalledAnswer(
  journal: Pick<Journal, 'pick'>,
  id: PersistenceId,
  seq: number,
): Promise<{ readonly answer: ModelAnswer; readonly usedName: string } | null> {
  const [stored] = await journal.pick(id, [seq]);
  if (stored === undefined) return null;
  const event = decodeConversationEvent(stored.event);
  if (event.type !== 'ModelAnswered' && event.type !== 'LateAnswerKept') return null;
  return { answer: event.answer, usedName: event.usedName };
}
