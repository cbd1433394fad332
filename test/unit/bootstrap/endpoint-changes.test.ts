/** What a run's endpoints are, given the configured ones and the changes over them. */
import { describe, expect, it } from 'vitest';
import {
  configuredRows,
  isServed,
  lackingKeys,
  whyWaiting,
  withChanges,
} from '../../../src/bootstrap/endpoint-changes.ts';
import type { Role } from '../../../src/dialogue/chat.ts';
import type { EndpointPlan } from '../../../src/llm/plan-endpoints.ts';
import type { RunEndpoint } from '../../../src/ports/store.ts';
import { changeOf, endpointPlanOf } from '../../support/endpoint-plans.ts';

const ROLES: readonly Role[] = ['user', 'assistant'];
const noKeys = () => () => null;
const plan = endpointPlanOf(['one', 'two'], ROLES);
const withAll = (changes: readonly RunEndpoint[], base: EndpointPlan = plan) =>
  withChanges(base, changes, noKeys);
const summary = ({ endpoints }: EndpointPlan): unknown[] =>
  endpoints.map(({ name, isDraining = false }) => (isDraining ? `${name} drains` : name));

describe('a plan with changes', () => {
  it('is the plan where nobody has changed anything', () => {
    expect(withAll([])).toEqual(plan);
    const known = configuredRows(plan, []);
    expect(summary(withAll(known))).toEqual(['one', 'two']);
  });

  it('has what was added, for the roles that were named, or all', () => {
    const added = withAll([
      changeOf('all', { weight: 2, maxInFlight: 7, model: 'm2', timeoutMs: 9 }),
      changeOf('for the judge', { roles: ['judge'] }),
      changeOf('for the user', { roles: ['user', 'judge'] }),
    ]);
    expect(added.endpoints.slice(2)).toMatchObject([
      {
        name: 'all',
        provider: 'hosted_vllm',
        baseUrl: 'http://added:8000/v1',
        roles: ROLES,
        weight: 2,
        maxInFlight: 7,
        model: 'm2',
        timeoutMs: 9,
      },
      { name: 'for the user', roles: ['user'] },
    ]);
  });

  it('leaves how a configured endpoint is reached to the configuration', () => {
    const [row] = configuredRows(plan, []);
    if (row === undefined) throw new Error('it has a row');
    const drained = withAll([{ ...row, baseUrl: 'http://elsewhere/v1', weight: 9, wanted: 'drain' }]);
    expect(drained.endpoints[0]).toEqual({ ...plan.endpoints[0], isDraining: true });
    expect(summary(withAll([{ ...row, wanted: 'remove' }]))).toEqual(['two']);
    expect(summary(withAll([changeOf('gone', { source: 'configured' })]))).toEqual(['one', 'two']);
  });

  it('takes an added endpoint for the configured one of its name', () => {
    expect(withAll([changeOf('one')]).endpoints[0]).toMatchObject({ baseUrl: 'http://added:8000/v1' });
  });

  it('keeps the last endpoint of a role as a draining one: its calls wait', () => {
    const rows = configuredRows(plan, []).map((row): RunEndpoint => ({ ...row, wanted: 'remove' }));
    const none = withAll(rows);
    expect(summary(none)).toEqual(['one drains', 'two drains']);
    expect(whyWaiting(none, 'user')).toBe(
      'every endpoint of the user is drained or removed (one, two); bring one back, or another: dlgforge endpoints add',
    );
    expect(summary(withAll([...rows, changeOf('new')]))).toEqual(['new']);
    expect(whyWaiting(withAll([...rows, changeOf('new')]), 'user')).toBeNull();
    expect(isServed(none)).toBe(true);
  });

  it('of servers that are still to start says that there is nobody yet', () => {
    const empty = { ...plan, endpoints: [] };
    expect([isServed(empty), whyWaiting(empty, 'user')]).toEqual([false, 'no endpoint serves the user yet']);
    const managed = changeOf('managed-vllm-0', { source: 'managed', wanted: 'drain' });
    expect(isServed(withAll([managed], empty))).toBe(true);
    expect(whyWaiting(withAll([managed], empty), 'user')).toBe(
      'no server of the user is well (managed-vllm-0); those that may be are started again',
    );
  });

  it('I8: says which keys are missing here, by the names of their variables', () => {
    const added = [changeOf('a', { keyVariable: 'KEY_A' }), changeOf('b', { keyVariable: 'KEY_B' })];
    const merged = withChanges(plan, added, (name) => () => (name === 'KEY_B' ? 'secret' : null));
    expect(lackingKeys(merged)).toEqual([
      'the key of a is missing here: the environment variable KEY_A is not set',
    ]);
  });
});

describe('the rows of configured endpoints', () => {
  it('I8: tell where they are, without what an address may hold of credentials', () => {
    const [first] = plan.endpoints;
    if (first === undefined) throw new Error('there is one');
    const secret = {
      ...plan,
      endpoints: [{ ...first, baseUrl: 'http://me:hunter2@one:8000/v1?key=hunter2' }],
    };
    const rows = configuredRows(secret, []);
    expect(rows).toMatchObject([
      { name: 'one', baseUrl: 'http://one:8000/v1', source: 'configured', wanted: 'use' },
    ]);
    expect(JSON.stringify(rows)).not.toContain('hunter2');
  });

  it('keep what a person wanted, also when the configuration has changed', () => {
    const drained = configuredRows(plan, []).map(
      (row): RunEndpoint => ({ ...row, wanted: 'drain', weight: 5 }),
    );
    expect(configuredRows(plan, drained)).toMatchObject([
      { name: 'one', wanted: 'drain', weight: 1 },
      { name: 'two', wanted: 'drain', weight: 1 },
    ]);
  });

  it('are written only where they have changed: a person may be changing them', () => {
    const before = configuredRows(plan, []);
    expect(configuredRows(plan, before)).toEqual([]);
    const drained = before.map((row): RunEndpoint => ({ ...row, wanted: 'drain' }));
    expect(configuredRows(plan, drained)).toEqual([]);
  });

  it('go with the configuration, and come back with it', () => {
    const before = configuredRows(plan, []);
    const without = configuredRows(endpointPlanOf(['one'], ROLES), before);
    expect(without).toMatchObject([{ name: 'two', source: 'added', wanted: 'remove' }]);
    const now = [...before.slice(0, 1), ...without];
    expect(configuredRows(plan, now)).toEqual(before.slice(1));
  });

  it('leave an added endpoint of the name alone', () => {
    expect(configuredRows(plan, [changeOf('one')])).toMatchObject([{ name: 'two' }]);
  });
});
