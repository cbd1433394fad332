/** `dlgforge endpoints …`: what endpoints a run has, and what a person wants of them, from any machine. */
import type { EndpointStats } from '../../actors/endpoint-router/endpoint-state.ts';
import { readSecret } from '../../config/credentials.ts';
import type { Environment } from '../../config/environment.ts';
import { rolesFor } from '../../config/roles.ts';
import type { Config } from '../../config/schema.ts';
import { DlgforgeError } from '../../kernel/errors.ts';
import { runId as toRunId } from '../../kernel/ids.ts';
import { silentLogger } from '../../kernel/logger.ts';
import { providerOfUrl } from '../../llm/providers.ts';
import { noKey } from '../../llm/settings.ts';
import type { RunEndpoint, RunRecord, Store } from '../../ports/store.ts';
import { noSuchRun } from '../../store/store-errors.ts';
import { type EndpointWish, modelsOf, rolesLeftWaiting, rowOfWish, rowToChange } from '../endpoint-wish.ts';
import { configOf, runsThatAreOn } from '../runs.ts';
import { clientOf } from './client.ts';
import { runView } from './cluster-view.ts';
import { type OpenedStore, openStoreOfRuns, type StoreFlags } from './runs-store.ts';

export interface EndpointsFlags extends StoreFlags {
  /** The run; the only one that is on, when it is not given. */
  readonly run?: string;
}

export interface ListedEndpoint extends RunEndpoint {
  /** Answers that the store has from it. */
  readonly answeredCalls: number;
  /** From the cluster's router; null where there is none to ask. */
  readonly live: EndpointStats | null;
}

export interface EndpointList {
  readonly runId: string;
  readonly status: string;
  readonly endpoints: readonly ListedEndpoint[];
  /** Roles whose calls wait, because no endpoint in use serves them. */
  readonly waiting: readonly string[];
  /** Why there are no live figures; null when there are. */
  readonly notLive: string | null;
}

export interface ChangedEndpoint {
  readonly runId: string;
  readonly endpoint: RunEndpoint;
  /** False: it counts when the run goes on. */
  readonly isOn: boolean;
  readonly waiting: readonly string[];
}

/** @throws DlgforgeError `usage` or `resume` when it is not clear which run is meant. */
export async function listEndpoints(flags: EndpointsFlags, environment: Environment): Promise<EndpointList> {
  return await withRun(flags, environment, async ({ store, record, isOn, opened }) => {
    const [{ endpoints }, totals] = await Promise.all([
      store.runEndpoints(record.id),
      store.callTotals(record.id),
    ]);
    const { figures, notLive } = await liveFigures(opened, environment, record, isOn);
    return {
      runId: record.id,
      status: record.status === 'running' && !isOn ? 'interrupted' : record.status,
      endpoints: endpoints.map((row) => ({
        ...row,
        answeredCalls: totals.reduce(
          (sum, { endpoint, calls }) => sum + (endpoint === row.name ? calls : 0),
          0,
        ),
        live: figures.find(({ endpoint }) => endpoint === row.name) ?? null,
      })),
      waiting: waitingRoles(endpoints, configOf(record)),
      notLive,
    };
  });
}

/** @throws DlgforgeError `usage` for what cannot be meant, `endpoint` when it does not answer or lacks a model. */
export async function addEndpoint(
  flags: EndpointsFlags,
  environment: Environment,
  wish: EndpointWish,
  { checks }: { readonly checks: boolean },
): Promise<ChangedEndpoint> {
  return await withRun(flags, environment, async (run) => {
    const { store, record, opened } = run;
    const { endpoints } = await store.runEndpoints(record.id);
    const row = rowOfWish(wish, endpoints, configOf(record));
    // How a configured one is reached is known to the run, with its key.
    if (checks && row.source === 'added')
      await checkAnswers(row, configOf(record), opened.project?.loaded.environment ?? environment);
    return await changed(run, row);
  });
}

/** @throws DlgforgeError `usage` when there is no such endpoint. */
export async function endEndpoint(
  flags: EndpointsFlags,
  environment: Environment,
  name: string,
  wanted: 'drain' | 'remove',
): Promise<ChangedEndpoint> {
  return await withRun(flags, environment, async (run) => {
    const { endpoints } = await run.store.runEndpoints(run.record.id);
    return await changed(run, rowToChange(name, wanted, endpoints));
  });
}

interface FoundRun {
  readonly opened: OpenedStore;
  readonly store: Store;
  readonly record: RunRecord;
  readonly isOn: boolean;
}

async function withRun<T>(
  flags: EndpointsFlags,
  environment: Environment,
  work: (run: FoundRun) => Promise<T>,
): Promise<T> {
  const opened = await openStoreOfRuns(flags, environment);
  try {
    const { store } = opened;
    if (store === null) throw noSuchRun(flags.run ?? '(none yet)');
    const on = (await runsThatAreOn(store)).map((run): string => run.id);
    const id = flags.run ?? theOnly(on);
    const record = await store.getRun(toRunId(id));
    if (record === null) throw noSuchRun(id);
    return await work({ opened, store, record, isOn: on.includes(id) });
  } finally {
    await opened.close();
  }
}

function theOnly(ids: readonly string[]): string {
  const [first] = ids;
  if (first === undefined)
    throw new DlgforgeError(
      'resume',
      'No run is on. Name one that is to go on later: --run <run-id> (dlgforge runs list shows them).',
    );
  if (ids.length > 1)
    throw new DlgforgeError(
      'usage',
      `Several runs are on: ${ids.join(', ')}. Say which one: --run <run-id>.`,
    );
  return first;
}

async function changed({ store, record, isOn }: FoundRun, row: RunEndpoint): Promise<ChangedEndpoint> {
  await store.setRunEndpoint(record.id, row);
  const { endpoints } = await store.runEndpoints(record.id);
  return { runId: record.id, endpoint: row, isOn, waiting: waitingRoles(endpoints, configOf(record)) };
}

/** Of a run that has not begun nothing is known. */
const waitingRoles = (rows: readonly RunEndpoint[], config: Config): readonly string[] =>
  rows.length === 0 ? [] : rolesLeftWaiting(rows, config);

async function liveFigures(
  { address }: OpenedStore,
  environment: Environment,
  { id }: RunRecord,
  isOn: boolean,
): Promise<{ readonly figures: readonly EndpointStats[]; readonly notLive: string | null }> {
  if (!isOn) return { figures: [], notLive: 'the run is not on' };
  if (address === null)
    return { figures: [], notLive: 'the run is in one process, which alone knows what is in flight' };
  const command = 'dlgforge endpoints list';
  const client = await clientOf(address, { environment, command, onStatus: () => undefined });
  try {
    return { figures: (await runView(client, id).figures()).endpoints, notLive: null };
  } finally {
    await client.close();
  }
}

const CHECK_MS = 15_000;

/** Reachable with its key, and serves what the roles ask for; nothing is paid for. @throws DlgforgeError `endpoint`. */
async function checkAnswers(row: RunEndpoint, config: Config, environment: Environment): Promise<void> {
  const { createModelPort } = await import('../../llm/openai-model.ts');
  const { name, baseUrl, keyVariable, weight, maxInFlight, timeoutMs, model } = row;
  const active = rolesFor(config, 'run');
  const models = modelsOf(config);
  const settings = (role: keyof typeof models) => ({
    provider: '',
    model: models[role],
    temperature: null,
    maxTokens: null,
    topP: null,
    timeoutMs: null,
    maxRetries: null,
    extra: {},
  });
  const port = createModelPort({
    endpoints: [
      {
        name,
        provider: providerOfUrl(baseUrl).name,
        baseUrl,
        roles: row.roles.length === 0 ? active : active.filter((role) => row.roles.includes(role)),
        weight,
        maxInFlight,
        timeoutMs,
        model,
        key: keyVariable === null ? noKey : () => readSecret(environment, keyVariable)?.reveal() ?? null,
        ...(keyVariable === null ? {} : { keyVariable }),
      },
    ],
    roles: { user: settings('user'), assistant: settings('assistant'), judge: settings('judge') },
    capabilities: { load: async () => new Map(), remember: async () => undefined },
    logger: silentLogger,
  });
  try {
    const health = await port.check(name, AbortSignal.timeout(CHECK_MS), { mayPay: false });
    if (health.type !== 'unhealthy') return;
    throw new DlgforgeError(
      'endpoint',
      `${health.reason} ${health.hint}\nNothing was changed; --no-check adds it as it is.`,
    );
  } finally {
    await port.close();
  }
}
