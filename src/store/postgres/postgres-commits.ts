/**
 * Commits and what was committed.
 *
 * Invariants:
 * - I2 A commit is fenced by its lease: the lease's row is locked and its epoch checked in the transaction.
 * - I3 Conversation, keys, ledger and counts go in together; commit sequence numbers have no gap, because
 *   the number is taken from the dataset's row, and given back when the transaction ends in nothing.
 * - I4 A key is in a dataset once: the primary key of `questions` decides.
 */
import { invariant } from '../../kernel/errors.ts';
import { type DatasetId, datasetId, epoch, type RunId, runId } from '../../kernel/ids.ts';
import type { CommitRequest, CommitResult, CommittedConversation, LedgerEntry } from '../../ports/store.ts';
import { keyBytes } from '../question-keys.ts';
import { noSuchDataset } from '../store-errors.ts';
import { fromStoredText, toStoredText } from '../stored-text.ts';
import { byteaArray } from './binary-arrays.ts';
import { type Database, type Session, type Statement, UNDONE } from './database.ts';
import { LEDGER_COLUMNS, type LedgerRow, ledgerEntry, ledgerUnnest, ledgerValues } from './ledger-rows.ts';
import { checkLease } from './postgres-leases.ts';

interface ConversationRow {
  readonly commit_seq: number;
  readonly run_id: string;
  readonly language_index: number;
  readonly index: number;
  readonly language: string;
  readonly conversation_id: string;
  readonly committed_at_ms: number;
  readonly epoch: number;
  readonly status: 'committed' | 'dropped';
  readonly reason: string | null;
  readonly payload: string;
}

interface Place {
  readonly dataset_no: number;
  readonly commit_seq: number;
}

const PAGE_CONVERSATIONS = 64;
/** Datasets that share an id, as copies of one run do. */
const FOUND_MAX = 16;

export class PostgresCommits {
  readonly #database: Database;
  readonly #schema: string;
  readonly #sql: ReturnType<typeof statements>;

  constructor(database: Database, schema: string) {
    this.#database = database;
    this.#schema = schema;
    this.#sql = statements(schema);
  }

  async knownQuestions(id: DatasetId, keys: readonly string[]): Promise<ReadonlySet<string>> {
    if (keys.length === 0) return new Set();
    return new Set(await this.#database.run((session) => this.#known(session, id, keys)));
  }

  async commit(request: CommitRequest): Promise<CommitResult> {
    const result = await this.#database.transaction((session) => this.#write(session, request));
    if (result !== UNDONE) return result;
    return await this.#database.run((session) => this.#whyNot(session, request));
  }

  async *committed(
    id: DatasetId,
    after: number,
    filter?: { readonly runId?: RunId },
  ): AsyncIterable<CommittedConversation> {
    let last = after;
    for (;;) {
      const page = await this.#page(id, last, filter?.runId ?? null);
      yield* page;
      last = page.at(-1)?.commitSeq ?? last;
      if (page.length < PAGE_CONVERSATIONS) return;
    }
  }

  async find(conversationId: string): Promise<(CommittedConversation & { readonly datasetId: DatasetId })[]> {
    return await this.#database.run(async (session) => {
      const rows = await session.query<ConversationRow & { readonly dataset_id: string }>(this.#sql.find, [
        toStoredText(conversationId),
      ]);
      const found = [];
      for (const row of rows) {
        const id = datasetId(row.dataset_id);
        const range = [id, row.commit_seq, row.commit_seq];
        const ledger = await session.query<LedgerRow>(this.#sql.ledger, range);
        found.push({ ...conversationOf(row, ledger.map(ledgerEntry)), datasetId: id });
      }
      return found;
    });
  }

  async #write(session: Session, request: CommitRequest): Promise<CommitResult | typeof UNDONE> {
    await checkLease(session, this.#schema, request.lease);
    const [place] = await session.query<Place>(this.#sql.place, [request.datasetId]);
    if (place === undefined) throw noSuchDataset(request.datasetId);
    const { outcome } = request;
    const keys = outcome.type === 'committed' ? outcome.questionKeys : [];
    const ledger = outcome.type === 'committed' ? outcome.ledger : [];
    const [written] = await session.query<{ conversations: number; questions: number }>(this.#sql.write, [
      ...conversationValues(request, place),
      byteaArray(keys.map(keyBytes)),
      ...ledgerValues(ledger),
    ]);
    if (written?.conversations !== 1 || written.questions !== keys.length) return UNDONE;
    return { type: 'committed', commitSeq: place.commit_seq };
  }

  /** Why a commit wrote nothing: it is there already, or its questions are. */
  async #whyNot(session: Session, request: CommitRequest): Promise<CommitResult> {
    const key = [request.runId, request.languageIndex, request.index];
    const [done] = await session.query<{ commit_seq: number }>(this.#sql.existing, key);
    if (done !== undefined) return { type: 'committed', commitSeq: done.commit_seq };
    invariant(request.outcome.type === 'committed', 'a drop has no questions that could be taken');
    const { questionKeys } = request.outcome;
    invariant(
      new Set(questionKeys).size === questionKeys.length,
      'the question keys of a commit are distinct',
    );
    const keys = await this.#known(session, request.datasetId, questionKeys);
    invariant(keys.length > 0, 'a commit that wrote nothing met its own key or a taken question');
    return { type: 'duplicate', keys };
  }

  async #known(session: Session, id: DatasetId, keys: readonly string[]): Promise<string[]> {
    const bytes = byteaArray(keys.map(keyBytes));
    const rows = await session.query<{ key: Buffer }>(this.#sql.known, [id, bytes]);
    const found = new Set(rows.map((row) => row.key.toString('hex')));
    return keys.filter((key) => found.has(key));
  }

  async #page(id: DatasetId, after: number, run: RunId | null): Promise<CommittedConversation[]> {
    return await this.#database.run(async (session) => {
      const rows = await session.query<ConversationRow>(this.#sql.page, [id, after, run, PAGE_CONVERSATIONS]);
      const first = rows[0]?.commit_seq ?? 0;
      const last = rows.at(-1)?.commit_seq ?? -1;
      const ledger = await session.query<LedgerRow & { readonly commit_seq: number }>(this.#sql.ledger, [
        id,
        first,
        last,
      ]);
      const bySeq = Map.groupBy(ledger, (row) => row.commit_seq);
      return rows.map((row) => conversationOf(row, (bySeq.get(row.commit_seq) ?? []).map(ledgerEntry)));
    });
  }
}

function conversationValues(request: CommitRequest, place: Place): unknown[] {
  const { outcome } = request;
  return [
    place.dataset_no,
    place.commit_seq,
    request.runId,
    request.languageIndex,
    request.index,
    toStoredText(request.language),
    toStoredText(request.conversationId),
    request.turns,
    outcome.type,
    outcome.type === 'dropped' ? toStoredText(outcome.reason) : null,
    JSON.stringify(outcome.payload),
    request.lease.epoch,
  ];
}

function conversationOf(row: ConversationRow, ledger: readonly LedgerEntry[]): CommittedConversation {
  return {
    runId: runId(row.run_id),
    languageIndex: row.language_index,
    index: row.index,
    commitSeq: row.commit_seq,
    language: fromStoredText(row.language),
    conversationId: fromStoredText(row.conversation_id),
    committedAtMs: Math.round(row.committed_at_ms),
    epoch: epoch(row.epoch),
    status: row.status,
    reason: row.reason === null ? null : fromStoredText(row.reason),
    payload: JSON.parse(row.payload) as unknown,
    ledger,
  };
}

function statements(
  schema: string,
): Record<'place' | 'write' | 'existing' | 'known' | 'page' | 'find' | 'ledger', Statement> {
  const columns = `commit_seq, run_id, language_index, index, language, conversation_id, status, reason, payload,
          epoch, (extract(epoch FROM committed_at) * 1000)::float8 AS committed_at_ms`;
  return {
    place: {
      name: 'take_commit_seq',
      text: `UPDATE ${schema}.datasets SET commit_seq = commit_seq + 1 WHERE id = $1 RETURNING dataset_no, commit_seq`,
    },
    write: { name: 'write_commit', text: writeText(schema) },
    existing: {
      name: 'existing_commit',
      text: `SELECT commit_seq FROM ${schema}.conversations WHERE run_id = $1 AND language_index = $2 AND index = $3`,
    },
    known: {
      name: 'known_questions',
      text: `SELECT key FROM ${schema}.questions
        WHERE dataset_no = (SELECT dataset_no FROM ${schema}.datasets WHERE id = $1) AND key = ANY($2::bytea[])`,
    },
    page: {
      name: 'committed_page',
      text: `SELECT ${columns} FROM ${schema}.conversations
        WHERE dataset_no = (SELECT dataset_no FROM ${schema}.datasets WHERE id = $1)
          AND commit_seq > $2 AND ($3::text IS NULL OR run_id = $3)
        ORDER BY commit_seq LIMIT $4`,
    },
    find: {
      name: 'find_conversations',
      text: `SELECT (SELECT id FROM ${schema}.datasets d WHERE d.dataset_no = c.dataset_no) AS dataset_id, ${columns}
        FROM ${schema}.conversations c WHERE conversation_id = $1
        ORDER BY committed_at DESC, commit_seq DESC LIMIT ${FOUND_MAX}`,
    },
    ledger: {
      name: 'ledger_page',
      text: `SELECT commit_seq, ${LEDGER_COLUMNS} FROM ${schema}.ledger
        WHERE dataset_no = (SELECT dataset_no FROM ${schema}.datasets WHERE id = $1)
          AND commit_seq BETWEEN $2 AND $3
        ORDER BY commit_seq, position`,
    },
  };
}

/** One statement: how many conversations (1, or 0 when it was there) and questions went in. */
function writeText(schema: string): string {
  return `WITH conversation AS (
      INSERT INTO ${schema}.conversations (dataset_no, commit_seq, run_id, language_index, index, language,
        conversation_id, turns, status, reason, payload, epoch)
      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
      ON CONFLICT (run_id, language_index, index) DO NOTHING RETURNING 1
    ), question AS (
      INSERT INTO ${schema}.questions (dataset_no, key) SELECT $1, unnest($13::bytea[])
      ON CONFLICT DO NOTHING RETURNING 1
    ), entry AS (
      INSERT INTO ${schema}.ledger (dataset_no, commit_seq, position, language, ${LEDGER_COLUMNS})
      SELECT $1, $2, l.position, $6, ${LEDGER_COLUMNS} FROM ${ledgerUnnest(14)}
    ), counts AS (
      INSERT INTO ${schema}.run_counts AS c (run_id, language_index, committed, dropped, consecutive_drops,
        next_index, turns)
      SELECT $3, $4, good, 1 - good, 1 - good, CASE WHEN $5 = 0 THEN 1 ELSE 0 END, good * $8::bigint
      FROM (SELECT ($9 = 'committed')::int AS good) AS outcome
      ON CONFLICT (run_id, language_index) DO UPDATE SET
        committed = c.committed + excluded.committed,
        dropped = c.dropped + excluded.dropped,
        consecutive_drops = CASE WHEN excluded.dropped = 0 THEN 0 ELSE c.consecutive_drops + 1 END,
        next_index = CASE WHEN c.next_index = $5 THEN c.next_index + 1 ELSE c.next_index END,
        turns = c.turns + excluded.turns
    )
    SELECT (SELECT count(*) FROM conversation) AS conversations, (SELECT count(*) FROM question) AS questions`;
}
