/** A row as its files have it: the configured column names, in order, and scores as fractions. */
import { Float } from '../../dialogue/python-json.ts';
import type { OutputColumns } from '../../dialogue/sharegpt-record.ts';
import { columnsOf, type ExportRow } from './schema.ts';

/** A score is a fraction also when it is whole (8.0), so that readers which look at the first rows agree. */
export function writtenRow(row: ExportRow, columns: OutputColumns, hasJudge: boolean): object {
  const values = { ...row, judge: withFloats(row.judge) };
  return Object.fromEntries(columnsOf(hasJudge).map((column) => [columns[column], values[column]]));
}

function withFloats(judge: ExportRow['judge']): object {
  return {
    ...judge,
    per_turn: judge.per_turn.map((turn) => ({ ...turn, score: float(turn.score) })),
    avg_score: float(judge.avg_score),
    conversation: { ...judge.conversation, score: float(judge.conversation.score) },
  };
}

const float = (value: number | null): Float | null => (value === null ? null : new Float(value));
