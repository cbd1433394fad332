/** The output files of a run: the projection of its dataset, and its run state. */
import { conversationPersistenceId } from '../actors/conversation.ts';
import type { InputsBase } from '../dialogue/conversation-record.ts';
import { payloadOf } from '../export/dataset-rows.ts';
import { answersFromJournal } from '../export/journal-answers.ts';
import { openProjection } from '../export/projection.ts';
import { writeRunState } from '../export/run-state-file.ts';
import type { RunId } from '../kernel/ids.ts';
import type { CommittedConversation, Dataset, Store } from '../ports/store.ts';
import type { Project } from './project.ts';

export type RunStateStatus = 'started' | 'resumed' | 'in_progress' | 'completed';

export interface OutputFiles {
  /** Appends what was committed since. */
  catchUp(): Promise<void>;
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
export async function openFiles(project: Project, { store, dataset, runId, inputs }: FilesOptions): Promise<OutputFiles> {
  const outputDir = project.folders.output;
  const projection = await openProjection({
    outputDir,
    projectRoot: project.root,
    columns: project.config.saving.output_columns,
    journalAnswers: answersOf(store),
    datasetId: dataset.id,
    store,
    logger: project.logger,
  });
  const conversations = () => store.committed(dataset.id, 0, { runId });
  return {
    catchUp: () => projection.catchUp(),
    rebuild: () => projection.rebuild(),
    async writeState(status) {
      const [first, record] = [await firstAgents(conversations()), await store.getRun(runId)];
      await writeRunState({
        outputDir,
        runId,
        status,
        updatedAtMs: record?.updatedAtMs ?? 0,
        inputs,
        agents: first,
        conversations: conversations(),
      });
    },
    close: () => projection.close(),
  };
}

/** The names that the run's records give its models. */
async function firstAgents(conversations: AsyncIterable<CommittedConversation>): Promise<{ user: string; assistant: string }> {
  for await (const conversation of conversations) {
    if (conversation.status === 'committed') return payloadOf(conversation).agents;
  }
  return { user: '', assistant: '' };
}
