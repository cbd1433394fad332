/** How a process keeps up with the endpoints of a run. */
import { describe, expect, it, onTestFinished } from 'vitest';
import {
  refreshedPort,
  type RunEndpoints,
  type RunEndpointsOptions,
  watchRunEndpoints,
} from '../../../src/bootstrap/run-endpoints.ts';
import { DlgforgeError } from '../../../src/kernel/errors.ts';
import { type Logger, silentLogger } from '../../../src/kernel/logger.ts';
import type { EndpointPlan } from '../../../src/llm/plan-endpoints.ts';
import { MemoryStore } from '../../../src/store/memory-store.ts';
import { completion, sendJson } from '../../support/chat-server.ts';
import { changeOf, endpointPlanOf } from '../../support/endpoint-plans.ts';
import { SimulatedClock } from '../../support/simulated-clock.ts';
import { openRun, RUN } from '../../support/world.ts';
import { endpointAt, never, portFor, request, serverFor } from '../llm/fixtures.ts';

const namesIn = ({ endpoints }: EndpointPlan): string[] =>
  endpoints.map(({ name, isDraining = false }) => (isDraining ? `${name} drains` : name));

async function watching(changes: Partial<RunEndpointsOptions> = {}) {
  const clock = new SimulatedClock();
  const store = new MemoryStore(clock);
  await openRun(store);
  const said: string[] = [];
  const logger: Logger = { ...silentLogger, log: (level, _, message) => said.push(`${level} ${message}`) };
  const told: string[][] = [];
  const options: RunEndpointsOptions = {
    store,
    runId: RUN,
    plan: endpointPlanOf(['one', 'two'], ['user']),
    keyOf: () => () => null,
    logger,
    clock,
    onChange: (plan) => told.push(namesIn(plan)),
    ...changes,
  };
  const endpoints = await watchRunEndpoints(options);
  onTestFinished(() => endpoints.stop());
  return { clock, store, told, said, endpoints, options };
}

/** Time passes, and what it sets off comes to rest. */
async function pass(clock: SimulatedClock, ms: number): Promise<void> {
  clock.advance(ms);
  await clock.settle();
}

describe('the endpoints of a run that is on', () => {
  it('are looked at before it begins, and again within half a second', async () => {
    const { clock, store, told, said } = await watching();
    expect(told).toEqual([['one', 'two']]);
    await store.setRunEndpoint(RUN, changeOf('new'));
    await pass(clock, 499);
    expect(told).toHaveLength(1);
    await pass(clock, 1);
    expect(told.at(-1)).toEqual(['one', 'two', 'new']);
    await store.setRunEndpoint(RUN, changeOf('new', { wanted: 'drain' }));
    await pass(clock, 500);
    await store.setRunEndpoint(RUN, changeOf('new', { wanted: 'remove' }));
    await pass(clock, 500);
    await store.setRunEndpoint(RUN, changeOf('new'));
    await pass(clock, 500);
    await pass(clock, 5_000);
    expect(told.slice(2)).toEqual([
      ['one', 'two', 'new drains'],
      ['one', 'two'],
      ['one', 'two', 'new'],
    ]);
    expect(said).toEqual([
      'info [endpoints] new is added',
      'info [endpoints] new is drained: it finishes what it has',
      'info [endpoints] new is removed',
      'info [endpoints] new is added',
    ]);
  });

  it('are written down by who leads the run, and stay drained for the next one', async () => {
    const first = await watching({ publishes: true });
    const { endpoints: rows } = await first.store.runEndpoints(RUN);
    expect(rows).toMatchObject([
      { name: 'one', source: 'configured', wanted: 'use' },
      { name: 'two', source: 'configured', wanted: 'use' },
    ]);
    const [row] = rows;
    if (row === undefined) throw new Error('there are two');
    await first.store.setRunEndpoint(RUN, { ...row, wanted: 'drain' });
    first.endpoints.stop();
    const told: string[][] = [];
    const onChange = (plan: EndpointPlan): void => void told.push(namesIn(plan));
    const next = await watchRunEndpoints({ ...first.options, onChange });
    onTestFinished(() => next.stop());
    expect(told).toEqual([['one drains', 'two']]);
  });

  it('H: have a reason to wait, said once, when all of a role are drained', async () => {
    const { clock, store, said, endpoints } = await watching({ plan: endpointPlanOf([], ['user']) });
    await store.setRunEndpoint(RUN, changeOf('only', { wanted: 'drain' }));
    await pass(clock, 500);
    await store.setRunEndpoint(RUN, changeOf('only', { wanted: 'drain', weight: 2 }));
    await pass(clock, 500);
    const why = endpoints.whyWaiting('user');
    expect(why).toContain('every endpoint of the user is drained or removed (only)');
    expect(said.filter((line) => line === `warn [endpoints] ${why}`)).toHaveLength(1);
    await store.setRunEndpoint(RUN, changeOf('only'));
    await pass(clock, 500);
    expect(endpoints.whyWaiting('user')).toBeNull();
  });

  it('I8: are used only with their keys; which variable is missing is said', async () => {
    const { clock, store, said } = await watching();
    await store.setRunEndpoint(RUN, changeOf('paid', { keyVariable: 'PAID_KEY' }));
    await pass(clock, 500);
    const text = 'the key of paid is missing here: the environment variable PAID_KEY is not set';
    expect(said).toContain(`warn [endpoints] ${text}`);
  });

  it('outlast a store that cannot be read', async () => {
    const clock = new SimulatedClock();
    const store = new MemoryStore(clock);
    let isAway = false;
    const flaky = {
      runEndpoints: store.runEndpoints.bind(store),
      setRunEndpoint: store.setRunEndpoint.bind(store),
      runEndpointsVersion: async () => {
        if (isAway) throw new DlgforgeError('store', 'the database is away');
        return await store.runEndpointsVersion(RUN);
      },
    };
    await openRun(store);
    const { told, said } = await watching({ store: flaky, clock });
    isAway = true;
    await store.setRunEndpoint(RUN, changeOf('new'));
    for (let look = 0; look < 4; look += 1) await pass(clock, 500);
    expect(said).toEqual([
      'warn [endpoints] the changes of the endpoints cannot be read: the database is away',
    ]);
    isAway = false;
    await pass(clock, 500);
    expect(told.at(-1)).toEqual(['one', 'two', 'new']);
  });

  it('are not looked at any more when it is over', async () => {
    const { clock, store, told, endpoints } = await watching();
    const looking = endpoints.refresh();
    endpoints.stop();
    await store.setRunEndpoint(RUN, changeOf('late'));
    await looking;
    await pass(clock, 5_000);
    expect(told).toEqual([['one', 'two']]);
    expect(clock.pending).toBe(0);
  });
});

describe('a port that is granted an endpoint which it does not know', () => {
  it('looks at once, and asks it', async () => {
    const server = await serverFor((_, response) => sendJson(response, 200, completion()));
    const port = portFor([]);
    const { store, endpoints } = await watching({
      onChange: (plan) => port.setEndpoints(plan.endpoints.filter(({ name }) => name === 'new')),
    });
    await store.setRunEndpoint(RUN, changeOf('new', { baseUrl: server.url }));
    expect(await port.attempt('new', request(), never)).toMatchObject({ type: 'elsewhere' });
    const refreshed = refreshedPort(port, endpoints);
    expect(await refreshed.attempt('new', request(), never)).toMatchObject({ type: 'answered' });
    expect(await refreshed.attempt('nobody', request(), never)).toMatchObject({ type: 'elsewhere' });
  });

  it('waits no longer than two seconds for a store that is away, and not beyond its call', async () => {
    const clock = new SimulatedClock();
    const port = portFor([endpointAt('http://127.0.0.1:1/v1')]);
    const away: Pick<RunEndpoints, 'refresh'> = { refresh: () => new Promise(() => undefined) };
    const refreshed = refreshedPort(port, away, clock);
    const attempt = refreshed.attempt('new', request(), never);
    clock.advance(2_000);
    expect(await attempt).toMatchObject({ type: 'elsewhere' });
    const call = new AbortController();
    const aborted = refreshed.attempt('new', request(), call.signal);
    call.abort();
    expect(await aborted).toMatchObject({ type: 'elsewhere' });
    expect(clock.pending).toBe(0);
  });
});
