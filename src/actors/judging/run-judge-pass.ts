/**
 * Judges a stream of units side by side: as many as whoever answers wants open, each from question to record.
 * Holds nothing but the open ones.
 */
import { isDlgforgeError } from '../../kernel/errors.ts';
import { WHOLE } from '../../dialogue/judge-requests.ts';
import type { Logger } from '../../kernel/logger.ts';
import type { StoredVerdict } from '../../ports/verdicts.ts';
import {
  type AskedVerdict,
  judgeUnit,
  type JudgeUnit,
  type UnitParts,
  type VerdictAnswer,
} from './judge-unit.ts';

/** Who answers the questions of a pass: model calls one by one (`live-answers.ts`), or a provider's batches. */
export interface VerdictAnswers {
  /** Units that are kept open side by side. */
  readonly window: number;
  /**
   * One answer, however long it takes. It is journalled by the caller before anything depends on it.
   * @throws DlgforgeError `cancelled` after a request to stop; anything else ends the pass.
   */
  ask(question: AskedVerdict): Promise<VerdictAnswer>;
}

export interface JudgePassOptions extends Omit<UnitParts, 'ask'> {
  readonly units: AsyncIterable<JudgeUnit>;
  readonly answers: VerdictAnswers;
  /** Keeps a verdict, durably. */
  readonly record: (verdict: StoredVerdict) => Promise<void>;
  /** After it is kept. */
  readonly onJudged?: (unit: JudgeUnit, verdict: StoredVerdict) => void;
  /** Aborts when no further unit may be opened; open ones end as their answers come, or as `ask` is cancelled. */
  readonly stop: AbortSignal;
  readonly logger: Logger;
}

export type PassEnd =
  | { readonly type: 'completed' }
  | { readonly type: 'interrupted' }
  | { readonly type: 'failed'; readonly error: unknown };

/** Resolves when nothing is open any more. What was recorded is durable, whatever the end. */
export async function runJudgePass(options: JudgePassOptions): Promise<PassEnd> {
  const { units, answers, stop } = options;
  const open = new Set<Promise<void>>();
  let cameToEnd = false;
  /** The first one ends the pass. */
  const failures: unknown[] = [];
  const isOver = (): boolean => stop.aborted || failures.length > 0;

  const begin = (unit: JudgeUnit): void => {
    const work = judgeOne(unit, options)
      .catch((error: unknown) => {
        failures.push(error);
      })
      .finally(() => {
        open.delete(work);
      });
    open.add(work);
  };

  try {
    for await (const unit of units) {
      if (isOver()) break;
      begin(unit);
      if (open.size >= answers.window) await Promise.race(open);
      if (isOver()) break;
    }
    cameToEnd = !isOver();
  } catch (error) {
    failures.push(error);
  }
  while (open.size > 0) await Promise.race(open);
  if (failures.length === 0) return { type: cameToEnd ? 'completed' : 'interrupted' };
  const [error] = failures;
  if (stop.aborted && isDlgforgeError(error, 'cancelled')) return { type: 'interrupted' };
  return { type: 'failed', error };
}

async function judgeOne(unit: JudgeUnit, options: JudgePassOptions): Promise<void> {
  const { answers } = options;
  const verdict = await judgeUnit(unit, { ...options, ask: (question) => answers.ask(question) });
  if (verdict === null) return;
  await options.record(verdict);
  logVerdict(options.logger, unit, verdict);
  options.onJudged?.(unit, verdict);
}

function logVerdict(logger: Logger, { conversation, turn }: JudgeUnit, stored: StoredVerdict): void {
  const { verdict, reason } = stored;
  const what = `conversation=${conversation.conversationId} turn=${turn === WHOLE ? 'all' : turn}`;
  const said =
    verdict === null
      ? `no verdict: ${reason ?? ''}`
      : `score=${JSON.stringify(verdict['score'])} reasons=${JSON.stringify(verdict['reasons'])}`;
  logger.log('info', 'judge', `[judge-offline] ${what} ${said}`);
}
