/** Which run a command means: a new one, or one that goes on where it stopped. */
import type { EarlierCounts } from '../actors/earlier-counts.ts';
import { withoutSecrets } from '../config/show.ts';
import type { Config } from '../config/schema.ts';
import { type LegacyRun, legacyRunOf, runStateIds } from '../export/legacy-run.ts';
import { DlgforgeError } from '../kernel/errors.ts';
import { freshHexId, type RunId, runId } from '../kernel/ids.ts';
import type { Dataset, DatasetMemory, LeaseGrant, RunRecord, Store } from '../ports/store.ts';
import { differences, type Fingerprint } from './fingerprint.ts';

/** Questions of the ledger that prompts may show. */
const RECENT_QUESTIONS = 8;

export interface WantedRun {
  readonly id: RunId;
  /** Null for a new run. */
  readonly stored: RunRecord | null;
  /** What 0.1.0 may have left of it in the output folder; null when the store knows the run, or nobody named one. */
  readonly legacy: LegacyRun | null;
  /** True when the operator asked to resume; then there must be something to resume. */
  readonly mustExist: boolean;
}

/** @throws DlgforgeError `resume` when the two ids of the configuration contradict each other. */
export async function wantedRun(store: Store, config: Config, outputDir: string): Promise<WantedRun> {
  const { run_id: own, resume_run_id: resume, target_languages: languages } = config.run;
  const named = resume || own;
  if (named === '') return { id: runId(freshHexId()), stored: null, legacy: null, mustExist: false };
  const stored = own === '' || resume === '' || own === resume ? await store.getRun(runId(named)) : null;
  const mustExist = resume !== '';
  if (stored !== null) return { id: stored.id, stored, legacy: null, mustExist };
  const states = await runStateIds(outputDir);
  const legacy = legacyRunOf(states, named, languages);
  // 0.1.0 wanted the id of a wave here: `R-0001` besides `R` is still the run `R`.
  if (own !== '' && legacyRunOf(states, own, languages).baseId !== legacy.baseId) {
    throw new DlgforgeError(
      'resume',
      `run.run_id is ${own} and run.resume_run_id is ${resume}: which run is meant? Leave one of them empty.`,
    );
  }
  const id = runId(legacy.baseId);
  const known = await store.getRun(id);
  return { id, stored: known, legacy: known === null ? legacy : null, mustExist };
}

/** What the plan of a run depends on besides its configuration; stored, so that a resume plans the same. */
export interface StoredPlan {
  readonly memory: DatasetMemory;
  /** What 0.1.0 had done of the run before it was taken over. */
  readonly earlier?: readonly EarlierCounts[];
}

export interface OpenedRun {
  readonly record: RunRecord;
  readonly plan: StoredPlan;
  readonly resumed: boolean;
}

export interface OpenRunOptions {
  readonly store: Store;
  readonly wanted: WantedRun;
  /** For a run that is taken over from 0.1.0; null for any other. */
  readonly earlier: readonly EarlierCounts[] | null;
  readonly dataset: Dataset;
  readonly lease: LeaseGrant;
  readonly config: Config;
  readonly fingerprint: Fingerprint;
  readonly allowConfigChange: boolean;
}

/** @throws DlgforgeError `resume` when stored and given settings do not fit together. */
export async function openRun(options: OpenRunOptions): Promise<OpenedRun> {
  const { stored } = options.wanted;
  if (stored === null) return createRun(options);
  const { store, lease, config, fingerprint } = options;
  refuseChanges(stored, fingerprint, options.allowConfigChange);
  // Also what decides about no row, such as the number of samples: whoever looks at the run sees what it has now.
  await store.replaceRunSettings(stored.id, lease, withoutSecrets(config), fingerprint);
  await store.setRunStatus(stored.id, lease, 'running', null);
  return { record: stored, plan: stored.plan as StoredPlan, resumed: true };
}

/** @throws DlgforgeError `resume` with what has changed. */
export function refuseChanges(stored: RunRecord, fingerprint: Fingerprint, isAllowed: boolean): void {
  const changed = differences(stored.fingerprint, fingerprint);
  if (changed.length === 0 || isAllowed) return;
  throw new DlgforgeError(
    'resume',
    [
      `The run ${stored.id} was made with other settings, and going on with these would mix two datasets:`,
      ...changed.map((line) => `  ${line}`),
      'Restore the old settings, start a new run with another run.run_id, or add --allow-config-change to go on with the new ones.',
    ].join('\n'),
  );
}

async function createRun({
  store,
  wanted,
  earlier,
  dataset,
  config,
  fingerprint,
}: OpenRunOptions): Promise<OpenedRun> {
  const memory = await store.memory(dataset.id, RECENT_QUESTIONS);
  const plan: StoredPlan = earlier === null ? { memory } : { memory, earlier };
  const record = await store.createRun({
    id: wanted.id,
    datasetId: dataset.id,
    config: withoutSecrets(config),
    fingerprint,
    plan,
  });
  return { record, plan, resumed: earlier !== null };
}
