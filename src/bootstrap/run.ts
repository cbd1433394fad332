/**
 * `dlgforge run` in one process: config and preflight, store, dataset, knowledge, models, actors, files.
 * Each step undoes what the ones before it started when it fails.
 */
import { createPlanner } from '../dialogue/planner.ts';
import { preparePrompts } from '../dialogue/prompts.ts';
import { problemsError } from '../config/problem.ts';
import { checkRequirements } from '../config/requirements.ts';
import { samplesPerLanguage } from '../config/roles.ts';
import type { RunEnd, RunView } from '../actors/messages.ts';
import type { InputsBase } from '../dialogue/conversation-record.ts';
import { type DialogueSettings, languageTags } from '../dialogue/settings.ts';
import { keepLegacyState } from '../export/legacy-run.ts';
import { systemClock } from '../kernel/clock.ts';
import { DlgforgeError, messageOf } from '../kernel/errors.ts';
import type { RunId } from '../kernel/ids.ts';
import type { Strategy } from '../actors/endpoint-router/choose.ts';
import type { Dataset, RunStatus, Store } from '../ports/store.ts';
import { type DialogueAssets, loadDialogueAssets } from './assets.ts';
import { openBackend, secretsOf } from './backend.ts';
import { datasetIdOf, openDataset } from './dataset.ts';
import { dialogueSettings, inputsBase, languageSources } from './dialogue-settings.ts';
import { openFiles, type OutputFiles } from './files.ts';
import { fingerprintOf } from './fingerprint.ts';
import { type Generation, startGeneration } from './generation.ts';
import { holdDataset } from './hold.ts';
import { type Knowledge, openKnowledge } from './knowledge.ts';
import type { Project } from './project.ts';
import { journalImport, type LegacyImport, readLegacyImport } from './legacy-import.ts';
import { openProjectStore } from './project-store.ts';
import { openRun, type WantedRun, wantedRun } from './run-record.ts';
import { reportRun, type RunReport } from './run-report.ts';

export type { RunView };

export interface RunOptions {
  readonly allowConfigChange: boolean;
  /** The command line, shown to others that meet our hold. */
  readonly command: string;
  readonly observer: RunObserver;
  /** Aborts at the first request to stop; what is in flight may finish. */
  readonly stop: AbortSignal;
}

/** What a person is shown while it happens. */
export interface RunObserver {
  /** What is being done or waited for; null when that is over. */
  status(text: string | null): void;
  started(run: RunStart): void;
}

export interface RunStart {
  readonly runId: RunId;
  readonly resumed: boolean;
  readonly languages: readonly string[];
  readonly outputDir: string;
  view(): Promise<RunView>;
  readonly calls: Generation['calls'];
}

/**
 * @throws DlgforgeError when the run cannot start or its files cannot be written. A run that started and did not
 * reach its end is a report with that status; whatever happens, what was paid for is kept.
 */
export async function runLocally(project: Project, options: RunOptions): Promise<RunReport> {
  const { config, loaded, logger, folders } = project;
  const { observer } = options;
  const requirements = checkRequirements(loaded, 'run');
  for (const notice of requirements.notices) logger.log('warn', 'config', notice);
  if (requirements.problems.length > 0) throw problemsError('config', requirements.problems);
  if (config.run.distributed.enabled) throw noClusterYet();
  logger.redact(secretsOf(loaded, requirements.keys));
  const assets = await loadDialogueAssets(config, project.root);
  for (const notice of assets.notices) logger.log('warn', 'config', notice);

  await using cleanUp = new AsyncDisposableStack();
  observer.status('indexing the knowledge folder');
  const knowledge = await openKnowledge(project, {
    onProgress: ({ done, total }) =>
      observer.status(`indexing the knowledge folder: ${done} of ${total} documents`),
    signal: options.stop,
  });
  cleanUp.defer(() => knowledge.close());
  for (const { source, reason } of knowledge.report.skipped) {
    logger.log('warn', 'retrieval', `[retrieval] skipped ${source}: ${reason}`);
  }

  observer.status('opening the store');
  const store = await openProjectStore(project, { onWaiting: (message) => observer.status(message) });
  cleanUp.defer(() => store.close());
  const wanted = await wantedRun(store, config, folders.output);
  const datasetId = await datasetIdOf(folders.output, wanted.stored?.datasetId ?? null);
  const hold = await holdDataset(store, datasetId, options.command, (error) =>
    logger.log('error', 'store', `[store] the hold on the dataset was not renewed: ${messageOf(error)}`),
  );
  cleanUp.defer(() => hold.release());
  const legacy = await legacyOf(project, wanted);
  if (wanted.stored === null && wanted.mustExist && (legacy?.stateCount ?? 0) === 0)
    throw unknownRun(wanted.id, folders.output);
  const dataset = await openDataset(store, datasetId, folders.output, logger, legacy?.unfinishedQuestions);
  if (legacy !== null) await takeOverLegacyRun(project, store, legacy);
  const fingerprint = fingerprintOf(config, assets, knowledge.retriever.info.fingerprint);
  const run = await openRun({
    ...options,
    store,
    wanted,
    earlier: legacy?.earlier ?? null,
    dataset,
    lease: hold.lease,
    config,
    fingerprint,
  });
  const settings = dialogueSettings(config, assets, {
    id: run.record.id,
    ordinal: run.record.ordinal,
    memory: run.plan.memory,
  });
  const inputs = inputsBase(config);
  const files = await openFiles(project, { store, dataset, runId: run.record.id, inputs });
  cleanUp.defer(() => files.close());
  await files.catchUp();
  await files.writeState(run.resumed ? 'resumed' : 'started');

  observer.status('preparing the models');
  const backend = await openBackend({ loaded, ...requirements, capabilities: store.capabilities, logger });
  cleanUp.defer(() => backend.close());
  observer.status(null);

  const startedAtMs = Date.now();
  const generation = generate({
    project,
    store,
    dataset,
    knowledge,
    assets,
    settings,
    inputs,
    files,
    backend,
    run,
    lease: hold.lease,
  });
  cleanUp.defer(() => generation.close());
  const { calls } = generation;
  observer.started({
    runId: run.record.id,
    resumed: run.resumed,
    languages: config.run.target_languages,
    outputDir: folders.output,
    view: generation.view,
    calls,
  });
  const stop = (): void => generation.stop();
  options.stop.addEventListener('abort', stop, { once: true });
  if (options.stop.aborted) stop();
  const end = await generation.end;
  options.stop.removeEventListener('abort', stop);
  observer.status('writing the files');
  const stats = await calls.stats();
  await generation.flush();
  await store.setRunStatus(
    run.record.id,
    hold.lease,
    statusOf(end),
    end.type === 'failed' ? end.trouble.message : null,
  );
  await files.writeState(end.type === 'completed' ? 'completed' : 'in_progress');
  observer.status(null);
  const earlier = run.plan.earlier ?? [];
  const report = await reportRun({
    project,
    store,
    dataset,
    runId: run.record.id,
    earlier,
    end,
    stats,
    resumed: run.resumed,
    wallMs: Date.now() - startedAtMs,
  });
  logger.log(
    'info',
    'run',
    `[samples] Completed generation languages=${settings.languages.length} target_per_language=${samplesPerLanguage(config)} total_generated=${report.conversations} status=${end.type}`,
  );
  return report;
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

interface Parts {
  readonly project: Project;
  readonly store: Store;
  readonly dataset: Dataset;
  readonly knowledge: Knowledge;
  readonly assets: DialogueAssets;
  readonly settings: DialogueSettings;
  readonly inputs: InputsBase;
  readonly files: OutputFiles;
  readonly backend: Awaited<ReturnType<typeof openBackend>>;
  readonly run: Awaited<ReturnType<typeof openRun>>;
  readonly lease: Awaited<ReturnType<typeof holdDataset>>['lease'];
}

function generate(parts: Parts): Generation {
  const { project, knowledge, assets, settings, run } = parts;
  const { config, logger } = project;
  const { run: settingsOfRun, llm } = config;
  const sources = languageSources(config, knowledge.retriever.info.documents, assets.seeds, run.plan.memory);
  const prompts = preparePrompts(assets.prompts, {
    judgeReasons: config.judge.reasons,
    topK: settings.topK,
    question: settings.question,
  });
  return startGeneration({
    store: parts.store,
    datasetId: parts.dataset.id,
    runId: run.record.id,
    lease: parts.lease,
    dialogue: { settings, planner: createPlanner(settings, sources), prompts },
    inputs: parts.inputs,
    totalSamples: samplesPerLanguage(config),
    earlier: run.plan.earlier ?? [],
    batchSize: settingsOfRun.batch_size,
    consecutiveDropsMax: settingsOfRun.max_consecutive_drops,
    port: parts.backend.port,
    strategy: llm.routing.strategy,
    roleStrategies: roleStrategies(config),
    retriever: knowledge.retriever,
    webSearch: knowledge.webSearch,
    project: () => parts.files.catchUp(),
    patienceMs: settingsOfRun.endpoint_patience_s * 1000,
    shutdownGraceMs: settingsOfRun.shutdown_grace_s * 1000,
    clock: systemClock,
    logger,
  });
}

function roleStrategies(
  config: Project['config'],
): Partial<Record<'user' | 'assistant' | 'judge', Strategy>> {
  const { user, assistant, judge } = config.llm.agents;
  const entries = Object.entries({ user, assistant, judge }).filter(
    ([, agent]) => agent.routing.strategy !== null,
  );
  return Object.fromEntries(entries.map(([role, agent]) => [role, agent.routing.strategy as Strategy]));
}

function statusOf(end: RunEnd): RunStatus {
  return end.type;
}

function unknownRun(id: RunId, outputDir: string): DlgforgeError {
  return new DlgforgeError(
    'resume',
    `There is no run ${id} to resume: the store does not know it and ${outputDir}/run_state holds no ${id}.json. \`dlgforge runs list\` shows the runs; to start a new one leave run.resume_run_id (RESUME_RUN_ID) empty.`,
  );
}

function noClusterYet(): DlgforgeError {
  return new DlgforgeError(
    'config',
    'run.distributed.enabled is true, but this release runs in one process. Set run.distributed.enabled: false (DISTRIBUTED_ENABLED=false).',
  );
}
