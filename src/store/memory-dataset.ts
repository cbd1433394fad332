/**
 * One dataset in memory. Owns its committed conversations, their ledger and its question keys.
 *
 * Invariants: commit sequence numbers have no gaps (I3); a key is there once (I4).
 */
import type { Clock } from '../kernel/clock.ts';
import type { DatasetId, RunId } from '../kernel/ids.ts';
import type {
  AdoptedEntry,
  CommitKey,
  CommitRequest,
  CommitResult,
  CommittedConversation,
  Dataset,
  DatasetMemory,
  LedgerEntry,
  RunCounts,
} from '../ports/store.ts';
import { orderedMemory } from './dataset-memory.ts';
import { keyBytes } from './question-keys.ts';

interface LedgerRow {
  readonly language: string | null;
  readonly entry: LedgerEntry;
}

interface Committed {
  readonly conversation: CommittedConversation;
  readonly turns: number;
}

export class MemoryDataset {
  outputDir = '';
  runCount = 0;
  adopted = false;
  readonly adoptedLines: string[] = [];

  readonly #id: DatasetId;
  readonly #clock: Clock;
  readonly #committed: Committed[] = [];
  readonly #byKey = new Map<string, Committed>();
  readonly #questionKeys = new Set<string>();
  /** Adopted lines first, then in commit order. */
  #ledger: LedgerRow[] = [];

  constructor(id: DatasetId, clock: Clock) {
    this.#id = id;
    this.#clock = clock;
  }

  info(): Dataset {
    return { id: this.#id, outputDir: this.outputDir, runCount: this.runCount, adopted: this.adopted };
  }

  adopt(entries: readonly AdoptedEntry[]): void {
    if (this.adopted) return;
    this.adopted = true;
    const rows: LedgerRow[] = [];
    for (const { key, line, ...entry } of entries) {
      if (key !== null) this.#questionKeys.add(key);
      rows.push({ language: null, entry });
      if (line !== null) this.adoptedLines.push(line);
    }
    this.#ledger = rows.concat(this.#ledger);
  }

  known(keys: readonly string[]): string[] {
    // The same check as the database's, so that a key it would refuse is refused here.
    return keys.filter((key) => keyBytes(key).length > 0 && this.#questionKeys.has(key));
  }

  commit(request: CommitRequest): CommitResult {
    const done = this.#byKey.get(keyText(request));
    if (done !== undefined) return { type: 'committed', commitSeq: done.conversation.commitSeq };
    const { outcome } = request;
    if (outcome.type === 'committed') {
      const duplicates = this.known(outcome.questionKeys);
      if (duplicates.length > 0) return { type: 'duplicate', keys: duplicates };
    }
    return { type: 'committed', commitSeq: this.#write(request) };
  }

  *conversationsAfter(commitSeq: number): Iterable<CommittedConversation> {
    // By position, so that what is committed while somebody reads is read too.
    for (let i = Math.max(0, commitSeq); i < this.#committed.length; i += 1) {
      yield (this.#committed[i] as Committed).conversation;
    }
  }

  runCounts(runId: RunId): RunCounts[] {
    const ofRun = this.#committed.filter(({ conversation }) => conversation.runId === runId);
    return [...new Set(ofRun.map(({ conversation }) => conversation.languageIndex))]
      .toSorted((a, b) => a - b)
      .map((languageIndex) =>
        countsOf(
          languageIndex,
          ofRun.filter(({ conversation }) => conversation.languageIndex === languageIndex),
        ),
      );
  }

  memory(recentCount: number): DatasetMemory {
    const passages = new Map<string, DatasetMemory['passageUses'][number]>();
    const seeds = new Map<string, number>();
    for (const { language, entry } of this.#ledger) {
      const key = JSON.stringify([language, entry.passageId, entry.source]);
      const uses = (passages.get(key)?.uses ?? 0) + 1;
      passages.set(key, { language, passageId: entry.passageId, source: entry.source, uses });
      if (entry.seedQuestionHash === '') continue;
      seeds.set(entry.seedQuestionHash, (seeds.get(entry.seedQuestionHash) ?? 0) + 1);
    }
    return orderedMemory({
      passageUses: [...passages.values()],
      seedUses: [...seeds].map(([seedQuestionHash, uses]) => ({ seedQuestionHash, uses })),
      recentQuestions:
        recentCount > 0 ? this.#ledger.slice(-recentCount).map(({ entry }) => entry.question) : [],
    });
  }

  #write(request: CommitRequest): number {
    const { outcome, runId, languageIndex, index, language, conversationId, turns, lease } = request;
    const commitSeq = this.#committed.length + 1;
    const ledger = outcome.type === 'committed' ? outcome.ledger : [];
    const conversation: CommittedConversation = {
      runId,
      languageIndex,
      index,
      commitSeq,
      language,
      conversationId,
      committedAtMs: this.#clock.now(),
      epoch: lease.epoch,
      status: outcome.type,
      reason: outcome.type === 'dropped' ? outcome.reason : null,
      payload: outcome.payload,
      ledger,
    };
    const committed = { conversation, turns };
    this.#committed.push(committed);
    this.#byKey.set(keyText(request), committed);
    if (outcome.type === 'committed') for (const key of outcome.questionKeys) this.#questionKeys.add(key);
    for (const entry of ledger) this.#ledger.push({ language, entry });
    return commitSeq;
  }
}

const keyText = (key: CommitKey): string => JSON.stringify([key.runId, key.languageIndex, key.index]);

/** `committed` are the conversations of one run and language, in commit order. */
function countsOf(languageIndex: number, committed: readonly Committed[]): RunCounts {
  const good = committed.filter(({ conversation }) => conversation.status === 'committed');
  const lastGood = committed.findLastIndex(({ conversation }) => conversation.status === 'committed');
  const indexes = new Set(committed.map(({ conversation }) => conversation.index));
  let nextIndex = 0;
  while (indexes.has(nextIndex)) nextIndex += 1;
  return {
    languageIndex,
    committed: good.length,
    dropped: committed.length - good.length,
    consecutiveDrops: committed.length - 1 - lastGood,
    nextIndex,
    turns: good.reduce((sum, { turns }) => sum + turns, 0),
    dropReasons: countReasons(committed),
  };
}

function countReasons(committed: readonly Committed[]): Record<string, number> {
  const reasons: Record<string, number> = {};
  for (const { conversation } of committed) {
    if (conversation.reason !== null) reasons[conversation.reason] = (reasons[conversation.reason] ?? 0) + 1;
  }
  return reasons;
}
