import { randomUUID } from 'node:crypto';
import { type DatasetId, datasetId, type RunId, runId } from '../../kernel/ids.ts';
import {
  type CallTotals,
  type LeaseGrant,
  type RunCounts,
  type RunRecord,
  type RunStatus,
  runPrefix,
} from '../../ports/store.ts';
import { orderedTotals } from '../paid-call.ts';
import { noSuchDataset, noSuchRun, runIdTaken } from '../store-errors.ts';
import { fromStoredText, toStoredText } from '../stored-text.ts';
import type { Database, Statement } from './database.ts';
import { checkLease } from './postgres-leases.ts';

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
  readonly #sql: ReturnType<typeof statements>;

  constructor(database: Database, schema: string) {
    this.#database = database;
    this.#schema = schema;
    this.#sql = statements(schema);
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

  async callTotals(id: RunId): Promise<readonly CallTotals[]> {
    const rows = await this.#database.run((session) =>
      session.query<TotalsRow>(this.#sql.totals, [runPrefix(id)]),
    );
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

function statements(
  schema: string,
): Record<
  'lockDataset' | 'create' | 'get' | 'list' | 'setStatus' | 'replaceSettings' | 'counts' | 'drops' | 'totals',
  Statement
> {
  const run = `SELECT r.id, d.id AS dataset_id, ordinal, status, config, fingerprint, plan, error, creation,
      (extract(epoch FROM created_at) * 1000)::float8 AS created_at_ms,
      (extract(epoch FROM updated_at) * 1000)::float8 AS updated_at_ms
    FROM ${schema}.runs r JOIN ${schema}.datasets d USING (dataset_no)`;
  const sum = (name: string, column: string): string =>
    `sum((paid_call->>'${name}')::bigint)::bigint AS ${column}`;
  return {
    lockDataset: {
      name: 'lock_dataset',
      text: `SELECT dataset_no FROM ${schema}.datasets WHERE id = $1 FOR UPDATE`,
    },
    create: {
      name: 'create_run',
      text: `WITH dataset AS (
          UPDATE ${schema}.datasets SET run_count = run_count + 1
          WHERE dataset_no = $2 AND NOT EXISTS (SELECT 1 FROM ${schema}.runs WHERE id = $1)
          RETURNING run_count - 1 AS ordinal
        )
        INSERT INTO ${schema}.runs (id, dataset_no, ordinal, status, config, fingerprint, plan, creation)
        SELECT $1, $2, ordinal, 'running', $3, $4, $5, $6 FROM dataset RETURNING 1`,
    },
    get: { name: 'get_run', text: `${run} WHERE r.id = $1` },
    list: { name: 'list_runs', text: `${run} ORDER BY created_at DESC, r.id` },
    setStatus: {
      name: 'set_run_status',
      text: `UPDATE ${schema}.runs SET status = $2, error = $3, updated_at = clock_timestamp()
        WHERE id = $1 RETURNING 1`,
    },
    replaceSettings: {
      name: 'replace_run_settings',
      text: `UPDATE ${schema}.runs SET config = $2, fingerprint = $3, updated_at = clock_timestamp()
        WHERE id = $1 RETURNING 1`,
    },
    counts: {
      name: 'run_counts',
      // Commits come in index order, so the second column is next_index; it looks on for those that did not.
      text: `SELECT language_index, committed, dropped, consecutive_drops, turns, (
          SELECT min(i.free) FROM (
            SELECT c.next_index AS free WHERE NOT EXISTS (SELECT 1 FROM ${schema}.conversations v
              WHERE v.run_id = $1 AND v.language_index = c.language_index AND v.index = c.next_index)
            UNION ALL
            SELECT v.index + 1 FROM ${schema}.conversations v
            WHERE v.run_id = $1 AND v.language_index = c.language_index AND v.index >= c.next_index
              AND NOT EXISTS (SELECT 1 FROM ${schema}.conversations w
                WHERE w.run_id = $1 AND w.language_index = c.language_index AND w.index = v.index + 1)
          ) i
        ) AS next_index
        FROM ${schema}.run_counts c WHERE run_id = $1 ORDER BY language_index`,
    },
    drops: {
      name: 'run_drops',
      text: `SELECT language_index, reason, count(*) AS drops FROM ${schema}.conversations
        WHERE run_id = $1 AND status = 'dropped' GROUP BY language_index, reason ORDER BY language_index, reason`,
    },
    totals: {
      name: 'call_totals',
      text: `SELECT paid_call->>'role' AS role, paid_call->>'endpoint' AS endpoint, paid_call->>'model' AS model,
          (paid_call->>'rehearsal')::boolean AS rehearsal, count(*) AS calls,
          ${sum('promptTokens', 'prompt_tokens')}, ${sum('cachedTokens', 'cached_tokens')},
          ${sum('completionTokens', 'completion_tokens')}, ${sum('latencyMs', 'latency_ms')}
        FROM ${schema}.journal
        WHERE persistence_id >= $1 AND persistence_id <= $1 || U&'\\+10FFFF' AND paid_call IS NOT NULL
        GROUP BY 1, 2, 3, 4`,
    },
  };
}
