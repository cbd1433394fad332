/**
 * The endpoints of a run as they are wanted now: those of its configuration, with the changes that its store
 * holds over them. Pure; how it is kept up to date is in `run-endpoints.ts`.
 */
import { isManaged } from '../actors/vllm/endpoint-name.ts';
import { readSecret } from '../config/credentials.ts';
import type { LoadedConfig } from '../config/load.ts';
import type { Role } from '../dialogue/chat.ts';
import { type EndpointPlan, shownUrl } from '../llm/plan-endpoints.ts';
import { checkedUrl, providerOfUrl } from '../llm/providers.ts';
import { type EndpointConfig, lackingKey, noKey, type RevealKey } from '../llm/settings.ts';
import type { RunEndpoint } from '../ports/store.ts';

/** The key that this process has under the name of a variable. */
export type KeyOfVariable = (name: string) => RevealKey;

export const keysIn =
  ({ environment }: Pick<LoadedConfig, 'environment'>): KeyOfVariable =>
  (name) =>
  () =>
    readSecret(environment, name)?.reveal() ?? null;

/**
 * A role whose last endpoint was removed keeps it as a draining one: its calls wait for another, and do not
 * fail as those of a role that nobody was ever meant to serve.
 */
export function withChanges(
  plan: EndpointPlan,
  changes: readonly RunEndpoint[],
  keyOf: KeyOfVariable,
): EndpointPlan {
  const byName = new Map(plan.endpoints.map((endpoint) => [endpoint.name, endpoint]));
  const removed: EndpointConfig[] = [];
  for (const change of changes) {
    const changed =
      change.source === 'configured' ? byName.get(change.name) : endpointOf(change, plan, keyOf);
    if (changed === undefined) continue;
    const isDraining = change.wanted === 'drain';
    if (change.wanted === 'remove') removed.push({ ...changed, isDraining: true });
    if (change.wanted === 'remove') byName.delete(change.name);
    else byName.set(change.name, { ...changed, isDraining });
  }
  const endpoints = [...byName.values()];
  const unserved = plan.activeRoles.filter((role) => !endpoints.some(({ roles }) => roles.includes(role)));
  const kept = removed.filter(({ roles }) => roles.some((role) => unserved.includes(role)));
  return { ...plan, endpoints: [...endpoints, ...kept] };
}

/** Undefined for one that none of the run's roles may use. */
function endpointOf(
  { name, baseUrl, model, keyVariable, weight, maxInFlight, roles, timeoutMs }: RunEndpoint,
  { activeRoles }: EndpointPlan,
  keyOf: KeyOfVariable,
): EndpointConfig | undefined {
  const url = checkedUrl(baseUrl);
  const served = roles.length === 0 ? activeRoles : activeRoles.filter((role) => roles.includes(role));
  if (served.length === 0) return undefined;
  return {
    name,
    provider: providerOfUrl(url).name,
    baseUrl: url,
    roles: served,
    weight,
    maxInFlight,
    timeoutMs,
    model,
    key: keyVariable === null ? noKey : keyOf(keyVariable),
    ...(keyVariable === null ? {} : { keyVariable }),
  };
}

/** Whether calls of every role have somewhere to go, or to wait for. */
export const isServed = ({ activeRoles, endpoints }: EndpointPlan): boolean =>
  activeRoles.every((role) => endpoints.some(({ roles }) => roles.includes(role)));

/** Why calls of a role wait, for a person mostly; null when they do not. */
export function whyWaiting({ endpoints }: EndpointPlan, role: Role): string | null {
  const serving = endpoints.filter(({ roles }) => roles.includes(role));
  if (serving.some(({ isDraining = false }) => !isDraining)) return null;
  const names = serving.map(({ name }) => name).join(', ');
  if (names === '') return `no endpoint serves the ${role} yet`;
  return serving.some(({ name }) => isManaged(name))
    ? `no server of the ${role} is well (${names}); those that may be are started again`
    : `every endpoint of the ${role} is drained or removed (${names}); bring one back, or another: dlgforge endpoints add`;
}

/** The keys of endpoints that were not configured, for a logger to hide (I8). */
export const addedSecrets = ({ endpoints }: EndpointPlan): readonly string[] =>
  endpoints
    .map(({ keyVariable, key }) => (keyVariable === undefined ? null : key()))
    .filter((secret) => secret !== null);

/** The endpoints that this process may not use, because their keys are missing here. */
export const lackingKeys = ({ endpoints }: EndpointPlan): readonly string[] =>
  endpoints.map(lackingKey).filter((text) => text !== null);

/**
 * What the store has yet to be told of the configured endpoints, so that they can be listed and drained by
 * name: what a person wanted of one stays. One that is not configured any more is gone.
 */
export function configuredRows(plan: EndpointPlan, known: readonly RunEndpoint[]): readonly RunEndpoint[] {
  const before = new Map(known.map((row) => [row.name, row]));
  const configured = plan.endpoints.flatMap((endpoint): RunEndpoint[] => {
    const row = before.get(endpoint.name);
    // An endpoint that a person has added under this name takes its place, until it is removed.
    if (row !== undefined && row.source !== 'configured' && row.wanted !== 'remove') return [];
    const now = rowOf(endpoint, row?.source === 'configured' ? row.wanted : 'use');
    return JSON.stringify(now) === JSON.stringify(row) ? [] : [now];
  });
  const names = new Set(plan.endpoints.map(({ name }) => name));
  const gone = known
    .filter(({ name, source }) => source === 'configured' && !names.has(name))
    .map((row): RunEndpoint => ({ ...row, source: 'added', wanted: 'remove' }));
  return [...configured, ...gone];
}

const rowOf = (endpoint: EndpointConfig, wanted: RunEndpoint['wanted']): RunEndpoint => ({
  name: endpoint.name,
  baseUrl: shownUrl(endpoint.baseUrl),
  model: endpoint.model,
  keyVariable: null,
  weight: endpoint.weight,
  maxInFlight: endpoint.maxInFlight,
  roles: endpoint.roles,
  timeoutMs: endpoint.timeoutMs,
  source: 'configured',
  wanted,
});
