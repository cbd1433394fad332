/**
 * The SQL schema, as steps that were released in this order. A released step is never changed; a new one
 * follows it. Works on Postgres 14 and newer. `@` stands for the schema's name.
 *
 * - JSON (events, payloads, snapshots, settings) is `text`: it must keep U+0000 and lone surrogates, which
 *   `jsonb` refuses, and nobody searches inside it. What is asked about has columns of its own.
 * - `holds` has the fence: an append moves `last_seq` on under the epoch, so a row lock decides who writes
 *   (I2), and there can be no gap.
 * - Everything of a dataset is keyed by its small number, not by its long id.
 */
export interface Migration {
  readonly version: number;
  readonly name: string;
  readonly sql: string;
}

export const MIGRATIONS: readonly Migration[] = [
  {
    version: 1,
    name: 'the tables of 1.0.0',
    sql: `
      CREATE TABLE @.datasets (
        dataset_no  integer GENERATED ALWAYS AS IDENTITY UNIQUE,
        id          text COLLATE "C" PRIMARY KEY,
        output_dir  text NOT NULL,
        run_count   integer NOT NULL DEFAULT 0,
        adopted     boolean NOT NULL DEFAULT false,
        commit_seq  bigint NOT NULL DEFAULT 0,
        opened_at   timestamptz NOT NULL DEFAULT clock_timestamp()
      ) WITH (fillfactor = 50);
      CREATE INDEX datasets_output_dir ON @.datasets (output_dir);

      CREATE TABLE @.runs (
        id          text COLLATE "C" PRIMARY KEY,
        dataset_no  integer NOT NULL REFERENCES @.datasets (dataset_no),
        ordinal     integer NOT NULL,
        status      text NOT NULL,
        config      text NOT NULL,
        fingerprint text NOT NULL,
        plan        text NOT NULL,
        error       text,
        creation    text NOT NULL,
        created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
        updated_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
        UNIQUE (dataset_no, ordinal)
      );

      CREATE TABLE @.holds (
        persistence_id text COLLATE "C" PRIMARY KEY,
        epoch          bigint NOT NULL,
        last_seq       bigint NOT NULL DEFAULT 0
      ) WITH (fillfactor = 50);

      CREATE TABLE @.journal (
        persistence_id text COLLATE "C" NOT NULL,
        seq            bigint NOT NULL,
        epoch          bigint NOT NULL,
        at             timestamptz NOT NULL DEFAULT clock_timestamp(),
        event          text NOT NULL,
        paid_call      jsonb,
        PRIMARY KEY (persistence_id, seq)
      );

      CREATE TABLE @.snapshots (
        persistence_id text COLLATE "C" PRIMARY KEY,
        seq            bigint NOT NULL,
        state          text NOT NULL
      );

      CREATE TABLE @.conversations (
        run_id          text COLLATE "C" NOT NULL,
        language_index  integer NOT NULL,
        index           integer NOT NULL,
        dataset_no      integer NOT NULL REFERENCES @.datasets (dataset_no),
        commit_seq      bigint NOT NULL,
        language        text NOT NULL,
        conversation_id text NOT NULL,
        turns           integer NOT NULL,
        status          text NOT NULL,
        reason          text,
        payload         text NOT NULL,
        committed_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (run_id, language_index, index),
        UNIQUE (dataset_no, commit_seq)
      );
      CREATE INDEX conversations_dropped ON @.conversations (run_id, language_index) WHERE status = 'dropped';

      CREATE TABLE @.run_counts (
        run_id            text COLLATE "C" NOT NULL,
        language_index    integer NOT NULL,
        committed         integer NOT NULL,
        dropped           integer NOT NULL,
        consecutive_drops integer NOT NULL,
        next_index        integer NOT NULL,
        turns             bigint NOT NULL,
        PRIMARY KEY (run_id, language_index)
      ) WITH (fillfactor = 50);

      CREATE TABLE @.questions (
        dataset_no integer NOT NULL,
        key        bytea NOT NULL,
        PRIMARY KEY (dataset_no, key)
      );

      CREATE TABLE @.ledger (
        dataset_no         integer NOT NULL,
        commit_seq         bigint NOT NULL,
        position           integer NOT NULL,
        language           text,
        turn               integer NOT NULL,
        passage_id         text NOT NULL,
        source             text NOT NULL,
        question           text NOT NULL,
        question_hash      text NOT NULL,
        question_mode      text NOT NULL,
        seed_topic         text NOT NULL,
        seed_question      text NOT NULL,
        seed_question_hash text NOT NULL,
        PRIMARY KEY (dataset_no, commit_seq, position)
      );

      CREATE TABLE @.adopted_lines (
        dataset_no integer NOT NULL,
        position   integer NOT NULL,
        line       text NOT NULL,
        PRIMARY KEY (dataset_no, position)
      );

      CREATE TABLE @.leases (
        name       text COLLATE "C" PRIMARY KEY,
        epoch      bigint NOT NULL DEFAULT 0,
        holder     text,
        request    text,
        renewed_at timestamptz NOT NULL DEFAULT clock_timestamp()
      );

      CREATE TABLE @.capabilities (
        key  text COLLATE "C" PRIMARY KEY,
        kind text NOT NULL
      );
    `,
  },
  {
    version: 2,
    name: 'runs of a cluster',
    sql: `
      ALTER TABLE @.runs ADD COLUMN spec text, ADD COLUMN wanted text NOT NULL DEFAULT 'run';
      CREATE INDEX runs_active ON @.runs (id) WHERE spec IS NOT NULL AND status IN ('running', 'paused');
      ALTER TABLE @.conversations ADD COLUMN epoch bigint NOT NULL DEFAULT 0;
    `,
  },
  {
    version: 3,
    name: 'endpoints that change while a run is on',
    sql: `
      ALTER TABLE @.runs ADD COLUMN endpoints_version bigint NOT NULL DEFAULT 0;
      CREATE TABLE @.run_endpoints (
        run_id   text COLLATE "C" NOT NULL REFERENCES @.runs (id),
        name     text COLLATE "C" NOT NULL,
        endpoint text NOT NULL,
        PRIMARY KEY (run_id, name)
      );
    `,
  },
  {
    version: 4,
    name: 'verdicts that are given later',
    sql: `
      ALTER TABLE @.datasets ADD COLUMN judge_pass text, ADD COLUMN judge_revision bigint NOT NULL DEFAULT 0;
      CREATE TABLE @.judge_passes (
        dataset_no integer NOT NULL REFERENCES @.datasets (dataset_no),
        pass       text COLLATE "C" NOT NULL,
        about      text NOT NULL,
        round      integer NOT NULL,
        rejudging  text,
        PRIMARY KEY (dataset_no, pass)
      );
      CREATE TABLE @.verdicts (
        dataset_no      integer NOT NULL,
        pass            text COLLATE "C" NOT NULL,
        conversation_id text COLLATE "C" NOT NULL,
        turn            integer NOT NULL,
        round           integer NOT NULL,
        tries           integer NOT NULL,
        content         text NOT NULL,
        at              timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (dataset_no, pass, conversation_id, turn)
      );
    `,
  },
];

export const SCHEMA_VERSION = MIGRATIONS.length;
