/**
 * A pass whose questions go through a provider's batches. It looks at everything that is missing, puts the
 * questions that have no answer yet into files, submits them, waits, takes the answers in, and looks again, until
 * a look leaves nothing to ask. Repairs go with the next batches, and so does what a batch left unanswered.
 *
 * 1. A look begins when no batch is open, so no request is ever in two of them.
 * 2. What is submitted stands in the record (`batch-record.ts`) before the next step, and every answer in the
 *    journal of its unit before it is read: after a crash the batches that were created are found and waited for,
 *    never created again.
 */
import { type Clock, delay } from '../../../kernel/clock.ts';
import { DlgforgeError, isDlgforgeError } from '../../../kernel/errors.ts';
import { freshHexId } from '../../../kernel/ids.ts';
import type { BatchPort, BatchState } from '../../../ports/batch.ts';
import type { Journal } from '../../../ports/store.ts';
import { type AskedVerdict, type JudgeUnit, unitPersistenceId, type VerdictAnswer } from '../judge-unit.ts';
import { type JudgePassOptions, type PassEnd, runJudgePass } from '../run-judge-pass.ts';
import { type BatchRecord, customIdOf, openBatchRecord, type OpenPart } from './batch-record.ts';
import { PartInMaking, type PartLimits } from './part-in-making.ts';
import { type Settled, settlePart } from './settle-part.ts';

export interface BatchedPassOptions extends Omit<JudgePassOptions, 'units' | 'answers' | 'journal'> {
  /** What is missing now, without what came to nothing in this command. */
  readonly look: () => AsyncIterable<JudgeUnit>;
  readonly journal: Pick<Journal, 'recover' | 'append' | 'read'>;
  readonly batches: BatchPort;
  readonly limits: PartLimits & {
    /** Batches in which a request may be before it counts as unanswered for good. */
    readonly roundsMax: number;
    /** The longest pause between two questions about a batch. */
    readonly pollMaxMs: number;
  };
  /** Aborts what is under way; `stop` only says that nothing more is to be begun. */
  readonly signal: AbortSignal;
  readonly clock: Clock;
  /** What is being done; null when that is over. */
  readonly onStatus: (text: string | null) => void;
  /** What was seen of batches, as it comes. */
  readonly counts: BatchCounts;
}

export interface BatchCounts {
  /** Created by this command. */
  created: number;
  /** Requests in them. */
  requests: number;
  /** Lines of results that are about no request, or about one again. */
  ignored: number;
  /** Batches that go on at the provider. */
  open: number;
}

/** Units that are read and written side by side. */
const WINDOW = 16;
/** Files of one look; what is left waits for the next one. */
const PARTS_MAX = 16;
const POLL_FIRST_MS = 500;
const POLL_GROWTH = 1.5;
/** Providers end a batch within a day; one that they forget to end is not waited for. */
const OVERDUE_MS = 30 * 3_600_000;
/** A batch that was created a moment ago may not be in the provider's list yet. */
const FIND_AGAIN_MS = 1_000;

/** Resolves when nothing is missing, or it was stopped; batches that are open then go on at the provider. */
export const runBatchedPass = (options: BatchedPassOptions): Promise<PassEnd> =>
  ending(options, (pass) => pass.run());

/** Asks the open batches of a pass for their end and takes in what they have finished. */
export const endBatches = (options: Omit<BatchedPassOptions, 'look'>): Promise<PassEnd> =>
  ending({ ...options, look: async function* () {} }, (pass) => pass.end());

async function ending(
  options: BatchedPassOptions,
  use: (pass: BatchedPass) => Promise<PassEnd>,
): Promise<PassEnd> {
  try {
    const record = await openBatchRecord(options.journal, options.datasetId, options.pass);
    return await use(new BatchedPass(options, record));
  } catch (error) {
    if (options.stop.aborted && isDlgforgeError(error, 'cancelled')) return { type: 'interrupted' };
    return { type: 'failed', error };
  } finally {
    options.onStatus(null);
  }
}

class BatchedPass {
  readonly #options: BatchedPassOptions;
  readonly #record: BatchRecord;
  /** Of the last batches, by custom id. */
  readonly #refused = new Map<string, string>();
  /** Requests that batches of this command left without an answer, by custom id. */
  readonly #unanswered = new Map<string, { readonly rounds: number; readonly reason: string }>();

  constructor(options: BatchedPassOptions, record: BatchRecord) {
    this.#options = options;
    this.#record = record;
    this.#countOpen();
  }

  async run(): Promise<PassEnd> {
    await this.#adopt();
    for (;;) {
      if (!(await this.#settleAll())) return { type: 'interrupted' };
      const end = await this.#submitMissing();
      if (end.type !== 'completed' || this.#record.open.length === 0) return end;
    }
  }

  async end(): Promise<PassEnd> {
    const { batches, signal } = this.#options;
    await this.#adopt();
    for (const { batchId } of this.#record.open) if (batchId !== null) await batches.cancel(batchId, signal);
    return { type: (await this.#settleAll()) ? 'completed' : 'interrupted' };
  }

  /** Files that a crash left without a word about their batch: it is found, or there is none. */
  async #adopt(): Promise<void> {
    const { batches, signal, clock, logger } = this.#options;
    for (const open of this.#record.open) {
      if (open.endpoint !== batches.endpoint) throw elsewhere(open, batches);
      if (open.batchId !== null) continue;
      let state = await batches.find(open, signal);
      if (state === null) {
        await delay(clock, FIND_AGAIN_MS, signal);
        state = await batches.find(open, signal);
      }
      if (state !== null) {
        logger.log('info', 'judge', `[batch] ${state.id} had been created before the last command ended`);
        await this.#append({ type: 'BatchCreated', part: open.part, batchId: state.id });
        continue;
      }
      await this.#append({ type: 'BatchSettled', part: open.part, end: 'never created' });
      await batches.deleteFile(open.fileId);
    }
  }

  /** One look. Nothing of a file is submitted before the journals have its requests. */
  async #submitMissing(): Promise<PassEnd> {
    const { look, batches, limits, stop } = this.#options;
    const units = look()[Symbol.asyncIterator]();
    const left: JudgeUnit[] = [];
    try {
      for (let parts = 0; parts < PARTS_MAX; parts += 1) {
        const making = new PartInMaking(batches, await batches.form(), limits);
        const again = left.splice(0);
        let isLast = false;
        const source = async function* (): AsyncGenerator<JudgeUnit> {
          yield* again;
          while (!making.isFull) {
            const next = await units.next();
            isLast = next.done === true;
            if (next.done === true) return;
            yield next.value;
          }
        };
        const answers = {
          window: WINDOW,
          ask: async (question: AskedVerdict) => this.#answer(question, making, left),
        };
        const end = await runJudgePass({ ...this.#options, units: source(), answers });
        if (end.type !== 'completed') return end;
        if (stop.aborted) return { type: 'interrupted' };
        if (making.lines.length > 0) await this.#submit(making);
        if (isLast && left.length === 0) break;
      }
      return { type: 'completed' };
    } finally {
      await units.return?.();
    }
  }

  /** What came of it in earlier batches; a question that is still open goes into the file. */
  #answer(question: AskedVerdict, making: PartInMaking, left: JudgeUnit[]): VerdictAnswer {
    const { datasetId, pass, limits } = this.#options;
    const unit = unitPersistenceId(datasetId, pass, question.unit);
    const customId = customIdOf({ unit, requestKey: question.asked.requestKey });
    const refused = this.#refused.get(customId);
    if (refused !== undefined) return { type: 'refused', reason: refused };
    const failed = this.#unanswered.get(customId);
    if (failed !== undefined && failed.rounds >= limits.roundsMax) {
      this.#unanswered.delete(customId);
      return { type: 'refused', reason: `gave up after ${failed.rounds} batches: ${failed.reason}` };
    }
    const added = making.add(unit, question);
    if (added === 'too_long') {
      const reason = `the request alone is longer than a file of ${limits.bytesMax} bytes`;
      return { type: 'refused', reason };
    }
    if (added === 'left') left.push(question.unit);
    return { type: 'later' };
  }

  async #submit({ lines, entries, form }: PartInMaking): Promise<void> {
    const { batches, signal, onStatus, counts } = this.#options;
    const part = freshHexId();
    const what = `${lines.length} requests`;
    await this.#record.noteEntries(part, entries);
    onStatus(`uploading a batch with ${what}`);
    const fileId = await batches.upload(`dlgforge-${part}.jsonl`, lines, signal);
    await this.#append({
      type: 'BatchUploaded',
      part,
      endpoint: batches.endpoint,
      fileId,
      requests: lines.length,
      form,
    });
    onStatus(`creating a batch with ${what}`);
    await this.#record.confirm();
    const { id } = await batches.create({ part, fileId }, signal);
    await this.#append({ type: 'BatchCreated', part, batchId: id });
    counts.created += 1;
    counts.requests += lines.length;
    onStatus(`batch ${id} was created with ${what}`);
  }

  /** False when it was stopped before all of them had ended. */
  async #settleAll(): Promise<boolean> {
    const { clock, stop, limits } = this.#options;
    const all = this.#record.open;
    if (all.length > 0) this.#refused.clear();
    let pauseMs = POLL_FIRST_MS;
    while (this.#record.open.length > 0) {
      for (const [position, part] of all.entries()) {
        if (stop.aborted) return false;
        if (!this.#record.open.some((open) => open.part === part.part)) continue;
        await this.#look(part, `batch ${position + 1} of ${all.length}`);
      }
      if (this.#record.open.length === 0) break;
      await delay(clock, Math.min(pauseMs, limits.pollMaxMs), stop);
      pauseMs *= POLL_GROWTH;
    }
    return true;
  }

  async #look(part: OpenPart, name: string): Promise<void> {
    const { batches, signal, onStatus, logger, clock } = this.#options;
    const { batchId } = part;
    const state = batchId === null ? null : await batches.retrieve(batchId, signal);
    if (state === null) {
      const reason = `${batches.endpoint} does not know the batch ${batchId} any more`;
      logger.log('warn', 'judge', `[batch] ${reason}; its requests are asked again`);
      const entries = await this.#record.entries(part.part);
      await this.#append({ type: 'BatchSettled', part: part.part, end: 'lost' });
      for (const customId of entries.keys()) this.#missed(customId, reason);
      return;
    }
    if (state.status === 'open') {
      onStatus(`${name}: ${state.done} of ${Math.max(state.total, part.requests)} done`);
      if (state.createdAtMs !== null && clock.now() - state.createdAtMs > OVERDUE_MS) {
        logger.log('warn', 'judge', `[batch] ${state.id} should have ended long ago; it is cancelled`);
        await batches.cancel(state.id, signal);
      }
      return;
    }
    onStatus(`fetching the answers of batch ${state.id}`);
    const settled = await settlePart(part, state, { ...this.#options, record: this.#record });
    await this.#append({ type: 'BatchSettled', part: part.part, end: state.status });
    for (const file of [part.fileId, ...state.resultFiles]) await batches.deleteFile(file);
    this.#take(settled, state);
  }

  /** @throws DlgforgeError `endpoint` when no other batch would do better. */
  #take({ answered, refused, unanswered, unusable, ignored }: Settled, state: BatchState): void {
    const { logger, counts, batches } = this.#options;
    counts.ignored += ignored;
    logger.log(
      'info',
      'judge',
      `[batch] ${state.id} ${state.status}: answered=${answered} refused=${refused.size} unanswered=${unanswered.size} ignored=${ignored}`,
    );
    if (state.status === 'failed') throw notTaken(batches, state);
    if (unusable !== null && answered === 0)
      throw new DlgforgeError(
        'endpoint',
        `${batches.endpoint} answers no request of batch ${state.id}: ${unusable}. Correct that and run the same command again.`,
      );
    if (ignored > 0)
      logger.log(
        'warn',
        'judge',
        `[batch] ${state.id}: ${ignored} results ignored, which are about no open request`,
      );
    if (unanswered.size > 0) {
      const [reason] = unanswered.values();
      logger.log(
        'warn',
        'judge',
        `[batch] ${state.id} ${state.status}: ${unanswered.size} requests without an answer, for example: ${reason}`,
      );
    }
    for (const [customId, reason] of refused) this.#refused.set(customId, reason);
    for (const [customId, reason] of unanswered) this.#missed(customId, reason);
  }

  #missed(customId: string, reason: string): void {
    const rounds = (this.#unanswered.get(customId)?.rounds ?? 0) + 1;
    this.#unanswered.set(customId, { rounds, reason });
  }

  async #append(event: Parameters<BatchRecord['append']>[0]): Promise<void> {
    await this.#record.append(event);
    this.#countOpen();
  }

  #countOpen(): void {
    this.#options.counts.open = this.#record.open.filter(({ batchId }) => batchId !== null).length;
  }
}

const notTaken = ({ endpoint }: BatchPort, { id, errors }: BatchState): DlgforgeError =>
  new DlgforgeError(
    'endpoint',
    `${endpoint} refused the batch ${id}, and nothing of it was asked: ${errors || 'it does not say why'}. Correct that and run the same command again, or leave --batch out.`,
  );

const elsewhere = ({ batchId, fileId, endpoint }: OpenPart, batches: BatchPort): DlgforgeError =>
  new DlgforgeError(
    'endpoint',
    `The batch ${batchId ?? `of file ${fileId}`} of this pass is at ${endpoint}, and the judge's endpoint is now ${batches.endpoint}. Let the judge's endpoint be ${endpoint} again until its answers are fetched.`,
  );
