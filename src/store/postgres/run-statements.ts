import type { Statement } from './database.ts';

/** What is asked and written about runs. */
export function runStatements(
  schema: string,
): Record<
  | 'lockDataset'
  | 'create'
  | 'get'
  | 'list'
  | 'setStatus'
  | 'replaceSettings'
  | 'saveSpec'
  | 'spec'
  | 'setWanted'
  | 'wanted'
  | 'active'
  | 'counts'
  | 'drops'
  | 'totals',
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
    saveSpec: {
      name: 'save_run_spec',
      text: `UPDATE ${schema}.runs SET spec = $2, updated_at = clock_timestamp() WHERE id = $1 RETURNING 1`,
    },
    spec: { name: 'run_spec', text: `SELECT spec FROM ${schema}.runs WHERE id = $1` },
    setWanted: {
      name: 'set_run_wanted',
      text: `UPDATE ${schema}.runs SET wanted = $2, updated_at = clock_timestamp() WHERE id = $1 RETURNING 1`,
    },
    wanted: { name: 'run_wanted', text: `SELECT wanted FROM ${schema}.runs WHERE id = $1` },
    active: {
      name: 'active_runs',
      // The words of the index runs_active, so that nothing but its few rows is looked at.
      text: `SELECT r.id, d.id AS dataset_id, status, wanted
        FROM ${schema}.runs r JOIN ${schema}.datasets d USING (dataset_no)
        WHERE spec IS NOT NULL AND status IN ('running', 'paused') ORDER BY r.id`,
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
