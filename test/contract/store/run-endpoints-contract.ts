/** What a store promises about endpoints that change while a run is on, for each adapter to run. */
import { describe, expect, it } from 'vitest';
import { runId } from '../../../src/kernel/ids.ts';
import { RUN_ENDPOINTS_MAX, type RunEndpoint } from '../../../src/ports/store.ts';
import { ODD_STRINGS, startRun, type UseStore } from './store-contract.ts';

const RUN = runId('run');

const named = (name: string, change: Partial<RunEndpoint> = {}): RunEndpoint => ({
  name,
  baseUrl: 'http://10.0.0.1:8000/v1',
  model: null,
  keyVariable: null,
  weight: 1,
  maxInFlight: 64,
  roles: [],
  timeoutMs: null,
  source: 'added',
  wanted: 'use',
  ...change,
});

export function runEndpointsContract(useStore: UseStore): void {
  describe('endpoints of a run', () => {
    it('are kept whole, in order of name, and replaced by name', () =>
      useStore(async (store) => {
        await startRun(store);
        expect(await store.runEndpoints(RUN)).toEqual({ version: 0, endpoints: [] });
        const full = named('é', {
          model: 'm',
          keyVariable: 'MY_KEY',
          weight: 0.25,
          maxInFlight: 7,
          roles: ['user', 'judge'],
          timeoutMs: 1_500,
          source: 'managed',
          wanted: 'drain',
        });
        for (const endpoint of [full, named('b'), named('a')]) await store.setRunEndpoint(RUN, endpoint);
        const inOrder = [named('a'), named('b'), full];
        expect(await store.runEndpoints(RUN)).toEqual({ version: 3, endpoints: inOrder });
        await store.setRunEndpoint(RUN, named('b', { wanted: 'remove' }));
        const replaced = [named('a'), named('b', { wanted: 'remove' }), full];
        expect((await store.runEndpoints(RUN)).endpoints).toEqual(replaced);
      }));

    it('have a version that rises with every change, and only then', () =>
      useStore(async (store) => {
        await startRun(store);
        expect(await store.runEndpointsVersion(RUN)).toBe(0);
        await store.setRunEndpoint(RUN, named('a'));
        expect(await store.runEndpointsVersion(RUN)).toBe(1);
        const { name, baseUrl, ...rest } = named('a');
        await store.setRunEndpoint(RUN, { ...rest, baseUrl, name });
        expect(await store.runEndpointsVersion(RUN)).toBe(1);
        await store.setRunEndpoint(RUN, named('a', { wanted: 'drain' }));
        await Promise.all(['b', 'c', 'd', 'e'].map((other) => store.setRunEndpoint(RUN, named(other))));
        expect(await store.runEndpointsVersion(RUN)).toBe(6);
        expect(await store.runEndpoints(RUN)).toMatchObject({ version: 6, endpoints: { length: 5 } });
      }));

    it('belong to their run', () =>
      useStore(async (store) => {
        await startRun(store);
        await store.setRunEndpoint(RUN, named('a'));
        const nobody = runId('nobody');
        expect(await store.runEndpoints(nobody)).toEqual({ version: 0, endpoints: [] });
        expect(await store.runEndpointsVersion(nobody)).toBe(0);
        await expect(store.setRunEndpoint(nobody, named('a'))).rejects.toMatchObject({
          code: 'resume',
          message: expect.stringContaining('There is no run nobody in this store'),
        });
      }));

    it('may have odd names', () =>
      useStore(async (store) => {
        await startRun(store);
        const names = ODD_STRINGS.filter(({ length }) => length < 1_000);
        for (const name of names) await store.setRunEndpoint(RUN, named(name));
        const { endpoints } = await store.runEndpoints(RUN);
        expect(new Set(endpoints.map(({ name }) => name))).toEqual(new Set(names));
      }));

    it('I9: are a bounded number, of which each can still be changed', () =>
      useStore(async (store) => {
        await startRun(store);
        const all = Array.from({ length: RUN_ENDPOINTS_MAX }, (_, number) => named(`e${number}`));
        for (const endpoint of all) await store.setRunEndpoint(RUN, endpoint);
        await expect(store.setRunEndpoint(RUN, named('one more'))).rejects.toMatchObject({
          code: 'overloaded',
          message: expect.stringContaining('Run run has 1000 endpoints already'),
        });
        await store.setRunEndpoint(RUN, named('e0', { wanted: 'drain' }));
        const { version, endpoints } = await store.runEndpoints(RUN);
        expect([version, endpoints.length]).toEqual([RUN_ENDPOINTS_MAX + 1, RUN_ENDPOINTS_MAX]);
      }));
  });
}
