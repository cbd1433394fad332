import type { JudgePass } from '../../dialogue/judge-pass.ts';
import type { DatasetId } from '../../kernel/ids.ts';
import type { CallTotals, LeaseGrant } from '../../ports/store.ts';
import { judgePrefix, type ShownPass, type StoredVerdict, type Verdicts } from '../../ports/verdicts.ts';
import { noSuchDataset, noSuchPass } from '../store-errors.ts';
import { fromStoredText, toStoredText } from '../stored-text.ts';
import { textArray } from './binary-arrays.ts';
import type { Database, Session, Statement } from './database.ts';
import { checkLease } from './postgres-leases.ts';

interface VerdictRow {
  readonly conversation_id: string;
  readonly turn: number;
  readonly round: number;
  readonly tries: number;
  readonly content: string;
}

type Content = Pick<StoredVerdict, 'verdict' | 'reason' | 'raw' | 'rehearsal'>;

/**
 * Verdicts on Postgres. Every write checks the dataset's lease in its transaction (I2), and may be repeated
 * when its answer was lost.
 */
export class PostgresVerdicts implements Verdicts {
  readonly #database: Database;
  readonly #schema: string;
  readonly #callTotals: (prefix: string) => Promise<readonly CallTotals[]>;
  readonly #sql: ReturnType<typeof statements>;

  constructor(
    database: Database,
    schema: string,
    callTotals: (prefix: string) => Promise<readonly CallTotals[]>,
  ) {
    this.#database = database;
    this.#schema = schema;
    this.#callTotals = callTotals;
    this.#sql = statements(schema);
  }

  async begin(
    lease: LeaseGrant,
    id: DatasetId,
    pass: JudgePass,
    rejudge: string | null,
  ): Promise<{ readonly round: number }> {
    return await this.#write(lease, async (session) => {
      const values = [id, pass.id, JSON.stringify(pass), rejudge === null ? null : toStoredText(rejudge)];
      const [row] = await session.query<{ round: number }>(this.#sql.begin, values);
      if (row === undefined) throw noSuchDataset(id);
      await session.query(this.#sql.touch, [id, pass.id]);
      return { round: row.round };
    });
  }

  async record(lease: LeaseGrant, id: DatasetId, pass: string, stored: StoredVerdict): Promise<void> {
    const { conversationId, turn, round, tries, verdict, reason, raw, rehearsal } = stored;
    const content: Content = { verdict, reason, raw, rehearsal };
    const values = [id, pass, toStoredText(conversationId), turn, round, tries, JSON.stringify(content)];
    const rows = await this.#write(lease, (session) => session.query(this.#sql.record, values));
    if (rows.length === 0) throw noSuchPass(id, pass);
  }

  async of(
    id: DatasetId,
    pass: string,
    conversationIds: readonly string[],
  ): Promise<readonly StoredVerdict[]> {
    const values = [id, pass, textArray([...new Set(conversationIds)].map(toStoredText))];
    const rows = await this.#database.run((session) => session.query<VerdictRow>(this.#sql.of, values));
    return rows.map((row) => ({
      conversationId: fromStoredText(row.conversation_id),
      turn: row.turn,
      round: row.round,
      tries: row.tries,
      ...(JSON.parse(row.content) as Content),
    }));
  }

  async publish(lease: LeaseGrant, id: DatasetId, pass: string, rejudged: boolean): Promise<void> {
    const found = await this.#write(lease, async (session) => {
      const rows = await session.query(this.#sql.endRejudging, [id, pass, rejudged]);
      if (rows.length > 0) await session.query(this.#sql.show, [id, pass]);
      return rows.length > 0;
    });
    if (!found) throw noSuchPass(id, pass);
  }

  async shown(id: DatasetId): Promise<ShownPass | null> {
    const [row] = await this.#database.run((session) =>
      session.query<{ about: string; revision: number }>(this.#sql.shown, [id]),
    );
    return row === undefined ? null : { pass: JSON.parse(row.about) as JudgePass, revision: row.revision };
  }

  async callTotals(id: DatasetId, pass?: string): Promise<readonly CallTotals[]> {
    return await this.#callTotals(judgePrefix(id, pass));
  }

  async #write<T>(lease: LeaseGrant, work: (session: Session) => Promise<T>): Promise<T> {
    return await this.#database.transaction(async (session) => {
      await checkLease(session, this.#schema, lease);
      return await work(session);
    });
  }
}

function statements(
  schema: string,
): Record<'begin' | 'touch' | 'record' | 'of' | 'endRejudging' | 'show' | 'shown', Statement> {
  const dataset = `(SELECT dataset_no FROM ${schema}.datasets WHERE id = $1)`;
  return {
    begin: {
      name: 'begin_judge_pass',
      text: `INSERT INTO ${schema}.judge_passes AS p (dataset_no, pass, about, round, rejudging)
        SELECT dataset_no, $2, $3, CASE WHEN $4::text IS NULL THEN 0 ELSE 1 END, $4
        FROM ${schema}.datasets WHERE id = $1
        ON CONFLICT (dataset_no, pass) DO UPDATE SET
          round = CASE WHEN $4::text IS NULL OR p.rejudging IS NOT DISTINCT FROM $4 THEN p.round ELSE p.round + 1 END,
          rejudging = coalesce($4, p.rejudging)
        RETURNING round`,
    },
    touch: {
      name: 'touch_judge_pass',
      text: `UPDATE ${schema}.datasets SET judge_revision = judge_revision + 1 WHERE id = $1 AND judge_pass = $2`,
    },
    record: {
      name: 'record_verdict',
      text: `INSERT INTO ${schema}.verdicts (dataset_no, pass, conversation_id, turn, round, tries, content)
        SELECT dataset_no, pass, $3, $4, $5, $6, $7 FROM ${schema}.judge_passes
        WHERE dataset_no = ${dataset} AND pass = $2
        ON CONFLICT (dataset_no, pass, conversation_id, turn) DO UPDATE SET
          round = excluded.round, tries = excluded.tries, content = excluded.content, at = clock_timestamp()
        RETURNING 1`,
    },
    of: {
      name: 'verdicts_of',
      text: `SELECT conversation_id, turn, round, tries, content FROM ${schema}.verdicts
        WHERE dataset_no = ${dataset} AND pass = $2 AND conversation_id = ANY($3::text[])
        ORDER BY conversation_id, turn`,
    },
    endRejudging: {
      name: 'end_rejudging',
      text: `UPDATE ${schema}.judge_passes SET rejudging = CASE WHEN $3 THEN NULL ELSE rejudging END
        WHERE dataset_no = ${dataset} AND pass = $2 RETURNING 1`,
    },
    show: {
      name: 'show_judge_pass',
      text: `UPDATE ${schema}.datasets SET judge_pass = $2, judge_revision = judge_revision + 1 WHERE id = $1`,
    },
    shown: {
      name: 'shown_judge_pass',
      text: `SELECT p.about, d.judge_revision AS revision FROM ${schema}.datasets d
        JOIN ${schema}.judge_passes p ON p.dataset_no = d.dataset_no AND p.pass = d.judge_pass WHERE d.id = $1`,
    },
  };
}
