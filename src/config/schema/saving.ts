import {
  choice,
  choices,
  decimal,
  flag,
  integer,
  mapping,
  nullableDecimal,
  nullableInteger,
  secretText,
  section,
  text,
  textOf,
  texts,
} from './fields.ts';
import { FILE_NAME, FILE_NAME_RULE } from './run.ts';
import { EXPORT_FORMATS } from './export-formats.ts';

const SHARE = 'as a share of the conversations of each language.';

const COLUMN = 'Name of this column in the two ShareGPT files.';

export const store = section(
  'The database. Without a DSN an embedded Postgres runs under the state folder of the project.',
  {
    backend: choice(['postgres'], 'postgres', 'Kind of database.'),
    postgres: section('Connection to Postgres.', {
      dsn: secretText(
        'Connection string of your server, for example `postgresql://user@host/database`; empty = the embedded server. Give a password by the environment, not here.',
        'password',
      ),
      min_pool_size: integer(5, { min: 0 }, 'Connections kept open.'),
      max_pool_size: integer(30, { above: 0 }, 'Most connections of one process.'),
      statement_timeout_ms: integer(
        30_000,
        { min: 0 },
        'Milliseconds after which the server gives up a statement; 0 = never.',
      ),
    }),
  },
);

export const saving = section('Where results go.', {
  output_dir: text(
    'outputs',
    'Folder of the dataset, relative to the project, or absolute; `~` is your home.',
  ),
  dataset_id: textOf(
    '',
    FILE_NAME,
    FILE_NAME_RULE,
    'Id under which the dataset is remembered; empty = the one in the marker file of `output_dir`, else a fresh one.',
  ),
  log_max_mb: decimal(50, { above: 0 }, 'Size at which a log file is rotated, in megabytes.'),
  log_files: integer(5, { above: 0 }, 'Rotated files kept per log.'),
  output_columns: section('Names of the columns in the two ShareGPT files; they must differ.', {
    messages: text('messages', COLUMN),
    messages_with_tools: text('messages_with_tools', COLUMN),
    metadata: text('metadata', COLUMN),
    user_reasoning: text('user_reasoning', COLUMN),
    assistant_reasoning: text('assistant_reasoning', COLUMN),
    judge: text('judge', COLUMN),
  }),
  export: section('What an export holds, and in which formats (docs/datasets.md).', {
    formats: choices(
      EXPORT_FORMATS,
      [],
      'Formats that are written to `exports` in the output folder at the end of a run, and that a push holds; a push without any holds `sharegpt`.',
    ),
    splits: section('Parts of the export besides `train`, which gets the rest.', {
      validation: decimal(0, { min: 0, max: 1 }, `Size of \`validation\`, ${SHARE}`),
      test: decimal(0, { min: 0, max: 1 }, `Size of \`test\`, ${SHARE}`),
    }),
    seed: integer(0, { min: 0 }, 'Decides which conversation goes into which split.'),
    min_score: nullableDecimal(
      { min: 0, max: 10 },
      'Lowest score of a conversation that is exported: the mean of its turns, else its own.',
    ),
    keep_unjudged: flag(false, 'With `min_score`: also export conversations without any score.'),
    languages: texts([], 'Languages that are exported; empty = all.', { commaSeparated: true }),
    min_turns: nullableInteger({ min: 1 }, 'Fewest turns of a conversation that is exported.'),
    max_turns: nullableInteger({ min: 1 }, 'Most turns of a conversation that is exported.'),
    compression: choice(['snappy', 'zstd'], 'snappy', 'Compression of `parquet`.'),
    shard_mb: decimal(256, { above: 0 }, 'Size at which a new `parquet` file is begun, in megabytes.'),
    prices: mapping(
      'Prices by model for the cost in the statistics: `{model: {input: 2.5, cached: 1.25, output: 10}}`, per million tokens, in any one currency.',
    ),
  }),
  hf_push: section('Publishing on the Hugging Face Hub.', {
    enabled: flag(false, 'Whether `run` may push by itself.'),
    auto_push_on_run: flag(false, 'Push at the end of `run`; needs `enabled` too.'),
    repo_id: text('', 'Repository, `owner/name`.'),
    repo_type: choice(['dataset', 'model', 'space'], 'dataset', 'Kind of repository.'),
    export_dir: text('hf_export', 'Folder that is prepared and pushed, relative to `output_dir`.'),
    include_run_state: flag(false, 'Also push the run states.'),
    private: flag(true, 'Make a new repository private.'),
    commit_message: text('Update synthetic dataset export', 'Commit message of the push.', { prose: true }),
    source_file: text('conversations_sharegpt_judged.jsonl', 'File of `output_dir` that is exported.'),
    generate_stats: flag(false, 'Write statistics.'),
    stats_file: text('dataset_stats.json', 'Statistics file, in the export folder.'),
    generate_plots: flag(false, 'Draw plots.'),
    plots_dir: text('plots', 'Folder of the plots, in the export folder.'),
    license: text(
      '',
      'Licence of the dataset for its card, as the Hub names it, for example `cc-by-4.0`; empty = none is stated.',
    ),
    clean_remote: flag(false, 'Delete files on the Hub that are not in the export.'),
  }),
});
