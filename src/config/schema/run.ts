import {
  choice,
  decimal,
  flag,
  integer,
  nullableDecimal,
  nullableInteger,
  section,
  text,
  textOf,
  texts,
  secretText,
} from './fields.ts';

/** Ids become file names (`run_state/<id>.json`), so they may not leave their folder. */
export const FILE_NAME = /^(?!\.)[A-Za-z0-9._-]{1,128}$/;
export const FILE_NAME_RULE =
  'must be safe as a file name: letters, digits, `.`, `_` and `-`, not starting with a dot, at most 128 characters.';

const turns = section('How many turns a conversation has.', {
  mode: choice(
    ['exact', 'range'],
    'range',
    'One fixed number of turns, or a number drawn for each conversation.',
  ),
  exact: nullableInteger(
    { above: 0, max: 1000 },
    'Turns of every conversation; only in mode `exact`, null in mode `range`.',
  ),
  min: integer(
    2,
    { above: 0, max: 1000 },
    'Fewest turns, in mode `range`; in mode `exact` it reads as the exact number.',
  ),
  max: integer(
    2,
    { above: 0, max: 1000 },
    'Most turns, in mode `range`; in mode `exact` it reads as the exact number.',
  ),
  distribution: choice(
    ['uniform', 'poisson', 'exponential'],
    'poisson',
    'Distribution of the number of turns, truncated to min..max. Only used when min < max.',
    { exp: 'exponential', pois: 'poisson' },
  ),
  mean: nullableDecimal(
    { above: 0 },
    'Mean of the distribution before truncation, in turns; null = (min + max) / 2.',
  ),
});

const topics = section('Seed topics: questions to start conversations from.', {
  path: text('data/seeds/topics.yaml', 'Seed topics file (YAML or JSON) or folder, relative to the project.'),
  enabled: flag(true, 'Whether conversations may start from a seed question.'),
  variant: text('', 'Which variant of a structured file to use; empty = the one for the target language.'),
  probability: decimal(
    0.35,
    { max: 1 },
    'Probability that a first turn starts from a seed question; 0 or less = never.',
  ),
});

const distributed = section('Running on several machines.', {
  enabled: flag(false, 'Run on a cluster instead of in this process.'),
  backend: choice(['nats'], 'nats', 'What carries messages between nodes.', { ray: 'nats' }),
  address: text(
    'auto',
    'Cluster to attach to: `auto`, or `nats://host:4222` or `tls://host:4222`, several with commas. `auto` = `nats_url` when it is given, else the one that runs on this machine, else a local one is started (see `auto_start_local`).',
  ),
  nats_url: secretText(
    'URL of the NATS server(s), comma separated; empty = found through `address`.',
    'password',
  ),
  nats_token: secretText(
    'Token of the NATS server(s); empty = the one of the cluster that was found. Better in the environment.',
    'all',
  ),
  tls: section('Files for a NATS server that asks for TLS; PEM, relative to the project.', {
    ca_file: text('', 'Authorities that may have signed its certificate; empty = those of the system.'),
    cert_file: text('', 'Certificate of this client, for a server that asks for one.'),
    key_file: text('', 'Private key of that certificate.'),
  }),
  auto_start_local: flag(
    true,
    'Start a cluster on this machine for the run when `address` is `auto` and none is running; it ends with the run.',
  ),
  namespace: text('dlgforge', 'Keeps clusters that share one NATS server apart.'),
  spawn: section('What this process brings to the cluster for its run.', {
    coordinator: flag(
      true,
      'This process may lead the run; false = it brings no coordinator and waits for a node of the cluster to lead it.',
    ),
    workers: flag(
      true,
      'This process brings workers; false = it brings none and waits for those of the cluster.',
    ),
  }),
  actor: section('Resources of the spawned actors.', {
    num_cpus: decimal(1, { above: 0 }, 'CPUs that a worker counts for.'),
    num_gpus: decimal(0, { min: 0 }, 'GPUs that a worker counts for.'),
    coordinator_num_cpus: decimal(1, { above: 0 }, 'CPUs that the coordinator counts for.'),
  }),
  replicas_qa: integer(
    1,
    { min: 0 },
    'Worker processes that this process brings, first part; their number is `replicas_qa` + `replicas_complete`.',
  ),
  replicas_complete: integer(
    1,
    { min: 0 },
    'Worker processes that this process brings, second part; their number is `replicas_qa` + `replicas_complete`.',
  ),
});

export const run = section('What is generated, and how much of it.', {
  batch_size: integer(
    1,
    { above: 0 },
    'Conversations kept open at the same time, over all languages together.',
  ),
  total_samples: integer(0, { min: 0 }, 'Conversations per language. 0 = `batch_size` of them.'),
  target_languages: texts(
    ['en'],
    'Languages to write in: free text, used in prompts, ids and the look-up of seeds. A list, or one text with commas.',
    { commaSeparated: true },
  ),
  run_id: textOf(
    '',
    FILE_NAME,
    FILE_NAME_RULE,
    'Id of the run; empty = a fresh one. The same id again continues that run.',
  ),
  resume_run_id: textOf('', FILE_NAME, FILE_NAME_RULE, 'Id of a stopped run to continue.'),
  seed: integer(
    0,
    {},
    'Key of all random draws. The same seed, configuration and model answers give the same dataset.',
  ),
  max_consecutive_drops: integer(
    10,
    { above: 0 },
    'Conversations dropped one after another before a language ends with an error.',
  ),
  shutdown_grace_s: decimal(
    30,
    { min: 0 },
    'Seconds that calls in flight get to finish after the first Ctrl-C or SIGTERM.',
  ),
  endpoint_patience_s: decimal(
    600,
    { min: 0 },
    'Seconds that the run waits for an endpoint that is away before it stops, resumable.',
  ),
  turns,
  data: section('Where conversations start.', {
    seeding: section('Questions to start from.', {
      question: text(
        '',
        'Topic of the first turn of every conversation; empty = seed topics, or a fresh question.',
        { prose: true },
      ),
      topics,
    }),
  }),
  distributed,
});
