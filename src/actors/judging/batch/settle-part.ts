/** Takes in what a batch that has ended gave: every answer into the journal of its unit, before anything uses it (I1). */
import { WHOLE } from '../../../dialogue/judge-requests.ts';
import { persistenceId } from '../../../kernel/ids.ts';
import type { BatchPort, BatchResult, BatchState } from '../../../ports/batch.ts';
import type { Journal } from '../../../ports/store.ts';
import type { BatchEntry } from '../../../protocol/batch-events.ts';
import { decodeConversationEvent } from '../../../protocol/stored-events.ts';
import { verdictAnswered } from '../judge-unit.ts';
import type { BatchRecord, OpenPart } from './batch-record.ts';

export interface SettleParts {
  readonly record: Pick<BatchRecord, 'entries'>;
  readonly batches: Pick<BatchPort, 'results'>;
  readonly journal: Pick<Journal, 'recover' | 'append'>;
  readonly usedName: (endpoint: string) => string;
  readonly signal: AbortSignal;
}

export interface Settled {
  /** Answers that are journalled, those from before included. */
  readonly answered: number;
  /** By custom id: why a request will never be answered. */
  readonly refused: ReadonlyMap<string, string>;
  /** By custom id: why a request has no answer of this batch. */
  readonly unanswered: ReadonlyMap<string, string>;
  /** Why nothing will be answered until a person acts; null when nothing says so. */
  readonly unusable: string | null;
  /** Lines about no request of the batch, or about one for the second time. */
  readonly ignored: number;
}

/** Answers that are journalled side by side. */
const WRITING_MAX = 16;

/** May be done again: what is journalled stays as it is. */
export async function settlePart(part: OpenPart, state: BatchState, parts: SettleParts): Promise<Settled> {
  const { record, batches, signal } = parts;
  const entries = await record.entries(part.part);
  const refused = new Map<string, string>();
  const unanswered = new Map<string, string>();
  const writing = new Set<Promise<void>>();
  const failures: unknown[] = [];
  let answered = 0;
  let ignored = 0;
  let unusable: string | null = null;
  for (const file of state.resultFiles) {
    for await (const result of batches.results(file, part.form, signal)) {
      const entry = result.type === 'unreadable' ? undefined : entries.get(result.customId);
      if (result.type === 'unreadable' || entry === undefined) {
        ignored += 1;
        continue;
      }
      entries.delete(result.customId);
      if (result.type === 'answered') {
        answered += 1;
        const work = journalled(entry, result, part, state, parts)
          .catch((error: unknown) => {
            failures.push(error);
          })
          .finally(() => writing.delete(work));
        writing.add(work);
        if (writing.size >= WRITING_MAX) await Promise.race(writing);
      } else if (result.type === 'refused') refused.set(result.customId, result.reason);
      else {
        unanswered.set(result.customId, result.reason);
        if (result.type === 'unusable') unusable ??= result.reason;
      }
      if (failures.length > 0) break;
    }
  }
  await Promise.all(writing);
  if (failures.length > 0) throw failures[0];
  const missing = `the batch ${END_TEXTS[state.status]} without an answer to it`;
  for (const customId of entries.keys()) unanswered.set(customId, missing);
  return { answered, refused, unanswered, unusable, ignored };
}

const END_TEXTS: Readonly<Record<BatchState['status'], string>> = {
  open: 'went on',
  completed: 'was completed',
  failed: 'failed',
  expired: 'expired',
  cancelled: 'was cancelled',
};

async function journalled(
  { unit, requestKey, bodyHash }: BatchEntry,
  { answer }: Extract<BatchResult, { readonly type: 'answered' }>,
  { form: { url, format, maxTokensField } }: OpenPart,
  { tookMs }: BatchState,
  { journal, usedName }: SettleParts,
): Promise<void> {
  const id = persistenceId(unit);
  const { epoch, events, lastSeq } = await journal.recover(id);
  const isKnown = events.some(({ event }) => {
    const decoded = decodeConversationEvent(event);
    return decoded.type === 'ModelAnswered' && decoded.requestKey === requestKey;
  });
  if (isKnown) return;
  const whole = { ...answer, latencyMs: tookMs, sent: { url, format, maxTokensField, bodyHash } };
  await journal.append(id, epoch, lastSeq, [
    verdictAnswered(turnOf(unit), requestKey, usedName(answer.endpoint), whole),
  ]);
}

/** The last part of the id of a unit's journal. */
const turnOf = (unit: string): number => Number(unit.slice(unit.lastIndexOf('/') + 1)) || WHOLE;
