/**
 * The store in memory, for simulations. Every operation decides and writes in one synchronous step, which
 * is what a transaction is here; the promises are those of `ports/store.ts`, held by the same contract
 * suite as Postgres.
 */
import { type Clock, systemClock } from '../kernel/clock.ts';
import { type DatasetId, type RunId } from '../kernel/ids.ts';
import type { ResponseFormatKind } from '../ports/model.ts';
import {
  type ActiveRun,
  type AdoptedEntry,
  type CallTotals,
  type CommitRequest,
  type CommitResult,
  type CommittedConversation,
  type Dataset,
  type DatasetMemory,
  type HolderInfo,
  type LeaseGrant,
  type LeaseResult,
  type RunCounts,
  type RunEndpoint,
  type RunEndpoints,
  type RunRecord,
  type RunStatus,
  type RunWanted,
  runPrefix,
  type Store,
} from '../ports/store.ts';
import { MemoryDataset } from './memory-dataset.ts';
import { MemoryJournal } from './memory-journal.ts';
import { MemoryLeases } from './memory-leases.ts';
import { MemoryRuns } from './memory-runs.ts';
import { MemoryVerdicts } from './memory-verdicts.ts';
import { sumCalls } from './paid-call.ts';
import { noSuchDataset } from './store-errors.ts';

export class MemoryStore implements Store {
  readonly description = 'memory of this process';
  readonly journal: MemoryJournal;
  readonly capabilities = new MemoryCapabilities();
  readonly verdicts: MemoryVerdicts;

  readonly #clock: Clock;
  readonly #datasets = new Map<DatasetId, MemoryDataset>();
  readonly #runs: MemoryRuns;
  readonly #leases: MemoryLeases;

  constructor(clock: Clock = systemClock) {
    this.#clock = clock;
    this.journal = new MemoryJournal(clock);
    this.#runs = new MemoryRuns(clock);
    this.#leases = new MemoryLeases(clock);
    this.verdicts = new MemoryVerdicts(
      (lease) => this.#leases.check(lease),
      (prefix) => this.journal.calls(prefix),
    );
  }

  async openDataset(id: DatasetId, outputDir: string): Promise<Dataset> {
    const dataset = this.#datasets.get(id) ?? new MemoryDataset(id, this.#clock);
    dataset.outputDir = outputDir;
    // The one that was opened last stands last: findDataset looks from the end.
    this.#datasets.delete(id);
    this.#datasets.set(id, dataset);
    return dataset.info();
  }

  async findDataset(outputDir: string): Promise<Dataset | null> {
    const found = [...this.#datasets.values()].findLast((dataset) => dataset.outputDir === outputDir);
    return found?.info() ?? null;
  }

  async adopt(id: DatasetId, entries: readonly AdoptedEntry[]): Promise<void> {
    this.#dataset(id).adopt(copied(entries));
  }

  async *adoptedLines(id: DatasetId): AsyncIterable<string> {
    yield* this.#dataset(id).adoptedLines;
  }

  async memory(id: DatasetId, recentCount: number): Promise<DatasetMemory> {
    return this.#dataset(id).memory(recentCount);
  }

  async createRun(
    run: Omit<RunRecord, 'ordinal' | 'status' | 'error' | 'createdAtMs' | 'updatedAtMs'>,
  ): Promise<RunRecord> {
    const dataset = this.#dataset(run.datasetId);
    const record = this.#runs.create({ ...copied(run), ordinal: dataset.runCount });
    dataset.runCount += 1;
    return copied(record);
  }

  async getRun(id: RunId): Promise<RunRecord | null> {
    return copied(this.#runs.get(id));
  }

  async listRuns(): Promise<readonly RunRecord[]> {
    return copied(this.#runs.newestFirst());
  }

  async setRunStatus(id: RunId, lease: LeaseGrant, status: RunStatus, error: string | null): Promise<void> {
    this.#changeRun(id, lease, { status, error });
  }

  async replaceRunSettings(
    id: RunId,
    lease: LeaseGrant,
    config: unknown,
    fingerprint: Readonly<Record<string, string>>,
  ): Promise<void> {
    this.#changeRun(id, lease, copied({ config, fingerprint }));
  }

  async saveRunSpec(id: RunId, lease: LeaseGrant, spec: unknown): Promise<void> {
    this.#leases.check(lease);
    this.#runs.saveSpec(id, spec);
  }

  async runSpec(id: RunId): Promise<unknown> {
    return this.#runs.spec(id);
  }

  async setRunWanted(id: RunId, wanted: RunWanted): Promise<void> {
    this.#runs.setWanted(id, wanted);
  }

  async runWanted(id: RunId): Promise<RunWanted> {
    return this.#runs.wanted(id);
  }

  async activeRuns(): Promise<readonly ActiveRun[]> {
    return this.#runs.active();
  }

  async setRunEndpoint(id: RunId, endpoint: RunEndpoint): Promise<void> {
    this.#runs.setEndpoint(id, endpoint);
  }

  async runEndpoints(id: RunId): Promise<RunEndpoints> {
    return this.#runs.endpoints(id);
  }

  async runEndpointsVersion(id: RunId): Promise<number> {
    return this.#runs.endpointsVersion(id);
  }

  async runCounts(id: RunId): Promise<readonly RunCounts[]> {
    const run = this.#runs.get(id);
    return run === null ? [] : this.#dataset(run.datasetId).runCounts(id);
  }

  async callTotals(id: RunId): Promise<readonly CallTotals[]> {
    return sumCalls(this.journal.calls(runPrefix(id)));
  }

  async knownQuestions(id: DatasetId, keys: readonly string[]): Promise<ReadonlySet<string>> {
    return new Set(this.#dataset(id).known(keys));
  }

  async commit(request: CommitRequest): Promise<CommitResult> {
    this.#leases.check(request.lease);
    return this.#dataset(request.datasetId).commit(copied(request));
  }

  async *committed(
    id: DatasetId,
    after: number,
    filter?: { readonly runId?: RunId },
  ): AsyncIterable<CommittedConversation> {
    for (const conversation of this.#dataset(id).conversationsAfter(after)) {
      if (filter?.runId === undefined || conversation.runId === filter.runId) yield copied(conversation);
    }
  }

  async findConversations(
    conversationId: string,
  ): Promise<readonly (CommittedConversation & { readonly datasetId: DatasetId })[]> {
    return [...this.#datasets.entries()]
      .flatMap(([datasetId, dataset]) =>
        [...dataset.conversationsAfter(0)].map((conversation) => ({ ...copied(conversation), datasetId })),
      )
      .filter((conversation) => conversation.conversationId === conversationId)
      .toSorted((a, b) => b.committedAtMs - a.committedAtMs || b.commitSeq - a.commitSeq);
  }

  async acquireLease(
    name: string,
    holder: HolderInfo,
    ttlMs: number,
    isAlive: (holder: HolderInfo, silentMs: number) => boolean,
  ): Promise<LeaseResult> {
    return this.#leases.acquire(name, holder, ttlMs, isAlive);
  }

  async renewLease(lease: LeaseGrant): Promise<void> {
    this.#leases.renew(lease);
  }

  async releaseLease(lease: LeaseGrant): Promise<void> {
    this.#leases.release(lease);
  }

  async leaseHolder(
    name: string,
    asker: HolderInfo,
    ttlMs: number,
    isAlive: (holder: HolderInfo, silentMs: number) => boolean,
  ): Promise<HolderInfo | null> {
    return this.#leases.holder(name, asker, ttlMs, isAlive);
  }

  async close(): Promise<void> {
    // Memory goes with its process.
  }

  #dataset(id: DatasetId): MemoryDataset {
    const dataset = this.#datasets.get(id);
    if (dataset === undefined) throw noSuchDataset(id);
    return dataset;
  }

  #changeRun(id: RunId, lease: LeaseGrant, change: Partial<RunRecord>): void {
    this.#leases.check(lease);
    this.#runs.change(id, change);
  }
}

class MemoryCapabilities {
  readonly #kinds = new Map<string, ResponseFormatKind>();

  async load(): Promise<ReadonlyMap<string, ResponseFormatKind>> {
    return new Map(this.#kinds);
  }

  async remember(key: string, kind: ResponseFormatKind): Promise<void> {
    this.#kinds.set(key, kind);
  }
}

/** What a database would give back: nothing is shared by reference. */
function copied<T>(value: T): T {
  return JSON.parse(JSON.stringify(value)) as T;
}
