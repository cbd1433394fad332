/** Verdicts in memory. Holds them as JSON text, so that nothing is shared by reference. */
import type { JudgePass } from '../dialogue/judge-pass.ts';
import type { DatasetId } from '../kernel/ids.ts';
import type { CallTotals, LeaseGrant } from '../ports/store.ts';
import { judgePrefix, type ShownPass, type StoredVerdict, type Verdicts } from '../ports/verdicts.ts';
import { type PaidCall, sumCalls } from './paid-call.ts';
import { noSuchPass } from './store-errors.ts';

interface PassRow {
  readonly about: string;
  readonly verdicts: Map<string, string>;
  round: number;
  rejudging: string | null;
}

interface Judged {
  readonly passes: Map<string, PassRow>;
  shown: string | null;
  revision: number;
}

export class MemoryVerdicts implements Verdicts {
  readonly #datasets = new Map<DatasetId, Judged>();
  readonly #checkLease: (lease: LeaseGrant) => void;
  readonly #calls: (prefix: string) => Iterable<PaidCall>;

  constructor(checkLease: (lease: LeaseGrant) => void, calls: (prefix: string) => Iterable<PaidCall>) {
    this.#checkLease = checkLease;
    this.#calls = calls;
  }

  async begin(
    lease: LeaseGrant,
    id: DatasetId,
    pass: JudgePass,
    rejudge: string | null,
  ): Promise<{ readonly round: number }> {
    this.#checkLease(lease);
    const judged = this.#judged(id);
    const row = judged.passes.get(pass.id) ?? {
      about: JSON.stringify(pass),
      verdicts: new Map<string, string>(),
      round: 0,
      rejudging: null,
    };
    judged.passes.set(pass.id, row);
    if (rejudge !== null && rejudge !== row.rejudging) {
      row.round += 1;
      row.rejudging = rejudge;
    }
    if (judged.shown === pass.id) judged.revision += 1;
    return { round: row.round };
  }

  async record(lease: LeaseGrant, id: DatasetId, pass: string, verdict: StoredVerdict): Promise<void> {
    this.#checkLease(lease);
    const { conversationId, turn } = verdict;
    this.#pass(id, pass).verdicts.set(JSON.stringify([conversationId, turn]), JSON.stringify(verdict));
  }

  async of(
    id: DatasetId,
    pass: string,
    conversationIds: readonly string[],
  ): Promise<readonly StoredVerdict[]> {
    const wanted = new Set(conversationIds);
    const texts = this.#judged(id).passes.get(pass)?.verdicts.values() ?? [];
    return [...texts]
      .map((text) => JSON.parse(text) as StoredVerdict)
      .filter(({ conversationId }) => wanted.has(conversationId))
      .toSorted(byConversationAndTurn);
  }

  async publish(lease: LeaseGrant, id: DatasetId, pass: string, rejudged: boolean): Promise<void> {
    this.#checkLease(lease);
    const row = this.#pass(id, pass);
    if (rejudged) row.rejudging = null;
    const judged = this.#judged(id);
    judged.shown = pass;
    judged.revision += 1;
  }

  async shown(id: DatasetId): Promise<ShownPass | null> {
    const { shown, revision, passes } = this.#judged(id);
    const row = shown === null ? undefined : passes.get(shown);
    return row === undefined ? null : { pass: JSON.parse(row.about) as JudgePass, revision };
  }

  async callTotals(id: DatasetId, pass?: string): Promise<readonly CallTotals[]> {
    return sumCalls(this.#calls(judgePrefix(id, pass)));
  }

  #judged(id: DatasetId): Judged {
    const judged = this.#datasets.get(id) ?? { passes: new Map(), shown: null, revision: 0 };
    this.#datasets.set(id, judged);
    return judged;
  }

  #pass(id: DatasetId, pass: string): PassRow {
    const row = this.#judged(id).passes.get(pass);
    if (row === undefined) throw noSuchPass(id, pass);
    return row;
  }
}

function byConversationAndTurn(a: StoredVerdict, b: StoredVerdict): number {
  if (a.conversationId === b.conversationId) return a.turn - b.turn;
  return a.conversationId < b.conversationId ? -1 : 1;
}
