/**
 * Everything that comes before the first model call: requirements, assets, knowledge, store, dataset,
 * models, run record, files. Nothing is spent here. Each step hands its undoing to `cleanUp`.
 */
import type { RunEnd } from '../actors/messages.ts';
import { problemsError } from '../config/problem.ts';
import { publishingProblems } from '../config/publishing.ts';
import { checkRequirements, type Requirements } from '../config/requirements.ts';
import { languageTags } from '../dialogue/settings.ts';
import { keepLegacyState } from '../export/legacy-run.ts';
import { DlgforgeError, isDlgforgeError, messageOf } from '../kernel/errors.ts';
import type { RunId } from '../kernel/ids.ts';
import type { Dataset, LeaseGrant, RunEndpoint, Store } from '../ports/store.ts';
import { type DialogueAssets, loadDialogueAssets } from './assets.ts';
import { checkAttached } from './attach.ts';
import { type Backend, openBackend } from './backend.ts';
import { secretsOf } from '../config/secrets-of.ts';
import { datasetIdOf, openDataset } from './dataset.ts';
import { inputsBase } from './dialogue-settings.ts';
import { keysIn, withChanges } from './endpoint-changes.ts';
import { openFiles, type OutputFiles } from './files.ts';
import { fingerprintOf } from './fingerprint.ts';
import { type Holder, holdDataset, thisProcess } from './hold.ts';
import { type Knowledge, openKnowledge } from './knowledge.ts';
import { journalImport, type LegacyImport, readLegacyImport } from './legacy-import.ts';
import type { Project } from './project.ts';
import {
  checkLocalServers,
  type LocalReplicas,
  type LocalServers,
  localServers,
  startLocalReplicas,
} from './vllm/local-replicas.ts';
import { openProjectStore } from './project-store.ts';
import { type OpenedRun, openRun, type WantedRun, wantedRun } from './run-record.ts';
import type { RunOptions } from './run-options.ts';

export interface PreparedRun {
  readonly project: Project;
  readonly assets: DialogueAssets;
  readonly knowledge: Knowledge;
  readonly store: Store;
  readonly dataset: Dataset;
  readonly lease: LeaseGrant;
  /** Resolves when another process has taken the dataset over; never otherwise. */
  readonly holdLost: Promise<RunEnd>;
  readonly backend: Backend;
  readonly run: OpenedRun;
  readonly files: OutputFiles;
  /** The model servers of `llm.backend: vllm_managed`; null for any other. */
  readonly replicas: LocalReplicas | null;
}

/** What is known to be in order before anything is attached to, started or spent. */
export interface Preflight {
  readonly requirements: Requirements;
  readonly assets: DialogueAssets;
  readonly knowledge: Knowledge;
}

/** @throws DlgforgeError with everything that is off. */
export async function preflight(
  project: Project,
  requirements: Requirements,
  options: RunOptions,
  cleanUp: AsyncDisposableStack,
): Promise<Preflight> {
  const assets = await loadAssets(project);
  const knowledge = await prepareKnowledge(project, options);
  cleanUp.defer(() => knowledge.close());
  return { requirements, assets, knowledge };
}

/** @throws DlgforgeError when the run cannot start, saying what to do. */
export async function prepareRun(
  project: Project,
  options: RunOptions,
  cleanUp: AsyncDisposableStack,
): Promise<PreparedRun> {
  const { config } = project;
  const requirements = required(project, options);
  // First: a large folder is long in being indexed, and would be for nothing.
  const servers = await plannedServers(project, requirements);
  const { assets, knowledge } = await preflight(project, requirements, options, cleanUp);

  options.observer.status('opening the store');
  const store = await openProjectStore(project, { onWaiting: (message) => options.observer.status(message) });
  cleanUp.defer(() => store.close());
  const wanted = await wantedRun(store, config, project.folders.output);
  options.observer.status('preparing the models');
  const { endpoints: changes } = await store.runEndpoints(wanted.id);
  const backend = await prepareBackend(project, requirements, store, changes);
  cleanUp.defer(() => backend.close());

  const { dataset, lease, holdLost, legacy } = await prepareDataset(
    project,
    store,
    wanted,
    thisProcess(options.command),
    cleanUp,
  );
  const replicas = servers === null ? null : await startLocalReplicas(servers, wanted.id, options);
  if (replicas !== null) cleanUp.defer(() => replicas.close());
  const run = await openRun({
    ...options,
    store,
    wanted,
    earlier: legacy?.earlier ?? null,
    dataset,
    lease,
    config,
    fingerprint: fingerprintOf(config, assets, knowledge.retriever.info.fingerprint),
  });
  await replicas?.publish({
    read: async () => (await store.runEndpoints(run.record.id)).endpoints,
    write: (endpoint) => store.setRunEndpoint(run.record.id, endpoint),
  });
  const files = await openFiles(project, {
    store,
    dataset,
    runId: run.record.id,
    inputs: inputsBase(config),
  });
  cleanUp.defer(() => files.close());
  await files.catchUp();
  await files.writeState(run.resumed ? 'resumed' : 'started');
  options.observer.status(null);
  return { project, assets, knowledge, store, dataset, lease, holdLost, backend, run, files, replicas };
}

/** What starts servers of ours is known to be there before anything is started. */
async function plannedServers(project: Project, requirements: Requirements): Promise<LocalServers | null> {
  if (project.config.llm.backend !== 'vllm_managed') return null;
  const servers = localServers(project, requirements);
  await checkLocalServers(servers);
  return servers;
}

/** @throws DlgforgeError with every value that is missing. */
export function required({ loaded, logger }: Project, { detach }: RunOptions): Requirements {
  const requirements = checkRequirements(loaded, 'run');
  for (const notice of requirements.notices) logger.log('warn', 'config', notice);
  // Whoever submits a run and leaves publishes nothing.
  const publishing = detach === true ? [] : publishingProblems(loaded.config, loaded.environment);
  const problems = [...requirements.problems, ...publishing];
  if (problems.length > 0) throw problemsError('config', problems);
  logger.redact(secretsOf(loaded, requirements.keys));
  return requirements;
}

async function loadAssets({ config, root, logger }: Project): Promise<DialogueAssets> {
  const assets = await loadDialogueAssets(config, root);
  for (const notice of assets.notices) logger.log('warn', 'config', notice);
  return assets;
}

async function prepareKnowledge(project: Project, { observer, stop }: RunOptions): Promise<Knowledge> {
  observer.status('indexing the knowledge folder');
  const knowledge = await openKnowledge(project, {
    onProgress: ({ done, total }) =>
      observer.status(`indexing the knowledge folder: ${done} of ${total} documents`),
    signal: stop,
  });
  for (const { source, reason } of knowledge.report.skipped) {
    project.logger.log('warn', 'retrieval', `[retrieval] skipped ${source}: ${reason}`);
  }
  return knowledge;
}

/** `changes`: to the endpoints of a run that goes on. @throws DlgforgeError when a model cannot be used. */
export async function prepareBackend(
  project: Project,
  requirements: Requirements,
  { capabilities }: Pick<Store, 'capabilities'>,
  changes: readonly RunEndpoint[] = [],
): Promise<Backend> {
  const { loaded, logger, config } = project;
  const { roles, keys } = requirements;
  const backend = await openBackend({ loaded, roles, keys, capabilities, logger });
  backend.port.setEndpoints(withChanges(backend.plan, changes, keysIn(loaded)).endpoints);
  if (config.llm.backend !== 'vllm_attach') return backend;
  try {
    await checkAttached(backend.port, roles, logger);
  } catch (error) {
    await backend.close();
    throw error;
  }
  return backend;
}

const takenOver: RunEnd = {
  type: 'failed',
  trouble: {
    code: 'held',
    message:
      'Another process has taken this dataset over, because this one was frozen or cut off from the database. It goes on there; `dlgforge runs list` shows it. Nothing that was paid for is lost.',
  },
};

interface PreparedDataset {
  readonly dataset: Dataset;
  readonly lease: LeaseGrant;
  readonly holdLost: Promise<RunEnd>;
  readonly legacy: LegacyImport | null;
  /** Lets others write the dataset. */
  readonly release: () => Promise<void>;
}

/**
 * The dataset of a run, held for writing, with what 0.1.0 left in its folder.
 * @throws DlgforgeError `held`, `resume` or `output`.
 */
export async function prepareDataset(
  project: Project,
  store: Store,
  wanted: WantedRun,
  holder: Holder,
  cleanUp: AsyncDisposableStack,
): Promise<PreparedDataset> {
  const { config, folders, logger } = project;
  const id = await datasetIdOf(folders.output, wanted.stored?.datasetId ?? null, config.saving.dataset_id);
  const lost = Promise.withResolvers<RunEnd>();
  const hold = await holdDataset(store, id, holder, (error) => {
    logger.log('error', 'store', `[store] the hold on the dataset was not renewed: ${messageOf(error)}`);
    if (isDlgforgeError(error, 'stale_epoch')) lost.resolve(takenOver);
  });
  cleanUp.defer(() => hold.release());
  const legacy = await legacyOf(project, wanted);
  if (wanted.stored === null && wanted.mustExist && (legacy?.stateCount ?? 0) === 0) {
    throw unknownRun(wanted.id, folders.output);
  }
  const dataset = await openDataset(store, id, folders.output, logger, legacy?.unfinishedQuestions);
  if (legacy !== null) await takeOverLegacyRun(project, store, legacy);
  return { dataset, lease: hold.lease, holdLost: lost.promise, legacy, release: () => hold.release() };
}

/** What 0.1.0 left of a run that this store does not know; null when there is nothing. */
async function legacyOf({ config, folders }: Project, { legacy }: WantedRun): Promise<LegacyImport | null> {
  if (legacy === null) return null;
  return await readLegacyImport({
    outputDir: folders.output,
    run: legacy,
    languages: languageTags(config.run.target_languages),
  });
}

async function takeOverLegacyRun(
  { folders, logger }: Project,
  store: Store,
  legacy: LegacyImport,
): Promise<void> {
  logger.log('info', 'run', `[import] ${legacy.summary}`);
  for (const notice of legacy.notices) logger.log('warn', 'run', `[import] ${notice}`);
  await journalImport(store.journal, legacy);
  await keepLegacyState(folders.output, legacy.runId);
}

function unknownRun(id: RunId, outputDir: string): DlgforgeError {
  return new DlgforgeError(
    'resume',
    `There is no run ${id} to resume: the store does not know it and ${outputDir}/run_state holds no ${id}.json. \`dlgforge runs list\` shows the runs; to start a new one leave run.resume_run_id (RESUME_RUN_ID) empty.`,
  );
}
