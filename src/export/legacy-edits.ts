/**
 * Puts the verdicts of a pass into records that 0.1.0 wrote, and takes all others out of them. Every other byte
 * stays: records are edited as bytes read as Latin-1 (`json-edit.ts`), and what is put in is encoded like it.
 */
import type { JsonObject } from '../dialogue/conversation-record.ts';
import { type Edit, editItems, editMembers } from '../dialogue/json-edit.ts';
import type { JudgePass } from '../dialogue/judge-pass.ts';
import { pythonJson, pythonJsonIndented } from '../dialogue/python-json.ts';
import { scoreOf } from '../dialogue/score.ts';
import type { PassVerdict } from '../dialogue/verdict-overlay.ts';
import { turnNumber } from './legacy-record.ts';

/** What a pass says of one conversation. */
export interface PassWords {
  readonly pass: JudgePass;
  readonly verdicts: readonly PassVerdict[];
}

export const asBytes = (latin1: string): Buffer => Buffer.from(latin1, 'latin1');
export const fromBytes = (bytes: Buffer): string => bytes.toString('latin1');
/** A text in the form in which bytes are edited. */
export const encoded = (text: string): string => fromBytes(Buffer.from(text, 'utf8'));

const WHOLE = 0;

function wordOn({ pass, verdicts }: PassWords, turn: number): PassVerdict | undefined {
  if ((pass.granularity === 'conversation') !== (turn === WHOLE)) return undefined;
  return verdicts.find((verdict) => verdict.turn === turn);
}

const verdictOn = (words: PassWords, turn: number): JsonObject => wordOn(words, turn)?.verdict ?? {};
const responseOn = (words: PassWords, turn: number): JsonObject | null => wordOn(words, turn)?.raw ?? null;

type Writer = (value: unknown, depth: number) => string;
const inOneLine: Writer = (value) => encoded(pythonJson(value));
/** JSON texts have no line breaks of their own inside strings. */
const indented: Writer = (value, depth) =>
  encoded(pythonJsonIndented(value).replaceAll('\n', `\n${'  '.repeat(depth)}`));

const ifThere =
  (value: string): Edit =>
  (old) =>
    old === undefined ? undefined : value;

/** Marks what the rehearsal backend has judged; a mark that is no longer true says so. */
const rehearsalMark =
  ({ verdicts }: PassWords): Edit =>
  (old) => {
    if (verdicts.some(({ rehearsal }) => rehearsal)) return 'true';
    return old === undefined ? undefined : 'false';
  };

/** `conversations/<id>.json` and a line of `synthetic_qa.jsonl`. */
export function editedRecord(record: string, words: PassWords): string {
  const write = record.includes('\n') ? indented : inOneLine;
  const numbers: number[] = [];
  const whole = write(verdictOn(words, WHOLE), 1);
  const edited = editMembers(record, {
    turns: (old) =>
      old === undefined
        ? undefined
        : editItems(old, (turn, position) => {
            const number = numberOf(turn, position);
            numbers.push(number);
            return editMembers(turn, { qa_judge: () => write(verdictOn(words, number), 3) });
          }),
    conversation_judge: (old) => (old === undefined && words.pass.granularity === 'turn' ? undefined : whole),
    inputs: (old) => (old === undefined ? undefined : editedInputs(old, words, write)),
    raw_results: (old) =>
      old === undefined ? undefined : editItems(old, (entry) => editedRaw(entry, words, write)),
  });
  // The verdict on the last turn, in records that repeat it.
  const last = numbers.at(-1) ?? 1;
  return editMembers(edited, { qa_judge: ifThere(write(verdictOn(words, last), 1)) });
}

function editedInputs(inputs: string, words: PassWords, write: Writer): string {
  const { granularity, reasons } = words.pass;
  const isWhole = granularity === 'conversation';
  return editMembers(inputs, {
    judge_enabled: ifThere(words.verdicts.length > 0 ? 'true' : 'false'),
    judge_granularity: ifThere(write(granularity, 2)),
    judge_reasons: ifThere(write(reasons, 2)),
    conversation_judge: (old) =>
      old === undefined && !isWhole ? undefined : write(verdictOn(words, WHOLE), 2),
    rehearsal: rehearsalMark(words),
  });
}

function editedRaw(entry: string, words: PassWords, write: Writer): string {
  const number = numberOf(entry, -1);
  return editMembers(entry, {
    judge_raw: ifThere(write(responseOn(words, number), 3)),
    qa_judge: ifThere(write(verdictOn(words, number), 3)),
    conversation_judge_raw: ifThere(write(responseOn(words, WHOLE), 3)),
    conversation_judge: ifThere(write(verdictOn(words, WHOLE), 3)),
  });
}

function numberOf(record: string, position: number): number {
  let index: unknown;
  editMembers(record, {
    turn_index: (old) => {
      index = old === undefined ? undefined : Number(old);
      return undefined;
    },
  });
  return turnNumber(index, position);
}

/** A line of `turns.jsonl`. */
export function editedTurnLine(line: string, words: PassWords): string {
  const verdict = verdictOn(words, numberOf(line, 0));
  const whole = verdictOn(words, WHOLE);
  const values = {
    judge_granularity: words.pass.granularity,
    judge_score: scoreOf(verdict['score']),
    judge_reasons: verdict['reasons'] ?? [],
    judge_notes: verdict['notes'] ?? null,
    judge_question_ok: verdict['question_ok'] ?? null,
    judge_answer_ok: verdict['answer_ok'] ?? null,
    conversation_judge_score: scoreOf(whole['score']),
    conversation_judge_reasons: whole['reasons'] ?? [],
  };
  return editMembers(
    line,
    Object.fromEntries(Object.entries(values).map(([key, value]) => [key, () => inOneLine(value, 0)])),
  );
}

/** A line of a ShareGPT file with another judge column. @param columns the names that two columns have. */
export function editedShareGpt(
  line: string,
  words: PassWords,
  judge: object,
  columns: { readonly metadata: string; readonly judge: string },
): string {
  const granularity = inOneLine(words.pass.granularity, 0);
  return editMembers(line, {
    [encoded(columns.metadata)]: (old) =>
      old === undefined
        ? undefined
        : editMembers(old, { judge_granularity: ifThere(granularity), rehearsal: rehearsalMark(words) }),
    [encoded(columns.judge)]: () => inOneLine(judge, 0),
  });
}
