/** The output files of a run: the projection of its dataset, and its run state. */
import { conversationPersistenceId } from '../actors/conversation.ts';
import type { InputsBase } from '../dialogue/conversation-record.ts';
import { payloadOf, type RowSettings } from '../export/dataset-rows.ts';
import { answersFromJournal } from '../export/journal-answers.ts';
import { openProjection, type Projection } from '../export/projection.ts';
import { writeRunState } from '../export/run-state-file.ts';
import type { RunId } from '../kernel/ids.ts';
import type { CommittedConversation, Dataset, Store } from '../ports/store.ts';
import type { Project } from './project.ts';

export type RunStateStatus = 'started' | 'resumed' | 'in_progress' | 'completed';

export interface OutputFiles {
  /** Appends what was committed since. */
  catchUp(): Promise<void>;
  /** Makes every file anew, but for the run states. */
  rebuild(): Promise<void>;
  /** `run_state/<run>.json` as the run stands now. */
  writeState(status: RunStateStatus): Promise<void>;
  close(): Promise<void>;
}

export interface FilesOptions {
  readonly store: Store;
  readonly dataset: Dataset;
  readonly runId: RunId;
  readonly inputs: InputsBase;
}

/** Where the exporter finds the response bodies of a conversation. */
export const answersOf = (store: Store) =>
  answersFromJournal(store.journal, ({ runId, languageIndex, index }: CommittedConversation) =>
    conversationPersistenceId(runId, languageIndex, index),
  );

/** Repairs what a crash left behind. @throws DlgforgeError `output`. */
export async function openFiles(project: Project, options: FilesOptions): Promise<OutputFiles> {
  const projection = await projectionOf(project, options.store, options.dataset);
  return {
    catchUp: () => projection.catchUp(),
    rebuild: () => projection.rebuild(),
    writeState: (status) => writeStateOf({ ...options, outputDir: project.folders.output, status }),
    close: () => projection.close(),
  };
}

/** The files of a dataset below the project's output folder. */
export function projectionOf(project: Project, store: Store, dataset: Dataset): Promise<Projection> {
  return openProjection({
    ...rowSettings(project, store),
    datasetId: dataset.id,
    store,
    logger: project.logger,
  });
}

export const rowSettings = (project: Project, store: Store): RowSettings => ({
  outputDir: project.folders.output,
  projectRoot: project.root,
  columns: project.config.saving.output_columns,
  journalAnswers: answersOf(store),
});

export interface StateOptions extends Omit<FilesOptions, 'dataset'> {
  readonly dataset: Pick<Dataset, 'id'>;
  readonly outputDir: string;
  readonly status: RunStateStatus;
}

/** Writes `run_state/<run>.json` as the run stands now, and names the run in `last_run_id.txt`. */
export async function writeStateOf({
  store,
  dataset,
  runId,
  inputs,
  outputDir,
  status,
}: StateOptions): Promise<void> {
  const conversations = () => store.committed(dataset.id, 0, { runId });
  const [agents, record] = [await firstAgents(conversations()), await store.getRun(runId)];
  await writeRunState({
    outputDir,
    runId,
    status,
    updatedAtMs: record?.updatedAtMs ?? 0,
    inputs,
    agents,
    conversations: conversations(),
  });
}

/** The names that the run's records give its models. */
async function firstAgents(
  conversations: AsyncIterable<CommittedConversation>,
): Promise<{ user: string; assistant: string }> {
  for await (const conversation of conversations) {
    if (conversation.status === 'committed') return payloadOf(conversation).agents;
  }
  return { user: '', assistant: '' };
}
