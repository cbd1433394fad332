import { randomUUID } from 'node:crypto';
import { type DatasetId, datasetId, type RunId, runId } from '../../kernel/ids.ts';
import {
  type ActiveRun,
  type CallTotals,
  type LeaseGrant,
  type RunCounts,
  type RunRecord,
  type RunStatus,
  type RunWanted,
  runPrefix,
} from '../../ports/store.ts';
import { orderedTotals } from '../paid-call.ts';
import { noSuchDataset, noSuchRun, runIdTaken } from '../store-errors.ts';
import { fromStoredText, toStoredText } from '../stored-text.ts';
import type { Database, Statement } from './database.ts';
import { checkLease } from './postgres-leases.ts';
import { runStatements } from './run-statements.ts';

interface RunRow {
  readonly id: string;
  readonly dataset_id: string;
  readonly ordinal: number;
  readonly status: RunStatus;
  readonly config: string;
  readonly fingerprint: string;
  readonly plan: string;
  readonly error: string | null;
  readonly creation: string;
  readonly created_at_ms: number;
  readonly updated_at_ms: number;
}

interface ActiveRow {
  readonly id: string;
  readonly dataset_id: string;
  readonly status: ActiveRun['status'];
  readonly wanted: RunWanted;
}

interface CountsRow {
  readonly language_index: number;
  readonly committed: number;
  readonly dropped: number;
  readonly consecutive_drops: number;
  readonly next_index: number;
  readonly turns: number;
}

/** Runs and what they have reached. */
export class PostgresRuns {
  readonly #database: Database;
  readonly #schema: string;
  readonly #sql: ReturnType<typeof runStatements>;

  constructor(database: Database, schema: string) {
    this.#database = database;
    this.#schema = schema;
    this.#sql = runStatements(schema);
  }

  async create(
    run: Omit<RunRecord, 'ordinal' | 'status' | 'error' | 'createdAtMs' | 'updatedAtMs'>,
  ): Promise<RunRecord> {
    // Tells our own run from another one of this id, when the answer to its creation was lost.
    const creation = randomUUID();
    return await this.#database.transaction(async (session) => {
      const [dataset] = await session.query<{ dataset_no: number }>(this.#sql.lockDataset, [run.datasetId]);
      if (dataset === undefined) throw noSuchDataset(run.datasetId);
      const [existing] = await session.query<RunRow>(this.#sql.get, [run.id]);
      if (existing?.creation === creation) return recordOf(existing);
      const made = await session.query(this.#sql.create, [
        run.id,
        dataset.dataset_no,
        JSON.stringify(run.config),
        JSON.stringify(run.fingerprint),
        JSON.stringify(run.plan),
        creation,
      ]);
      if (made.length === 0) throw runIdTaken(run.id);
      const [row] = await session.query<RunRow>(this.#sql.get, [run.id]);
      if (row === undefined) throw noSuchRun(run.id);
      return recordOf(row);
    });
  }

  async get(id: RunId): Promise<RunRecord | null> {
    const [row] = await this.#database.run((session) => session.query<RunRow>(this.#sql.get, [id]));
    return row === undefined ? null : recordOf(row);
  }

  async list(): Promise<readonly RunRecord[]> {
    const rows = await this.#database.run((session) => session.query<RunRow>(this.#sql.list));
    return rows.map(recordOf);
  }

  async setStatus(id: RunId, lease: LeaseGrant, status: RunStatus, error: string | null): Promise<void> {
    await this.#change(id, lease, this.#sql.setStatus, [status, error === null ? null : toStoredText(error)]);
  }

  async replaceSettings(
    id: RunId,
    lease: LeaseGrant,
    config: unknown,
    fingerprint: Readonly<Record<string, string>>,
  ): Promise<void> {
    const values = [JSON.stringify(config), JSON.stringify(fingerprint)];
    await this.#change(id, lease, this.#sql.replaceSettings, values);
  }

  async saveSpec(id: RunId, lease: LeaseGrant, spec: unknown): Promise<void> {
    await this.#change(id, lease, this.#sql.saveSpec, [JSON.stringify(spec)]);
  }

  async spec(id: RunId): Promise<unknown> {
    const [row] = await this.#database.run((session) =>
      session.query<{ spec: string | null }>(this.#sql.spec, [id]),
    );
    return row === undefined || row.spec === null ? null : (JSON.parse(row.spec) as unknown);
  }

  async setWanted(id: RunId, wanted: RunWanted): Promise<void> {
    const rows = await this.#database.run((session) => session.query(this.#sql.setWanted, [id, wanted]));
    if (rows.length === 0) throw noSuchRun(id);
  }

  async wanted(id: RunId): Promise<RunWanted> {
    const [row] = await this.#database.run((session) =>
      session.query<{ wanted: RunWanted }>(this.#sql.wanted, [id]),
    );
    if (row === undefined) throw noSuchRun(id);
    return row.wanted;
  }

  async active(): Promise<readonly ActiveRun[]> {
    const rows = await this.#database.run((session) => session.query<ActiveRow>(this.#sql.active));
    return rows.map((row) => ({
      id: runId(row.id),
      datasetId: asDatasetId(row.dataset_id),
      status: row.status,
      wanted: row.wanted,
    }));
  }

  async counts(id: RunId): Promise<readonly RunCounts[]> {
    return await this.#database.transaction(async (session) => {
      const counts = await session.query<CountsRow>(this.#sql.counts, [id]);
      const drops = await session.query<{ language_index: number; reason: string; drops: number }>(
        this.#sql.drops,
        [id],
      );
      const byLanguage = Map.groupBy(drops, (drop) => drop.language_index);
      return counts.map((row) => ({
        languageIndex: row.language_index,
        committed: row.committed,
        dropped: row.dropped,
        consecutiveDrops: row.consecutive_drops,
        nextIndex: row.next_index,
        turns: row.turns,
        dropReasons: Object.fromEntries(
          (byLanguage.get(row.language_index) ?? []).map((drop) => [fromStoredText(drop.reason), drop.drops]),
        ),
      }));
    }, SNAPSHOT_MODE);
  }

  callTotals(id: RunId): Promise<readonly CallTotals[]> {
    return this.callTotalsBelow(runPrefix(id));
  }

  /** Of every journal whose persistence id starts with `prefix`. */
  async callTotalsBelow(prefix: string): Promise<readonly CallTotals[]> {
    const rows = await this.#database.run((session) => session.query<TotalsRow>(this.#sql.totals, [prefix]));
    return orderedTotals(
      rows.map((row) => ({
        role: row.role,
        endpoint: row.endpoint,
        model: row.model,
        calls: row.calls,
        promptTokens: row.prompt_tokens,
        cachedTokens: row.cached_tokens,
        completionTokens: row.completion_tokens,
        latencyMs: row.latency_ms,
        rehearsal: row.rehearsal,
      })),
    );
  }

  async #change(
    id: RunId,
    lease: LeaseGrant,
    statement: Statement,
    values: readonly unknown[],
  ): Promise<void> {
    await this.#database.transaction(async (session) => {
      await checkLease(session, this.#schema, lease);
      const rows = await session.query(statement, [id, ...values]);
      if (rows.length === 0) throw noSuchRun(id);
    });
  }
}

/** Several reads that must fit together. */
export const SNAPSHOT_MODE = 'ISOLATION LEVEL REPEATABLE READ READ ONLY';

interface TotalsRow {
  readonly role: string;
  readonly endpoint: string;
  readonly model: string;
  readonly rehearsal: boolean;
  readonly calls: number;
  readonly prompt_tokens: number;
  readonly cached_tokens: number;
  readonly completion_tokens: number;
  readonly latency_ms: number;
}

function recordOf(row: RunRow): RunRecord {
  return {
    id: runId(row.id),
    datasetId: asDatasetId(row.dataset_id),
    ordinal: row.ordinal,
    status: row.status,
    config: JSON.parse(row.config) as unknown,
    fingerprint: JSON.parse(row.fingerprint) as Readonly<Record<string, string>>,
    plan: JSON.parse(row.plan) as unknown,
    error: row.error === null ? null : fromStoredText(row.error),
    createdAtMs: Math.round(row.created_at_ms),
    updatedAtMs: Math.round(row.updated_at_ms),
  };
}

const asDatasetId = (text: string): DatasetId => datasetId(text);
