/** What is written down about a run, for `cluster-checker.ts`. */
import type { LogEntry } from '../../src/llm/rehearsal/request-entry.ts';
import { persistenceId, runId as toRunId } from '../../src/kernel/ids.ts';
import { runPrefix, type Store } from '../../src/ports/store.ts';
import { decodeRunEvent, runEventsId } from '../../src/protocol/run-events.ts';
import type { CommitFact, EventFact, JournalFact, RunFacts } from './cluster-checker.ts';

export async function factsOf(store: Store, run: string, requests: readonly LogEntry[]): Promise<RunFacts> {
  return {
    journal: await journalFacts(store, run),
    commits: await commitFacts(store, run),
    events: await eventFacts(store, run),
    requests,
  };
}

async function journalFacts({ journal }: Store, run: string): Promise<JournalFact[]> {
  const facts: JournalFact[] = [];
  for (const { id } of await journal.list(runPrefix(toRunId(run)))) {
    for (const { seq, epoch, atMs, event } of await journal.read(persistenceId(id))) {
      const { type, answer } = event as { type: string; answer?: { raw?: { id?: string } } };
      // Other events have an answer too, as parsed; these two hold what was paid for.
      const isPaid = type === 'ModelAnswered' || type === 'LateAnswerKept';
      const answerKey = isPaid ? String(answer?.raw?.id).replace('chatcmpl-', '') : null;
      facts.push({ id, seq, epoch, atMs, type, answerKey });
    }
  }
  return facts;
}

async function commitFacts(store: Store, run: string): Promise<CommitFact[]> {
  const record = await store.getRun(toRunId(run));
  if (record === null) throw new Error(`no run ${run}`);
  const facts: CommitFact[] = [];
  for await (const commit of store.committed(record.datasetId, 0, { runId: record.id })) {
    const { commitSeq, epoch, languageIndex, index, language, conversationId, status, ledger } = commit;
    const questions = ledger.map(({ question }) => question);
    facts.push({ commitSeq, epoch, languageIndex, index, language, conversationId, status, questions });
  }
  return facts;
}

export async function eventFacts({ journal }: Pick<Store, 'journal'>, run: string): Promise<EventFact[]> {
  return (await journal.read(runEventsId(run))).map(({ seq, epoch, event: stored }) => {
    const event = decodeRunEvent(stored);
    const settled = event.type === 'ConversationSettled' ? event : null;
    return { seq, epoch, type: event.type, settled };
  });
}
