/**
 * What a coordinator remembers from life to life and node to node: its journal are the run's events
 * (`protocol/run-events.ts`), and this is the little that has to be known of them to go on. Small, whatever
 * the length of the run (I9): what is committed is in the commit table.
 */
import { z } from 'zod';
import type { RunEnd, RunEvent, SettledEvent, UnknownRunEvent } from '../../protocol/run-events.ts';

export interface LanguageRecord {
  readonly committed: number;
  readonly dropped: number;
  /** Since the last commit, or since a person last had the run go on. */
  readonly consecutiveDrops: number;
  /** For the final message. */
  readonly lastDrop: { readonly reason: string; readonly detail: string } | null;
}

export interface RunRecord {
  /** Every settled conversation up to here is in the events. */
  readonly commitSeq: number;
  /** By language index. */
  readonly languages: readonly LanguageRecord[];
  readonly isPaused: boolean;
  /** Null while it goes on. */
  readonly end: RunEnd['type'] | null;
}

const DETAIL_MAX = 500;

/** @param earlier what an imported run had before, by language index. */
export function initialRecord(
  earlier: readonly { readonly committed: number; readonly dropped: number }[],
): RunRecord {
  const languages = earlier.map(({ committed, dropped }) => ({
    committed,
    dropped,
    consecutiveDrops: 0,
    lastDrop: null,
  }));
  return { commitSeq: 0, languages, isPaused: false, end: null };
}

export function evolveRecord(record: RunRecord, event: RunEvent | UnknownRunEvent): RunRecord {
  switch (event.type) {
    case 'CoordinatorStarted': {
      if (!event.fresh) return { ...record, end: null };
      const languages = record.languages.map((language) => ({ ...language, consecutiveDrops: 0 }));
      return { ...record, languages, end: null };
    }
    case 'ConversationSettled':
      return {
        ...record,
        commitSeq: event.commitSeq,
        languages: record.languages.map((language, languageIndex) =>
          languageIndex === event.languageIndex ? withSettled(language, event) : language,
        ),
      };
    case 'RunPaused':
      return { ...record, isPaused: true };
    case 'RunResumed':
      return { ...record, isPaused: false };
    case 'RunEnded':
      return { ...record, end: event.end.type };
    default:
      return record;
  }
}

function withSettled(language: LanguageRecord, event: SettledEvent): LanguageRecord {
  const { committed, dropped, outcome, reason, detail } = event;
  if (outcome === 'committed') return { ...language, committed, dropped, consecutiveDrops: 0 };
  return {
    committed,
    dropped,
    consecutiveDrops: language.consecutiveDrops + 1,
    lastDrop: { reason: reason ?? '', detail: detail.slice(0, DETAIL_MAX) },
  };
}

/** Grows with the form of the record; an older snapshot is passed over and the events are read again. */
const SNAPSHOT_VERSION = 1;

const count = z.int().min(0);
const snapshot = z.object({
  version: z.literal(SNAPSHOT_VERSION),
  commitSeq: count,
  languages: z.array(
    z.object({
      committed: count,
      dropped: count,
      consecutiveDrops: count,
      lastDrop: z.object({ reason: z.string(), detail: z.string() }).nullable(),
    }),
  ),
  isPaused: z.boolean(),
  end: z.enum(['completed', 'interrupted', 'cancelled', 'failed']).nullable(),
});

export const encodeRecord = (record: RunRecord): unknown => ({ version: SNAPSHOT_VERSION, ...record });

export function decodeRecord(stored: unknown): RunRecord | null {
  const parsed = snapshot.safeParse(stored);
  if (!parsed.success) return null;
  const { version: _, ...record } = parsed.data;
  return record;
}
