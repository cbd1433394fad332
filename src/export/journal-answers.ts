import type { ModelAnswer } from '../dialogue/chat.ts';
import { DlgforgeError } from '../kernel/errors.ts';
import type { PersistenceId } from '../kernel/ids.ts';
import type { CommittedConversation, Journal } from '../ports/store.ts';

/** Response bodies of one conversation's model answers, by journal sequence number. */
export type JournalAnswers = (
  conversation: CommittedConversation,
  seqs: readonly number[],
) => Promise<ReadonlyMap<number, unknown>>;

/**
 * Reads the bodies from where they are kept once: the journal's events of model answers.
 * @throws DlgforgeError `store` when an answer that a record quotes is not there.
 */
export function answersFromJournal(
  journal: Pick<Journal, 'pick'>,
  persistenceIdOf: (conversation: CommittedConversation) => PersistenceId,
): JournalAnswers {
  return async (conversation, seqs) => {
    if (seqs.length === 0) return new Map();
    const id = persistenceIdOf(conversation);
    const bodies = new Map<number, unknown>();
    for (const { seq, event } of await journal.pick(id, seqs)) bodies.set(seq, bodyOf(event, id, seq));
    for (const seq of seqs) if (!bodies.has(seq)) throw missing(id, seq);
    return bodies;
  };
}

function bodyOf(event: unknown, id: PersistenceId, seq: number): unknown {
  const { type, answer } = event as { readonly type?: unknown; readonly answer?: ModelAnswer };
  if ((type !== 'ModelAnswered' && type !== 'LateAnswerKept') || answer === undefined) throw missing(id, seq);
  return answer.raw;
}

function missing(id: PersistenceId, seq: number): DlgforgeError {
  return new DlgforgeError(
    'store',
    `the journal ${id} has no model answer at ${seq}, which a committed conversation quotes: the store is damaged or ` +
      'was restored in part. Restore the whole database from one backup.',
    { details: { persistenceId: id, seq } },
  );
}
