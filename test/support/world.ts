/** A whole run in one process: memory store and retriever, the real rehearsal server behind the real client. */
import type { Strategy } from '../../src/actors/endpoint-router/choose.ts';
import type { RunEnd } from '../../src/actors/messages.ts';
import { startGeneration } from '../../src/bootstrap/generation.ts';
import type { Passage } from '../../src/dialogue/passage.ts';
import type { DialogueSettings } from '../../src/dialogue/settings.ts';
import { type Clock, systemClock } from '../../src/kernel/clock.ts';
import { datasetId, runId } from '../../src/kernel/ids.ts';
import { type Logger, silentLogger } from '../../src/kernel/logger.ts';
import { createModelPort } from '../../src/llm/openai-model.ts';
import type { ModelPort } from '../../src/ports/model.ts';
import type { Retriever, WebSearch } from '../../src/ports/retriever.ts';
import type { CommittedConversation, Store } from '../../src/ports/store.ts';
import { dialogueOf, INPUTS } from './dialogue-context.ts';
import { memoryRetriever, seaPassages } from './memory-retriever.ts';

export { dialogueOf, INPUTS } from './dialogue-context.ts';

export interface WorldOptions {
  readonly store: Store;
  readonly url: string;
  /** Of further replicas of the same model. @default none */
  readonly moreUrls?: readonly string[];
  /** @default 'weighted_least_inflight' */
  readonly strategy?: Strategy;
  /** What the planner deals. @default those of `seaPassages` */
  readonly passages?: readonly Passage[];
  readonly languages?: readonly string[];
  readonly totalSamples?: number;
  readonly batchSize?: number;
  readonly maxInFlight?: number;
  readonly settings?: Partial<DialogueSettings>;
  readonly consecutiveDropsMax?: number;
  readonly logger?: Logger;
  readonly timeoutMs?: number;
  readonly patienceMs?: number;
  readonly strictMessages?: boolean;
  readonly retriever?: Retriever;
  readonly webSearch?: WebSearch | null;
  readonly project?: () => Promise<void>;
  /** @default the system's; `hurried` makes pauses short */
  readonly clock?: Clock;
  readonly shutdownGraceMs?: number;
}

/** Pauses, back-offs and patience pass twenty times as fast; calls and their timeouts do not. */
export const hurried: Clock = {
  now: () => Date.now() * 20,
  schedule: (delayMs, callback) => systemClock.schedule(delayMs / 20, callback),
};

export interface World {
  readonly end: Promise<RunEnd>;
  stop(): void;
  close(): Promise<void>;
  view: ReturnType<typeof startGeneration>['view'];
  calls: ReturnType<typeof startGeneration>['calls'];
  flush: ReturnType<typeof startGeneration>['flush'];
  actors: ReturnType<typeof startGeneration>['actors'];
}

export const DATASET = datasetId('D');
export const RUN = runId('R');
const HOLDER = { host: 'test', pid: 1, processKey: 'test', command: 'test', sinceMs: 0 };

export async function startWorld(options: WorldOptions): Promise<World> {
  const { store, logger = silentLogger } = options;
  const dialogue = dialogueOf(options);
  await openRun(store);
  const granted = await store.acquireLease('dataset/D', HOLDER, 1_000, () => false);
  if (granted.type !== 'granted') throw new Error('the dataset is held');
  const port = rehearsalPort({ ...options, logger });
  const generation = startGeneration({
    store,
    datasetId: DATASET,
    runId: RUN,
    lease: granted.lease,
    dialogue,
    inputs: INPUTS,
    totalSamples: options.totalSamples ?? 6,
    batchSize: options.batchSize ?? 8,
    consecutiveDropsMax: options.consecutiveDropsMax ?? 10,
    port,
    strategy: options.strategy ?? 'weighted_least_inflight',
    roleStrategies: {},
    retriever: options.retriever ?? memoryRetriever(options.passages ?? seaPassages()),
    webSearch: options.webSearch ?? null,
    project: options.project ?? (async () => undefined),
    patienceMs: options.patienceMs ?? 20_000,
    shutdownGraceMs: options.shutdownGraceMs ?? 5_000,
    clock: options.clock ?? systemClock,
    logger,
    ...(options.strictMessages === undefined ? {} : { strictMessages: options.strictMessages }),
  });
  return {
    end: generation.end,
    view: generation.view,
    calls: generation.calls,
    flush: generation.flush,
    actors: generation.actors,
    stop: () => generation.stop(),
    async close() {
      await generation.close();
      await port.close();
    },
  };
}

/** The dataset and its run, unless they are there. */
export async function openRun(store: Store): Promise<void> {
  await store.openDataset(DATASET, '/nowhere');
  if ((await store.getRun(RUN)) !== null) return;
  await store.createRun({ id: RUN, datasetId: DATASET, config: {}, fingerprint: {}, plan: {} });
}

/** The real client to a rehearsal server that serves every role. */
export function rehearsalPort(
  options: Pick<WorldOptions, 'url' | 'moreUrls' | 'store' | 'maxInFlight' | 'timeoutMs'> & {
    readonly logger: Logger;
  },
): ModelPort {
  const role = {
    provider: '',
    model: 'rehearsal',
    temperature: null,
    maxTokens: null,
    topP: null,
    timeoutMs: options.timeoutMs ?? 5_000,
    maxRetries: null,
    extra: {},
  };
  return createModelPort({
    endpoints: [options.url, ...(options.moreUrls ?? [])].map((url, index) => ({
      name: index === 0 ? 'rehearsal' : `rehearsal-${index}`,
      provider: 'hosted_vllm',
      baseUrl: `${url}/v1`,
      roles: ['user', 'assistant', 'judge'] as const,
      weight: 1,
      maxInFlight: options.maxInFlight ?? 16,
      timeoutMs: null,
      model: null,
      key: () => null,
    })),
    roles: { user: role, assistant: role, judge: role },
    capabilities: options.store.capabilities,
    logger: options.logger,
  });
}

type Row = Omit<CommittedConversation, 'committedAtMs' | 'epoch'>;

/** Everything committed, in order, without the store's times and who led the run. */
export async function datasetOf(store: Store): Promise<Row[]> {
  const rows: Row[] = [];
  for await (const { committedAtMs: _, epoch: __, ...row } of store.committed(DATASET, 0)) rows.push(row);
  return rows;
}
