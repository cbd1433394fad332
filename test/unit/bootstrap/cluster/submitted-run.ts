/** A run as its submitter leaves it in the store, for tests of what other nodes make of it. */
import { loadDialogueAssets } from '../../../../src/bootstrap/assets.ts';
import { secretsOf } from '../../../../src/bootstrap/backend.ts';
import { type RunSpec, specOf } from '../../../../src/bootstrap/cluster/run-spec.ts';
import type { Environment } from '../../../../src/config/environment.ts';
import type { LoadedConfig } from '../../../../src/config/load.ts';
import { checkRequirements } from '../../../../src/config/requirements.ts';
import { withoutSecrets } from '../../../../src/config/show.ts';
import type { DocumentEntry } from '../../../../src/dialogue/passage.ts';
import { datasetId, runId } from '../../../../src/kernel/ids.ts';
import { CLUSTER_HOST } from '../../../../src/ports/store.ts';
import { MemoryStore } from '../../../../src/store/memory-store.ts';
import { load } from '../../config/project.ts';

export const RUN = runId('R');
export const DATASET = datasetId('D');
export const FINGERPRINT = 'f'.repeat(64);
export const DOCUMENTS: readonly DocumentEntry[] = [
  { source: 'a.md', passageIds: ['a0', 'a1'] },
  { source: 'b.md', passageIds: ['b0', 'b1', 'b2'] },
];

export interface Submitted {
  readonly loaded: LoadedConfig;
  readonly spec: RunSpec;
}

export async function submitted(
  yaml: string,
  env: Environment = {},
  command = 'dlgforge run config.yaml',
): Promise<Submitted> {
  const loaded = load(yaml, env);
  const { keys, keyVariables } = checkRequirements(loaded, 'run');
  const spec = specOf({
    loaded,
    keyVariables,
    assets: await loadDialogueAssets(loaded.config, loaded.projectRoot),
    knowledge: {
      fingerprint: FINGERPRINT,
      documents: DOCUMENTS,
      passageCount: 5,
      mode: 'full_text',
      embedder: null,
    },
    place: { type: 'blob', name: `index-${FINGERPRINT}`, folder: '/somewhere/knowledge_index' },
    command,
    submittedAfter: 0,
    secrets: secretsOf(loaded, keys),
  });
  return { loaded, spec };
}

/** A store with the run in it, as the submitter's process makes it. */
export async function storeWith({ loaded, spec }: Submitted): Promise<MemoryStore> {
  const store = new MemoryStore();
  await store.openDataset(DATASET, '/nowhere');
  const memory = { passageUses: [], seedUses: [], recentQuestions: ['What was asked before?'] };
  await store.createRun({
    id: RUN,
    datasetId: DATASET,
    config: withoutSecrets(loaded.config),
    fingerprint: {},
    plan: { memory },
  });
  const holder = {
    host: CLUSTER_HOST,
    pid: 1,
    processKey: 'n',
    command: 'test',
    sinceMs: 0,
  };
  const granted = await store.acquireLease(`dataset/${DATASET}`, holder, 1_000, () => false);
  if (granted.type !== 'granted') throw new Error('the dataset is held');
  await store.saveRunSpec(RUN, granted.lease, spec);
  return store;
}
