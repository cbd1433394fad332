/** Everything that comes before the first question to the judge. Nothing is spent here. */
import { problemsError } from '../../config/problem.ts';
import { checkRequirements, type Requirements } from '../../config/requirements.ts';
import { judgeModelOf } from '../../config/roles.ts';
import { secretsOf } from '../../config/secrets-of.ts';
import { type JudgePass, judgePassOf } from '../../dialogue/judge-pass.ts';
import { preparePrompts, type Prompts } from '../../dialogue/prompts.ts';
import { conversationFileNames } from '../../export/legacy-record.ts';
import { readMarker } from '../../export/marker.ts';
import type { Projection } from '../../export/projection.ts';
import { DlgforgeError, isDlgforgeError, messageOf } from '../../kernel/errors.ts';
import type { DatasetId } from '../../kernel/ids.ts';
import type { LeaseGrant, Store } from '../../ports/store.ts';
import { loadPrompts } from '../assets.ts';
import { holdFolder } from '../cluster/folder-hold.ts';
import { openStoreOfProject } from '../cluster/runs-store.ts';
import { datasetIdOf, ownDatasetId } from '../dataset.ts';
import { projectionOf } from '../files.ts';
import { holdDataset, thisProcess } from '../hold.ts';
import { openProjectStore } from '../project-store.ts';
import type { Project } from '../project.ts';
import type { JudgeOptions } from './judge-options.ts';

export interface PreparedJudge {
  readonly requirements: Requirements;
  readonly prompts: Prompts;
  readonly pass: JudgePass;
  readonly store: Store;
  readonly datasetId: DatasetId;
  readonly lease: LeaseGrant;
  /** Aborts when another process has taken the dataset over. */
  readonly holdLost: AbortSignal;
  readonly projection: Projection;
}

/** @throws DlgforgeError with everything that is off; `output` when there is nothing to judge. */
export async function prepareJudge(
  project: Project,
  { command, observer, model }: JudgeOptions,
  cleanUp: AsyncDisposableStack,
): Promise<PreparedJudge> {
  const requirements = required(project);
  const { prompts, pass } = await passOf(project);
  if (model !== null && pass.model !== model.trim()) throw notTheModel(model, pass);
  const outputDir = project.folders.output;

  observer.status('opening the store');
  const store = await openStore(project, (text) => observer.status(text));
  cleanUp.defer(() => store.close());
  const known = await ownDatasetId(store, outputDir);
  if (!(await hasConversations(store, known, outputDir))) throw nothingToJudge(outputDir);
  // Until a folder has its marker, nothing else says that two processes mean the same dataset.
  if ((await readMarker(outputDir)) === null) {
    const folder = await holdFolder(store, outputDir, command);
    cleanUp.defer(() => folder.release());
  }
  const datasetId = await datasetIdOf(outputDir, known, project.config.saving.dataset_id);
  const lost = new AbortController();
  const hold = await holdDataset(store, datasetId, thisProcess(command), (error) => {
    project.logger.log(
      'error',
      'store',
      `[store] the hold on the dataset was not renewed: ${messageOf(error)}`,
    );
    if (isDlgforgeError(error, 'stale_epoch')) lost.abort();
  });
  cleanUp.defer(() => hold.release());
  // An old ledger is left for the run that goes on with it: only that knows which questions are unfinished.
  const dataset = await store.openDataset(datasetId, outputDir);
  observer.status('bringing the files up to date');
  const projection = await projectionOf(project, store, dataset);
  cleanUp.defer(() => projection.close());
  await projection.catchUp();
  observer.status(null);
  return {
    requirements,
    prompts,
    pass,
    store,
    datasetId,
    lease: hold.lease,
    holdLost: lost.signal,
    projection,
  };
}

function required({ loaded, config, logger }: Project): Requirements {
  const requirements = checkRequirements(loaded, 'judge');
  for (const notice of requirements.notices) logger.log('warn', 'config', notice);
  if (requirements.problems.length > 0) throw problemsError('config', requirements.problems);
  if (!config.judge.enabled) {
    throw new DlgforgeError(
      'config',
      'judge.enabled is false, so there is no judge. Set judge.enabled: true, or add --set judge.enabled=true to this command.',
    );
  }
  logger.redact(secretsOf(loaded, requirements.keys));
  return requirements;
}

async function passOf({
  config,
  root,
}: Project): Promise<{ readonly prompts: Prompts; readonly pass: JudgePass }> {
  const prompts = preparePrompts(await loadPrompts(config, root), {
    judgeReasons: config.judge.reasons,
    topK: config.tools.retrieval.top_k,
    question: config.run.data.seeding.question,
  });
  return { prompts, pass: judgePassOf(prompts, config.judge.granularity, judgeModelOf(config)) };
}

async function openStore(project: Project, onWaiting: (text: string | null) => void): Promise<Store> {
  const opened = await openStoreOfProject(project, onWaiting);
  if (opened.store !== null) return opened.store;
  // A project of 0.1.0 has files and no store; without files there is nothing to make one for.
  const { output } = project.folders;
  if ((await conversationFileNames(output)).length === 0) throw nothingToJudge(output);
  return await openProjectStore(project, { onWaiting });
}

async function hasConversations(store: Store, id: DatasetId | null, outputDir: string): Promise<boolean> {
  if ((await conversationFileNames(outputDir)).length > 0) return true;
  if (id === null) return false;
  for await (const { status } of store.committed(id, 0)) if (status === 'committed') return true;
  return false;
}

const notTheModel = (model: string, pass: JudgePass): DlgforgeError =>
  new DlgforgeError(
    'usage',
    `--model ${model}: the endpoints that serve the judge name their own models (${pass.model}), so this one would not be asked. Name it at these endpoints (llm.routing.endpoints, llm.agents.judge.routing.endpoints), or leave --model out.`,
  );

export const nothingToJudge = (outputDir: string): DlgforgeError =>
  new DlgforgeError(
    'output',
    `There is nothing to judge: the store knows no conversations of ${outputDir}, and no conversation files were found under ${outputDir}/conversations. ` +
      '`dlgforge run` makes conversations; for those of 0.1.0 point saving.output_dir (--output-dir) to their folder.',
  );
