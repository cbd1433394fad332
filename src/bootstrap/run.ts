/**
 * `dlgforge run` in one process: prepare (`prepare-run.ts`), generate (`generation.ts`), report. Each step
 * undoes what the ones before it started when it fails.
 */
import type { RunEnd } from '../actors/messages.ts';
import { samplesPerLanguage } from '../config/roles.ts';
import { systemClock } from '../kernel/clock.ts';
import { DlgforgeError, messageOf } from '../kernel/errors.ts';
import { addedSecrets, keysIn } from './endpoint-changes.ts';
import { dialogueContext, inputsBase } from './dialogue-settings.ts';
import { type Generation, startGeneration } from './generation.ts';
import { type PreparedRun, prepareRun } from './prepare-run.ts';
import type { Project } from './project.ts';
import { publishAfterRun } from './push/auto-push.ts';
import { writeFormatsAfterRun } from './push/formats.ts';
import type { RunOptions } from './run-options.ts';
import { type RunEndpoints, watchRunEndpoints } from './run-endpoints.ts';
import { type DetachedRun, reportRun, type RunReport } from './run-report.ts';
import { runSettings } from './run-settings.ts';

export type { ProgressWords, RunObserver, RunOptions, RunStart, RunView } from './run-options.ts';

/** Where the configuration says: in this process, or on a cluster. @throws DlgforgeError as the two do. */
export async function runProject(project: Project, options: RunOptions): Promise<RunReport | DetachedRun> {
  const report = project.config.run.distributed.enabled
    ? await (await import('./cluster/distributed-run.ts')).runDistributed(project, options)
    : await runHere(project, options);
  if (report.status === 'detached') return report;
  // The files are here and complete: whoever wrote them exports and publishes them.
  const withFormats = await writeFormatsAfterRun(project, report);
  return await publishAfterRun(project, options, withFormats);
}

async function runHere(project: Project, options: RunOptions): Promise<RunReport> {
  if (options.detach === true) {
    throw new DlgforgeError(
      'usage',
      '--detach needs a cluster that goes on with the run: set run.distributed.enabled: true (DISTRIBUTED_ENABLED=true).',
    );
  }
  return await runLocally(project, options);
}

/**
 * @throws DlgforgeError when the run cannot start or its files cannot be written. A run that started and did not
 * reach its end is a report with that status; whatever happens, what was paid for is kept.
 */
export async function runLocally(project: Project, options: RunOptions): Promise<RunReport> {
  await using cleanUp = new AsyncDisposableStack();
  const prepared = await prepareRun(project, options, cleanUp);
  const { store, dataset, lease, files, run } = prepared;
  const startedAtMs = Date.now();
  let generation: Generation | null = null;
  const endpoints = await watchEndpoints(prepared, () => generation?.endpointsChanged());
  cleanUp.defer(() => endpoints.stop());
  generation = generate(prepared, endpoints);
  cleanUp.defer(() => generation.close());
  // A dataset that another process has taken over is not this one's to write any more (I2).
  const end = await Promise.race([
    untilEnd(generation, prepared, options),
    prepared.holdLost,
    ...(prepared.replicas === null ? [] : [prepared.replicas.noneLeft]),
  ]);

  options.observer.status('writing the files');
  if (end.type === 'failed' && end.trouble.code === 'held')
    throw new DlgforgeError('held', end.trouble.message);
  const stats = await statsOf(generation);
  const unwritten = await generation.flush().then(
    () => null,
    (error: unknown) => messageOf(error),
  );
  const problem = end.type === 'failed' ? end.trouble.message : unwritten;
  const status = end.type === 'completed' && unwritten !== null ? 'failed' : end.type;
  await store.setRunStatus(run.record.id, lease, status, problem);
  if (unwritten !== null && end.type !== 'failed') throw new DlgforgeError('output', unwritten);
  if (unwritten === null) await files.writeState(end.type === 'completed' ? 'completed' : 'in_progress');
  options.observer.status(null);
  const report = await reportRun({
    project,
    store,
    dataset,
    runId: run.record.id,
    earlier: run.plan.earlier ?? [],
    end,
    stats,
    resumed: run.resumed,
    wallMs: Date.now() - startedAtMs,
  });
  const { config, logger } = project;
  logger.log(
    'info',
    'run',
    `[samples] Completed generation languages=${config.run.target_languages.length} target_per_language=${samplesPerLanguage(config)} total_generated=${report.conversations} status=${end.type}`,
  );
  return report;
}

/** A router that was given up has no figures; why the run ended matters more. */
async function statsOf({ calls }: Generation): Promise<Awaited<ReturnType<Generation['calls']['stats']>>> {
  try {
    return await calls.stats();
  } catch {
    return { ...NO_CALLS, endpoints: [] };
  }
}

const NO_CALLS = {
  calls: 0,
  attempts: 0,
  refused: 0,
  retries: { rate_limit: 0, server: 0, connection: 0, timeout: 0, unreadable: 0 },
  promptTokens: 0,
  cachedTokens: 0,
  completionTokens: 0,
};

async function untilEnd(
  generation: Generation,
  { project, run }: PreparedRun,
  { observer, stop }: RunOptions,
): Promise<RunEnd> {
  observer.started({
    runId: run.record.id,
    resumed: run.resumed,
    languages: project.config.run.target_languages,
    outputDir: project.folders.output,
    view: generation.view,
    calls: generation.calls,
  });
  const onStop = (): void => generation.stop();
  stop.addEventListener('abort', onStop, { once: true });
  if (stop.aborted) onStop();
  const end = await generation.end;
  stop.removeEventListener('abort', onStop);
  return end;
}

/** The endpoints of the run, as people change them while it is on. */
function watchEndpoints(
  { project: { loaded, logger }, store, run, backend: { port, plan } }: PreparedRun,
  onChange: () => void,
): Promise<RunEndpoints> {
  return watchRunEndpoints({
    store,
    runId: run.record.id,
    plan,
    keyOf: keysIn(loaded),
    publishes: true,
    logger,
    onChange(changed) {
      logger.redact(addedSecrets(changed));
      port.setEndpoints(changed.endpoints);
      onChange();
    },
  });
}

function generate(
  { project, assets, knowledge, run, ...parts }: PreparedRun,
  endpoints: RunEndpoints,
): Generation {
  const { config, logger } = project;
  const { id, ordinal } = run.record;
  return startGeneration({
    ...runSettings(config),
    store: parts.store,
    datasetId: parts.dataset.id,
    runId: id,
    lease: parts.lease,
    dialogue: dialogueContext({
      config,
      assets,
      documents: knowledge.retriever.info.documents,
      run: { id, ordinal, memory: run.plan.memory },
    }),
    inputs: inputsBase(config),
    earlier: run.plan.earlier ?? [],
    port: parts.backend.port,
    whyWaiting: (role) => endpoints.whyWaiting(role),
    retriever: knowledge.retriever,
    webSearch: knowledge.webSearch,
    project: () => parts.files.catchUp(),
    clock: systemClock,
    logger,
  });
}
