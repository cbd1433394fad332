/** A judge's pass through a provider's batches: which endpoint, which limits, and what is looked at again. */
import {
  type BatchCounts,
  type BatchedPassOptions,
  endBatches,
  runBatchedPass,
} from '../../actors/judging/batch/run-batched-pass.ts';
import { openParts } from '../../actors/judging/batch/batch-record.ts';
import type { PassEnd } from '../../actors/judging/run-judge-pass.ts';
import { servedByUs } from '../../config/roles.ts';
import type { Config } from '../../config/schema.ts';
import { systemClock } from '../../kernel/clock.ts';
import { DlgforgeError } from '../../kernel/errors.ts';
import { createBatchPort } from '../../llm/batch/openai-batches.ts';
import type { EndpointConfig } from '../../llm/settings.ts';
import type { Store } from '../../ports/store.ts';
import type { StoredVerdict } from '../../ports/verdicts.ts';
import type { Backend } from '../backend.ts';
import type { Project } from '../project.ts';
import type { RunObserver } from '../run-options.ts';
import { runSettings } from '../run-settings.ts';
import { type Planned, unitsOf } from './judge-plan.ts';

/** What both ways of asking need. */
export type PassParts = Omit<
  BatchedPassOptions,
  'look' | 'batches' | 'limits' | 'clock' | 'onStatus' | 'counts' | 'journal'
>;

export interface BatchJudging {
  readonly project: Project;
  readonly store: Pick<Store, 'journal' | 'capabilities'>;
  readonly backend: Backend;
  readonly observer: RunObserver;
  readonly parts: PassParts;
  readonly counts: BatchCounts;
}

export const noBatches = (): BatchCounts => ({ created: 0, requests: 0, ignored: 0, open: 0 });

/** @throws DlgforgeError `usage` before anything is started, where only servers of ours would be asked. */
export function checkBatchable({ config }: Project): void {
  if (config.llm.backend === 'vllm_managed' && servedByUs(config, 'judge')) throw noEndpoint();
}

/** @param look what is missing now; called before each round of batches. */
export async function judgeInBatches(
  judging: BatchJudging,
  look: () => AsyncIterable<Planned>,
): Promise<PassEnd> {
  const { project, store, parts, counts } = judging;
  const open = await openParts(store.journal, parts.datasetId, parts.pass);
  const judges = judgesOf(judging.backend);
  const endpoint = judges.find(({ name }) => name === open[0]?.endpoint) ?? judges[0];
  if (endpoint === undefined) throw noEndpoint();
  const others = judges.length - 1;
  if (others > 0) {
    const text = `[batch] batches go to ${endpoint.name}; the ${others} other endpoints of the judge are not asked`;
    project.logger.log('warn', 'judge', text);
  }
  const end = await withBatches(judging, endpoint, (options) =>
    runBatchedPass({ ...options, look: () => unitsOf(look()) }),
  );
  if (end.type !== 'completed' && counts.open > 0) {
    project.logger.log(
      'warn',
      'judge',
      `[batch] ${counts.open === 1 ? 'A batch goes' : `${counts.open} batches go`} on at ${endpoint.name}. The same command fetches what is answered and pays for nothing again.`,
    );
  }
  return end;
}

/** Before single calls: what batches of an earlier command were asked is not asked again if it can be helped. */
export async function endOpenBatches(judging: BatchJudging): Promise<PassEnd> {
  const { project, store, parts, backend, observer } = judging;
  const open = await openParts(store.journal, parts.datasetId, parts.pass);
  const [first] = open;
  if (first === undefined) return { type: 'completed' };
  const endpoint = judgesOf(backend).find(({ name }) => name === first.endpoint);
  if (endpoint === undefined) {
    const text = `[batch] ${open.length} batches of this pass are open at ${first.endpoint}, which is no endpoint of the judge now: their requests are asked again`;
    project.logger.log('warn', 'judge', text);
    return { type: 'completed' };
  }
  observer.status('ending the batches of an earlier command with --batch');
  return await withBatches(judging, endpoint, endBatches);
}

async function withBatches(
  { project: { config, logger }, store, backend, observer, parts, counts }: BatchJudging,
  endpoint: EndpointConfig,
  use: (options: Omit<BatchedPassOptions, 'look'>) => Promise<PassEnd>,
): Promise<PassEnd> {
  const { patienceMs } = runSettings(config);
  const settings = backend.plan.roles.judge;
  const batches = createBatchPort({
    endpoint,
    settings,
    capabilities: store.capabilities,
    logger,
    patienceMs,
  });
  try {
    return await use({
      ...parts,
      journal: store.journal,
      batches,
      limits: limitsOf(config),
      clock: systemClock,
      onStatus: (text) => observer.status(text),
      counts,
    });
  } finally {
    await batches.close();
  }
}

function limitsOf({ judge: { batch } }: Config): BatchedPassOptions['limits'] {
  return {
    requestsMax: batch.max_requests,
    bytesMax: batch.max_mb * 1_000_000,
    roundsMax: batch.max_rounds,
    pollMaxMs: batch.poll_s * 1000,
  };
}

const judgesOf = ({ plan }: Backend): EndpointConfig[] =>
  plan.endpoints.filter(({ roles, isDraining }) => roles.includes('judge') && isDraining !== true);

const noEndpoint = (): DlgforgeError =>
  new DlgforgeError(
    'usage',
    'The judge has no endpoint with a batch API: servers that dlgforge starts have none. Leave --batch out, or give llm.agents.judge a provider of its own.',
  );

/** Looks of one command: `--limit` means the same conversations in each, and what came to nothing is left alone. */
export class Looks {
  readonly #limit: number | null;
  readonly #chosen = new Set<string>();
  readonly #givenUp = new Set<string>();

  constructor(limit: number | null) {
    this.#limit = limit;
  }

  /** @param plans of everything, without a limit. */
  async *ours(plans: AsyncIterable<Planned>): AsyncGenerator<Planned> {
    for await (const plan of plans) {
      const { conversationId } = plan.candidate.payload;
      if (!plan.selected || !this.#isChosen(conversationId)) continue;
      const missing = plan.missing.filter(({ turn }) => !this.#givenUp.has(placeOf(conversationId, turn)));
      if (missing.length > 0) yield { ...plan, missing };
    }
  }

  judged({ conversationId, turn, verdict }: StoredVerdict): void {
    if (verdict === null) this.#givenUp.add(placeOf(conversationId, turn));
  }

  #isChosen(conversationId: string): boolean {
    if (this.#limit === null || this.#chosen.has(conversationId)) return true;
    if (this.#chosen.size >= this.#limit) return false;
    this.#chosen.add(conversationId);
    return true;
  }
}

const placeOf = (conversationId: string, turn: number): string => JSON.stringify([conversationId, turn]);
