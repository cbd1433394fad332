import { invariant } from '../../kernel/errors.ts';
import { type DatasetId, datasetId } from '../../kernel/ids.ts';
import type { AdoptedEntry, Dataset, DatasetMemory } from '../../ports/store.ts';
import { orderedMemory } from '../dataset-memory.ts';
import { keyBytes } from '../question-keys.ts';
import { noSuchDataset } from '../store-errors.ts';
import { fromStoredText, toStoredText } from '../stored-text.ts';
import { bigintArray, byteaArray, textArray } from './binary-arrays.ts';
import type { Database, Session, Statement } from './database.ts';
import { LEDGER_COLUMNS, ledgerUnnest, ledgerValues } from './ledger-rows.ts';
import { SNAPSHOT_MODE } from './postgres-runs.ts';

interface DatasetRow {
  readonly id: string;
  readonly output_dir: string;
  readonly run_count: number;
  readonly adopted: boolean;
}

/** Adopted entries stand before everything that was committed. */
const ADOPTED_SEQ = 0;
const ADOPT_CHUNK = 1_000;
const LINES_PAGE = 1_000;

/** Datasets, what they took over from 0.1.0, and what they remember. */
export class PostgresDatasets {
  readonly #database: Database;
  readonly #sql: ReturnType<typeof statements>;

  constructor(database: Database, schema: string) {
    this.#database = database;
    this.#sql = statements(schema);
  }

  async open(id: DatasetId, outputDir: string): Promise<Dataset> {
    const values = [id, toStoredText(outputDir)];
    const [row] = await this.#database.run((session) => session.query<DatasetRow>(this.#sql.open, values));
    invariant(row !== undefined, 'a dataset that was opened is there');
    return datasetOf(row);
  }

  async find(outputDir: string): Promise<Dataset | null> {
    const values = [toStoredText(outputDir)];
    const [row] = await this.#database.run((session) => session.query<DatasetRow>(this.#sql.find, values));
    return row === undefined ? null : datasetOf(row);
  }

  async adopt(id: DatasetId, entries: readonly AdoptedEntry[]): Promise<void> {
    await this.#database.transaction(async (session) => {
      const [dataset] = await session.query<{ dataset_no: number; adopted: boolean }>(this.#sql.lock, [id]);
      if (dataset === undefined) throw noSuchDataset(id);
      if (dataset.adopted) return;
      for (let start = 0; start < entries.length; start += ADOPT_CHUNK) {
        await this.#adoptChunk(session, dataset.dataset_no, entries.slice(start, start + ADOPT_CHUNK), start);
      }
      await session.query(this.#sql.setAdopted, [dataset.dataset_no]);
    });
  }

  async *adoptedLines(id: DatasetId): AsyncIterable<string> {
    let last = -1;
    for (;;) {
      const values = [id, last, LINES_PAGE];
      const rows = await this.#database.run((session) =>
        session.query<{ position: number; line: string }>(this.#sql.lines, values),
      );
      for (const row of rows) yield fromStoredText(row.line);
      last = rows.at(-1)?.position ?? last;
      if (rows.length < LINES_PAGE) return;
    }
  }

  async memory(id: DatasetId, recentCount: number): Promise<DatasetMemory> {
    return await this.#database.transaction(async (session) => {
      const [dataset] = await session.query<{ dataset_no: number }>(this.#sql.number, [id]);
      if (dataset === undefined) throw noSuchDataset(id);
      const no = dataset.dataset_no;
      const passages = await session.query<PassageUsesRow>(this.#sql.passageUses, [no]);
      const seeds = await session.query<{ hash: string; uses: number }>(this.#sql.seedUses, [no]);
      const recent = await session.query<{ question: string }>(this.#sql.recent, [no, recentCount]);
      return orderedMemory({
        passageUses: passages.map((row) => ({
          language: row.language === null ? null : fromStoredText(row.language),
          passageId: fromStoredText(row.passage_id),
          source: fromStoredText(row.source),
          uses: row.uses,
        })),
        seedUses: seeds.map((row) => ({ seedQuestionHash: fromStoredText(row.hash), uses: row.uses })),
        recentQuestions: recent.map((row) => fromStoredText(row.question)).toReversed(),
      });
    }, SNAPSHOT_MODE);
  }

  async #adoptChunk(
    session: Session,
    no: number,
    entries: readonly AdoptedEntry[],
    start: number,
  ): Promise<void> {
    await session.query(this.#sql.adoptQuestions, [
      no,
      byteaArray(entries.flatMap(({ key }) => (key === null ? [] : [keyBytes(key)]))),
    ]);
    await session.query(this.#sql.adoptLedger, [no, ADOPTED_SEQ, start, ...ledgerValues(entries)]);
    const lines = entries.flatMap(({ line }, i) => (line === null ? [] : [{ line, position: start + i }]));
    await session.query(this.#sql.adoptLines, [
      no,
      bigintArray(lines.map(({ position }) => position)),
      textArray(lines.map(({ line }) => toStoredText(line))),
    ]);
  }
}

interface PassageUsesRow {
  readonly language: string | null;
  readonly passage_id: string;
  readonly source: string;
  readonly uses: number;
}

function datasetOf(row: DatasetRow): Dataset {
  return {
    id: datasetId(row.id),
    outputDir: fromStoredText(row.output_dir),
    runCount: row.run_count,
    adopted: row.adopted,
  };
}

type StatementName =
  | 'open'
  | 'find'
  | 'lock'
  | 'number'
  | 'setAdopted'
  | 'adoptQuestions'
  | 'adoptLedger'
  | 'adoptLines'
  | 'lines'
  | 'passageUses'
  | 'seedUses'
  | 'recent';

function statements(schema: string): Record<StatementName, Statement> {
  const columns = 'id, output_dir, run_count, adopted';
  return {
    open: {
      name: 'open_dataset',
      text: `INSERT INTO ${schema}.datasets (id, output_dir) VALUES ($1, $2)
        ON CONFLICT (id) DO UPDATE SET output_dir = excluded.output_dir, opened_at = clock_timestamp()
        RETURNING ${columns}`,
    },
    find: {
      name: 'find_dataset',
      text: `SELECT ${columns} FROM ${schema}.datasets WHERE output_dir = $1 ORDER BY opened_at DESC LIMIT 1`,
    },
    lock: {
      name: 'lock_dataset_to_adopt',
      text: `SELECT dataset_no, adopted FROM ${schema}.datasets WHERE id = $1 FOR UPDATE`,
    },
    number: { name: 'dataset_number', text: `SELECT dataset_no FROM ${schema}.datasets WHERE id = $1` },
    setAdopted: {
      name: 'set_adopted',
      text: `UPDATE ${schema}.datasets SET adopted = true WHERE dataset_no = $1`,
    },
    adoptQuestions: {
      name: 'adopt_questions',
      text: `INSERT INTO ${schema}.questions (dataset_no, key) SELECT $1, unnest($2::bytea[]) ON CONFLICT DO NOTHING`,
    },
    adoptLedger: {
      name: 'adopt_ledger',
      text: `INSERT INTO ${schema}.ledger (dataset_no, commit_seq, position, ${LEDGER_COLUMNS})
        SELECT $1, $2, $3 + l.position, ${LEDGER_COLUMNS} FROM ${ledgerUnnest(4)}`,
    },
    adoptLines: {
      name: 'adopt_lines',
      text: `INSERT INTO ${schema}.adopted_lines (dataset_no, position, line)
        SELECT $1, * FROM unnest($2::bigint[], $3::text[])`,
    },
    lines: {
      name: 'adopted_lines',
      text: `SELECT position, line FROM ${schema}.adopted_lines
        WHERE dataset_no = (SELECT dataset_no FROM ${schema}.datasets WHERE id = $1) AND position > $2
        ORDER BY position LIMIT $3`,
    },
    passageUses: {
      name: 'passage_uses',
      text: `SELECT language, passage_id, source, count(*) AS uses FROM ${schema}.ledger
        WHERE dataset_no = $1 GROUP BY language, passage_id, source`,
    },
    seedUses: {
      name: 'seed_uses',
      text: `SELECT seed_question_hash AS hash, count(*) AS uses FROM ${schema}.ledger
        WHERE dataset_no = $1 AND seed_question_hash <> '' GROUP BY seed_question_hash`,
    },
    recent: {
      name: 'recent_questions',
      text: `SELECT question FROM ${schema}.ledger WHERE dataset_no = $1
        ORDER BY commit_seq DESC, position DESC LIMIT $2`,
    },
  };
}
