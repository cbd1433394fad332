/**
 * The store on Postgres: the tables' parts put together behind the port. Owns the database's connections;
 * closing it writes what waits, and then leaves the server.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { DatasetId, RunId } from '../kernel/ids.ts';
import type { CapabilityMemory, ResponseFormatKind } from '../ports/model.ts';
import type {
  ActiveRun,
  AdoptedEntry,
  CallTotals,
  CommitRequest,
  CommitResult,
  CommittedConversation,
  Dataset,
  DatasetMemory,
  HolderInfo,
  LeaseGrant,
  LeaseResult,
  RunCounts,
  RunEndpoint,
  RunEndpoints,
  RunRecord,
  RunStatus,
  RunWanted,
  Store,
} from '../ports/store.ts';
import type { Database } from './postgres/database.ts';
import { migrate, quotedSchema } from './postgres/migrate.ts';
import { PostgresCommits } from './postgres/postgres-commits.ts';
import { PostgresDatasets } from './postgres/postgres-datasets.ts';
import { PostgresJournal } from './postgres/postgres-journal.ts';
import { PostgresLeases } from './postgres/postgres-leases.ts';
import { PostgresRunEndpoints } from './postgres/postgres-run-endpoints.ts';
import { PostgresRuns } from './postgres/postgres-runs.ts';
import { PostgresVerdicts } from './postgres/postgres-verdicts.ts';
import { fromStoredText, toStoredText } from './stored-text.ts';

/** Longest wait for appends that are under way when the store closes. */
const CLOSE_TIMEOUT_MS = 5_000;

export class PostgresStore implements Store {
  readonly description: string;
  readonly journal: PostgresJournal;
  readonly capabilities: CapabilityMemory;
  readonly verdicts: PostgresVerdicts;

  readonly #database: Database;
  readonly #datasets: PostgresDatasets;
  readonly #runs: PostgresRuns;
  readonly #endpoints: PostgresRunEndpoints;
  readonly #commits: PostgresCommits;
  readonly #leases: PostgresLeases;
  #closing: Promise<void> | null = null;

  private constructor(database: Database, schema: string) {
    this.description = database.description;
    this.#database = database;
    this.journal = new PostgresJournal(database, schema);
    this.capabilities = new PostgresCapabilities(database, schema);
    this.#datasets = new PostgresDatasets(database, schema);
    this.#runs = new PostgresRuns(database, schema);
    this.#endpoints = new PostgresRunEndpoints(database, schema);
    this.#commits = new PostgresCommits(database, schema);
    this.#leases = new PostgresLeases(database, schema);
    this.verdicts = new PostgresVerdicts(database, schema, (prefix) => this.#runs.callTotalsBelow(prefix));
  }

  /** Brings the schema up to date, then serves it. Takes the database over, also when it fails. */
  static async open(database: Database, schemaName: string): Promise<PostgresStore> {
    try {
      const schema = quotedSchema(schemaName);
      await migrate(database, schema);
      return new PostgresStore(database, schema);
    } catch (error) {
      await database.close();
      throw error;
    }
  }

  openDataset(id: DatasetId, outputDir: string): Promise<Dataset> {
    return this.#datasets.open(id, outputDir);
  }

  findDataset(outputDir: string): Promise<Dataset | null> {
    return this.#datasets.find(outputDir);
  }

  adopt(id: DatasetId, entries: readonly AdoptedEntry[]): Promise<void> {
    return this.#datasets.adopt(id, entries);
  }

  adoptedLines(id: DatasetId): AsyncIterable<string> {
    return this.#datasets.adoptedLines(id);
  }

  memory(id: DatasetId, recentCount: number): Promise<DatasetMemory> {
    return this.#datasets.memory(id, recentCount);
  }

  createRun(
    run: Omit<RunRecord, 'ordinal' | 'status' | 'error' | 'createdAtMs' | 'updatedAtMs'>,
  ): Promise<RunRecord> {
    return this.#runs.create(run);
  }

  getRun(id: RunId): Promise<RunRecord | null> {
    return this.#runs.get(id);
  }

  listRuns(): Promise<readonly RunRecord[]> {
    return this.#runs.list();
  }

  setRunStatus(id: RunId, lease: LeaseGrant, status: RunStatus, error: string | null): Promise<void> {
    return this.#runs.setStatus(id, lease, status, error);
  }

  replaceRunSettings(
    id: RunId,
    lease: LeaseGrant,
    config: unknown,
    fingerprint: Readonly<Record<string, string>>,
  ): Promise<void> {
    return this.#runs.replaceSettings(id, lease, config, fingerprint);
  }

  saveRunSpec(id: RunId, lease: LeaseGrant, spec: unknown): Promise<void> {
    return this.#runs.saveSpec(id, lease, spec);
  }

  runSpec(id: RunId): Promise<unknown> {
    return this.#runs.spec(id);
  }

  setRunWanted(id: RunId, wanted: RunWanted): Promise<void> {
    return this.#runs.setWanted(id, wanted);
  }

  runWanted(id: RunId): Promise<RunWanted> {
    return this.#runs.wanted(id);
  }

  activeRuns(): Promise<readonly ActiveRun[]> {
    return this.#runs.active();
  }

  setRunEndpoint(id: RunId, endpoint: RunEndpoint): Promise<void> {
    return this.#endpoints.set(id, endpoint);
  }

  runEndpoints(id: RunId): Promise<RunEndpoints> {
    return this.#endpoints.all(id);
  }

  runEndpointsVersion(id: RunId): Promise<number> {
    return this.#endpoints.version(id);
  }

  runCounts(id: RunId): Promise<readonly RunCounts[]> {
    return this.#runs.counts(id);
  }

  callTotals(id: RunId): Promise<readonly CallTotals[]> {
    return this.#runs.callTotals(id);
  }

  knownQuestions(id: DatasetId, keys: readonly string[]): Promise<ReadonlySet<string>> {
    return this.#commits.knownQuestions(id, keys);
  }

  commit(request: CommitRequest): Promise<CommitResult> {
    return this.#commits.commit(request);
  }

  committed(
    id: DatasetId,
    after: number,
    filter?: { readonly runId?: RunId },
  ): AsyncIterable<CommittedConversation> {
    return this.#commits.committed(id, after, filter);
  }

  findConversations(
    conversationId: string,
  ): Promise<readonly (CommittedConversation & { readonly datasetId: DatasetId })[]> {
    return this.#commits.find(conversationId);
  }

  acquireLease(
    name: string,
    holder: HolderInfo,
    ttlMs: number,
    isAlive: (holder: HolderInfo, silentMs: number) => boolean,
  ): Promise<LeaseResult> {
    return this.#leases.acquire(name, holder, ttlMs, isAlive);
  }

  renewLease(lease: LeaseGrant): Promise<void> {
    return this.#leases.renew(lease);
  }

  releaseLease(lease: LeaseGrant): Promise<void> {
    return this.#leases.release(lease);
  }

  leaseHolder(
    name: string,
    asker: HolderInfo,
    ttlMs: number,
    isAlive: (holder: HolderInfo, silentMs: number) => boolean,
  ): Promise<HolderInfo | null> {
    return this.#leases.holder(name, asker, ttlMs, isAlive);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    // With the database away, what waits cannot be written: it fails as cancelled when the database closes.
    const timer = new AbortController();
    const late = sleep(CLOSE_TIMEOUT_MS, undefined, { signal: timer.signal }).catch(() => undefined);
    await Promise.race([this.journal.close(), late]);
    timer.abort();
    await this.#database.close();
  }
}

class PostgresCapabilities implements CapabilityMemory {
  readonly #database: Database;
  readonly #table: string;

  constructor(database: Database, schema: string) {
    this.#database = database;
    this.#table = `${schema}.capabilities`;
  }

  async load(): Promise<ReadonlyMap<string, ResponseFormatKind>> {
    const rows = await this.#database.run((session) =>
      session.query<{ key: string; kind: ResponseFormatKind }>({
        name: 'load_capabilities',
        text: `SELECT key, kind FROM ${this.#table}`,
      }),
    );
    return new Map(rows.map((row) => [fromStoredText(row.key), row.kind]));
  }

  async remember(key: string, kind: ResponseFormatKind): Promise<void> {
    const statement = {
      name: 'remember_capability',
      text: `INSERT INTO ${this.#table} (key, kind) VALUES ($1, $2)
        ON CONFLICT (key) DO UPDATE SET kind = excluded.kind`,
    };
    await this.#database.run((session) => session.query(statement, [toStoredText(key), kind]));
  }
}
