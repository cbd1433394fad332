/** Ledger entries as columns, many at a time. */
import type { LedgerEntry } from '../../ports/store.ts';
import { fromStoredText, toStoredText } from '../stored-text.ts';
import { bigintArray, textArray } from './binary-arrays.ts';

export interface LedgerRow {
  readonly turn: number;
  readonly passage_id: string;
  readonly source: string;
  readonly question: string;
  readonly question_hash: string;
  readonly question_mode: string;
  readonly seed_topic: string;
  readonly seed_question: string;
  readonly seed_question_hash: string;
}

export const LEDGER_COLUMNS =
  'turn, passage_id, source, question, question_hash, question_mode, seed_topic, seed_question, seed_question_hash';

/** Rows from nine array parameters, the first of them `$first`; `position` counts from 1. */
export function ledgerUnnest(first: number): string {
  const texts = Array.from({ length: 8 }, (_, i) => `$${first + 1 + i}::text[]`).join(', ');
  return `unnest($${first}::bigint[], ${texts}) WITH ORDINALITY AS l(${LEDGER_COLUMNS}, position)`;
}

/** The parameters of `ledgerUnnest`. */
export function ledgerValues(entries: readonly LedgerEntry[]): Buffer[] {
  const column = (of: (entry: LedgerEntry) => string): Buffer =>
    textArray(entries.map((entry) => toStoredText(of(entry))));
  return [
    bigintArray(entries.map((entry) => entry.turn)),
    column((entry) => entry.passageId),
    column((entry) => entry.source),
    column((entry) => entry.question),
    column((entry) => entry.questionHash),
    column((entry) => entry.questionMode),
    column((entry) => entry.seedTopic),
    column((entry) => entry.seedQuestion),
    column((entry) => entry.seedQuestionHash),
  ];
}

export function ledgerEntry(row: LedgerRow): LedgerEntry {
  return {
    turn: row.turn,
    passageId: fromStoredText(row.passage_id),
    source: fromStoredText(row.source),
    question: fromStoredText(row.question),
    questionHash: fromStoredText(row.question_hash),
    questionMode: fromStoredText(row.question_mode),
    seedTopic: fromStoredText(row.seed_topic),
    seedQuestion: fromStoredText(row.seed_question),
    seedQuestionHash: fromStoredText(row.seed_question_hash),
  };
}
