/**
 * What is committed and not yet in the run's events: the last life of a coordinator ended between the two,
 * or the run is older than its events. Brings them up to date, so that whoever follows the run sees every
 * settled conversation once.
 */
import type { LanguageProgress } from '../../dialogue/schedule.ts';
import type { CommittedConversation, Store } from '../../ports/store.ts';
import type { RunEvent, SettledEvent } from '../../protocol/run-events.ts';
import type { SettledConversation } from '../messages.ts';
import { evolveRecord, type RunRecord } from './record.ts';
import type { CoordinatorOptions } from './options.ts';

type Target = Pick<CoordinatorOptions, 'languages' | 'totalSamples' | 'limits'>;

/** Events that are appended together; the payloads that they come from are read page by page (I9). */
const BATCH = 200;

export async function* missingEvents(
  options: Target & Pick<CoordinatorOptions, 'datasetId' | 'runId'> & { readonly store: Store },
  from: RunRecord,
): AsyncGenerator<readonly RunEvent[]> {
  let record = from;
  let batch: RunEvent[] = [];
  const { store, datasetId, runId } = options;
  for await (const conversation of store.committed(datasetId, from.commitSeq, { runId })) {
    const events = settledEvents(options, record, settledOf(conversation));
    record = events.reduce(evolveRecord, record);
    batch.push(...events);
    if (batch.length < BATCH) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}

function settledOf(conversation: CommittedConversation): SettledConversation {
  const { index, languageIndex, conversationId, status, reason, payload, commitSeq } = conversation;
  const turns = (payload as { readonly turns?: readonly unknown[] } | null)?.turns?.length ?? 0;
  return {
    rank: { index, languageIndex },
    conversationId,
    outcome: status,
    reason,
    detail: '',
    turns,
    commitSeq,
  };
}

/** That a conversation is settled, and its language with it if that was the last one. */
export function settledEvents(
  { languages, totalSamples: target, limits }: Target,
  record: RunRecord,
  settled: SettledConversation,
): RunEvent[] {
  const { rank, conversationId, outcome, reason, detail, turns, commitSeq } = settled;
  const { languageIndex, index } = rank;
  const language = languages[languageIndex] ?? '';
  const before = record.languages[languageIndex];
  const isDrop = outcome === 'dropped';
  const committed = (before?.committed ?? 0) + (isDrop ? 0 : 1);
  const dropped = (before?.dropped ?? 0) + (isDrop ? 1 : 0);
  const event: SettledEvent = {
    type: 'ConversationSettled',
    languageIndex,
    language,
    index,
    conversationId,
    outcome,
    reason,
    detail,
    turns,
    committed,
    target,
    dropped,
    commitSeq,
  };
  const drops = isDrop ? (before?.consecutiveDrops ?? 0) + 1 : 0;
  const how = endOf(committed, drops, target, limits.consecutiveDropsMax, !isDrop);
  if (how === null) return [event];
  return [event, { type: 'LanguageEnded', languageIndex, language, how, committed, target, dropped }];
}

function endOf(
  committed: number,
  drops: number,
  target: number,
  dropsMax: number,
  isCommit: boolean,
): LanguageProgress['ended'] {
  if (isCommit && committed === target) return 'reached';
  return drops === dropsMax ? 'failed' : null;
}
