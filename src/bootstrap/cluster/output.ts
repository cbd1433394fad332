/** The output folder of a run that is followed from here: held, and opened, before anything is spent. */
import type { RunId } from '../../kernel/ids.ts';
import type { Dataset, Store } from '../../ports/store.ts';
import { inputsBase } from '../dialogue-settings.ts';
import { openFiles, type OutputFiles } from '../files.ts';
import type { Project } from '../project.ts';
import { holdFolder } from './folder-hold.ts';

export interface Output {
  readonly dataset: Dataset;
  readonly files: OutputFiles;
}

/** @throws DlgforgeError `held` when another process writes there, `output` when it cannot be written. */
export async function openOutput(
  project: Project,
  store: Store,
  run: { readonly id: RunId; readonly dataset: Dataset; readonly resumed: boolean },
  command: string,
  cleanUp: AsyncDisposableStack,
): Promise<Output> {
  const { dataset } = run;
  const folder = await holdFolder(store, project.folders.output, command);
  cleanUp.defer(() => folder.release());
  const files = await openFiles(project, {
    store,
    dataset,
    runId: run.id,
    inputs: inputsBase(project.config),
  });
  cleanUp.defer(() => files.close());
  await files.catchUp();
  return { dataset, files };
}
