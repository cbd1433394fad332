/**
 * Verdicts on conversations that exist, by pass (`dialogue/judge-pass.ts`). The paid answers behind them stand
 * in the journal, below `judgePrefix`; a verdict is recorded after its answer, so it is never paid for twice (I1).
 */
import type { JsonObject } from '../dialogue/conversation-record.ts';
import type { JudgePass } from '../dialogue/judge-pass.ts';
import type { DatasetId } from '../kernel/ids.ts';
import type { CallTotals } from './call-totals.ts';
import type { LeaseGrant } from './lease-grant.ts';

/** Every persistence id of a dataset's judging starts with this, and that of one pass with the longer form. */
export const judgePrefix = (id: DatasetId, pass?: string): string =>
  `judge/${encodeURIComponent(id)}/${pass === undefined ? '' : `${pass}/`}`;

/** What came of asking about one turn, or a whole conversation. */
export interface StoredVerdict {
  readonly conversationId: string;
  /** From 1; 0 stands for the whole conversation. */
  readonly turn: number;
  /** How often the pass had been begun anew (`--rejudge`) when it was given; from 0. */
  readonly round: number;
  /** Questions in this round that came to nothing, each with its repair. */
  readonly tries: number;
  /** Null when the judge gave none that can be used: it counts in no average. */
  readonly verdict: JsonObject | null;
  /** Why there is none; null when there is one. */
  readonly reason: string | null;
  /** What a record keeps of the response: `model`, `object`, `choices`. */
  readonly raw: JsonObject | null;
  /** True when the rehearsal backend gave it. */
  readonly rehearsal: boolean;
}

/** The pass that the files of a dataset show. */
export interface ShownPass {
  readonly pass: JudgePass;
  /** Grows whenever the verdicts that files show may have changed. */
  readonly revision: number;
}

export interface Verdicts {
  /**
   * Begins or goes on with a pass; gives its round. What files show of the pass counts as changed from here on.
   * @param rejudge what is to be judged anew, as text; null to fill gaps only. Another text than that of the
   *   unfinished rejudging begins another round.
   * @throws DlgforgeError `stale_epoch` when the lease has moved on.
   */
  begin(
    lease: LeaseGrant,
    id: DatasetId,
    pass: JudgePass,
    rejudge: string | null,
  ): Promise<{ readonly round: number }>;
  /** Durable when it resolves; replaces what the pass said of this turn. @throws DlgforgeError `stale_epoch`. */
  record(lease: LeaseGrant, id: DatasetId, pass: string, verdict: StoredVerdict): Promise<void>;
  /** What a pass says of these conversations, by conversation and turn. */
  of(id: DatasetId, pass: string, conversationIds: readonly string[]): Promise<readonly StoredVerdict[]>;
  /**
   * Files show this pass from now on. `rejudged` ends the rejudging that was begun.
   * @throws DlgforgeError `stale_epoch`.
   */
  publish(lease: LeaseGrant, id: DatasetId, pass: string, rejudged: boolean): Promise<void>;
  /** Null while no pass was published: then rows show what the run itself judged. */
  shown(id: DatasetId): Promise<ShownPass | null>;
  /** What the verdicts of a dataset have cost, of one pass or of all. */
  callTotals(id: DatasetId, pass?: string): Promise<readonly CallTotals[]>;
}
