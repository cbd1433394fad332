/**
 * From what the store knows of a run to what leading it and working on it take. Loads nothing heavy: a
 * leader needs neither models nor an index, and the model client is loaded when a worker opens it.
 */
import type { EarlierCounts } from '../../actors/earlier-counts.ts';
import { serperKey } from '../../config/credentials.ts';
import type { Environment } from '../../config/environment.ts';
import { type RestoredConfig, restoreConfig } from '../../config/restore.ts';
import type { Config } from '../../config/schema.ts';
import type { DialogueContext } from '../../dialogue/conversation.ts';
import type { InputsBase } from '../../dialogue/conversation-record.ts';
import { DlgforgeError } from '../../kernel/errors.ts';
import type { DatasetId, RunId } from '../../kernel/ids.ts';
import type { Logger } from '../../kernel/logger.ts';
import type { EndpointPlan } from '../../llm/plan-endpoints.ts';
import type { OpenAiModelPort } from '../../llm/openai-model.ts';
import type { EndpointSpec } from '../../ports/model.ts';
import type { WebSearch } from '../../ports/retriever.ts';
import type { RunRecord, Store } from '../../ports/store.ts';
import { dialogueContext, inputsBase } from '../dialogue-settings.ts';
import { endpointSpecs, nodePlan } from '../endpoint-plan.ts';
import type { StoredPlan } from '../run-record.ts';
import { type RunSettings, runSettings } from '../run-settings.ts';
import { readSpec, type RunSpec } from './run-spec.ts';

export interface RunPartsOptions {
  readonly store: Pick<Store, 'getRun' | 'runSpec'>;
  readonly runId: RunId;
  /** This node's, with its `.env`. */
  readonly environment: Environment;
  readonly logger: Logger;
  /** The configuration as it was written, in a process of the submitter's; its inline keys then count. */
  readonly own?: Config;
}

/** Everything that a leader needs. */
export interface RunParts extends RunSettings {
  readonly runId: RunId;
  readonly datasetId: DatasetId;
  readonly spec: RunSpec;
  readonly record: RunRecord;
  readonly restored: RestoredConfig;
  readonly config: Config;
  readonly dialogue: DialogueContext;
  readonly inputs: InputsBase;
  readonly earlier: readonly EarlierCounts[];
  /** As configured. Of a leader it has no rehearsal that could be asked. */
  readonly plan: EndpointPlan;
  /** The endpoints of a plan as the router knows them, the same on every node. */
  readonly specsOf: (plan: EndpointPlan) => readonly EndpointSpec[];
  /** Keys that this node lacks to work on the run, in words; with any of them it takes no conversations. */
  readonly lacks: readonly string[];
}

/** What a worker has besides. */
export interface WorkerParts extends RunParts {
  readonly port: OpenAiModelPort;
  readonly webSearch: WebSearch | null;
  close(): Promise<void>;
}

/** Never connected to: a leader only needs names and limits. */
const SOME_REHEARSAL = 'http://127.0.0.1';

/** @throws DlgforgeError `resume` or `refused` when this node cannot take part in the run, saying why. */
export async function loadRunParts(options: RunPartsOptions): Promise<RunParts> {
  const { store, runId, environment, own } = options;
  const [record, storedSpec] = await Promise.all([store.getRun(runId), store.runSpec(runId)]);
  if (record === null) {
    throw new DlgforgeError('resume', `There is no run ${runId}. \`dlgforge runs list\` shows the runs.`);
  }
  const spec = readSpec(runId, storedSpec);
  const restored = restoreConfig(spec.config, environment, own ?? null);
  const { config } = restored;
  const stored = record.plan as StoredPlan;
  const isRehearsal = config.llm.backend === 'rehearsal';
  return {
    ...runSettings(config),
    runId,
    datasetId: record.datasetId,
    spec,
    record,
    restored,
    config,
    dialogue: dialogueContext({
      config,
      assets: spec.assets,
      documents: spec.knowledge.documents,
      run: { id: record.id, ordinal: record.ordinal, memory: stored.memory },
    }),
    inputs: inputsBase(config),
    earlier: stored.earlier ?? [],
    plan: nodePlan(restored, spec.config, isRehearsal ? SOME_REHEARSAL : null),
    specsOf: (plan) => endpointSpecs(plan, isRehearsal ? runId : null),
    lacks: restored.lacks.work,
  };
}

export interface WorkerPartsOptions extends Omit<RunPartsOptions, 'store'> {
  readonly store: Pick<Store, 'getRun' | 'runSpec' | 'capabilities'>;
}

/**
 * Also for a node that `lacks` keys: it says so, and takes no work.
 * @throws DlgforgeError like `loadRunParts`, and `config` or `endpoint` when the models cannot be reached.
 */
export async function openWorkerParts(options: WorkerPartsOptions): Promise<WorkerParts> {
  const parts = await loadRunParts(options);
  const { restored, spec } = parts;
  const { openPlanned } = await import('../backend.ts');
  const backend = await openPlanned(
    { loaded: restored, capabilities: options.store.capabilities, logger: options.logger },
    (rehearsalUrl) => nodePlan(restored, spec.config, rehearsalUrl),
  );
  try {
    const webSearch = await webSearchOf(restored, options.logger);
    const { port, plan } = backend;
    return { ...parts, plan, port, webSearch, close: () => backend.close() };
  } catch (error) {
    await backend.close();
    throw error;
  }
}

async function webSearchOf(
  { config, environment }: RestoredConfig,
  logger: Logger,
): Promise<WebSearch | null> {
  const { enabled, serper_num_results: results, serper_timeout: timeoutS } = config.tools.web_search;
  if (!enabled) return null;
  const { SerperWebSearch } = await import('../../retrieval/serper-web-search.ts');
  const key = (): string | null => serperKey(environment)?.reveal() ?? null;
  return new SerperWebSearch({ key, results, timeoutMs: timeoutS * 1000, logger });
}
