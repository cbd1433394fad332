/** What simulations check of a run that has ended. */
import { expect } from 'vitest';
import type { ConversationPayload } from '../../src/dialogue/conversation-record.ts';
import { answerOutput, judgeOutput, questionOutput } from '../../src/dialogue/outputs.ts';
import { questionKey } from '../../src/dialogue/question-key.ts';
import type { Logger } from '../../src/kernel/logger.ts';
import type { Store } from '../../src/ports/store.ts';
import { INPUTS } from './dialogue-context.ts';
import { datasetOf } from './world.ts';

export type Row = Awaited<ReturnType<typeof datasetOf>>[number];
export const payloadOf = (row: Row): ConversationPayload => row.payload as ConversationPayload;

/** A text of a record; '' for anything else. */
export const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');

export async function committedOf(store: Store): Promise<Row[]> {
  return (await datasetOf(store)).filter((row) => row.status === 'committed');
}

export async function droppedOf(store: Store): Promise<Row[]> {
  return (await datasetOf(store)).filter((row) => row.status === 'dropped');
}

/** Exact counts, rank order, no question twice, and nothing in a record that its schema does not allow. */
export async function expectWhole(store: Store, perLanguage: number, languages = 2): Promise<void> {
  const rows = await committedOf(store);
  for (let languageIndex = 0; languageIndex < languages; languageIndex += 1) {
    expect(rows.filter((row) => row.languageIndex === languageIndex).length).toBe(perLanguage);
  }
  const ranks = (await datasetOf(store)).map((row) => row.index * languages + row.languageIndex);
  expect(ranks).toEqual([...new Set(ranks)].sort((a, b) => a - b));
  const keys = rows.flatMap((row) =>
    payloadOf(row).turns.map((turn) => questionKey(textOf(turn.question['user_message']))),
  );
  expect(new Set(keys).size).toBe(keys.length);
  for (const row of rows) expectWellFormed(payloadOf(row));
}

const verdictSchema = judgeOutput(INPUTS.judge_reasons).schema;

export function expectWellFormed(payload: ConversationPayload): void {
  expect(payload.turns.length).toBe(payload.targetTurns);
  for (const turn of payload.turns) {
    expect(questionOutput.schema.safeParse(turn.question).error).toBeUndefined();
    expect(answerOutput.schema.safeParse(turn.answer).error).toBeUndefined();
    expect(textOf(turn.question['user_message']).trim()).not.toBe('');
    expect(textOf(turn.answer['assistant_message']).trim()).not.toBe('');
    if (turn.verdict !== null) expect(verdictSchema.safeParse(turn.verdict).error).toBeUndefined();
  }
}

interface JournalledAnswer {
  readonly conversation: string;
  readonly requestKey: string;
  readonly purpose: string;
}

/** Every paid answer that is durable. */
export async function journalledAnswers(store: Store): Promise<JournalledAnswer[]> {
  const answers: JournalledAnswer[] = [];
  for (const { id } of await store.journal.list('run/R/')) {
    for (const { event } of await store.journal.read(id)) {
      const {
        type,
        requestKey,
        purpose = '',
      } = event as { type: string; requestKey: string; purpose?: string };
      if (type === 'ModelAnswered' || type === 'LateAnswerKept')
        answers.push({ conversation: id, requestKey, purpose });
    }
  }
  return answers;
}

/** Waits until `condition` holds. @throws when it does not in time. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
  withinMs = 10_000,
): Promise<void> {
  const deadline = Date.now() + withinMs;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`${what} did not happen within ${withinMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** A logger that throws the first time a line matches: a fault in the middle of whichever actor writes it. */
export function explodingLogger(pattern: RegExp): { readonly logger: Logger; readonly fired: () => number } {
  let fired = 0;
  const logger: Logger = {
    log(_level, _category, message) {
      if (fired > 0 || !pattern.test(message)) return;
      fired += 1;
      throw new Error(`explodes at ${message}`);
    },
  };
  return { logger, fired: () => fired };
}
