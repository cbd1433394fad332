/** Plans of endpoints, and changes over them, for tests that name only what they are about. */
import type { Role } from '../../src/dialogue/chat.ts';
import type { EndpointPlan } from '../../src/llm/plan-endpoints.ts';
import { noKey } from '../../src/llm/settings.ts';
import type { RunEndpoint } from '../../src/ports/store.ts';

const settings = {
  provider: '',
  model: 'm1',
  temperature: null,
  maxTokens: null,
  topP: null,
  timeoutMs: null,
  maxRetries: null,
  extra: {},
};

export const endpointPlanOf = (names: readonly string[], activeRoles: readonly Role[]): EndpointPlan => ({
  endpoints: names.map((name) => ({
    name,
    provider: 'hosted_vllm',
    baseUrl: `http://${name}:8000/v1`,
    roles: activeRoles,
    weight: 1,
    maxInFlight: 64,
    timeoutMs: null,
    model: null,
    key: noKey,
  })),
  activeRoles,
  roles: { user: settings, assistant: settings, judge: settings },
  notes: [],
});

export const changeOf = (name: string, change: Partial<RunEndpoint> = {}): RunEndpoint => ({
  name,
  baseUrl: 'http://added:8000/v1',
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
