/** What the stores keep of a run's endpoints, the same in each of them. */
import { RUN_ENDPOINTS_MAX, type RunEndpoint } from '../ports/store.ts';
import { tooManyEndpoints } from './store-errors.ts';

/** The same text for the same endpoint, whoever made it: what is set twice has not changed. */
export function endpointText(endpoint: RunEndpoint): string {
  const { name, baseUrl, model, keyVariable, weight, maxInFlight, roles, timeoutMs, source, wanted } =
    endpoint;
  return JSON.stringify({
    name,
    baseUrl,
    model,
    keyVariable,
    weight,
    maxInFlight,
    roles,
    timeoutMs,
    source,
    wanted,
  });
}

export const endpointOfText = (text: string): RunEndpoint => JSON.parse(text) as RunEndpoint;

/** @throws DlgforgeError `overloaded` when a run has `count` of them and this is another one (I9). */
export function checkEndpointCount(runId: string, name: string, count: number): void {
  if (count >= RUN_ENDPOINTS_MAX) throw tooManyEndpoints(runId, name, RUN_ENDPOINTS_MAX);
}

/** By name, in the order of its bytes. */
export const endpointsInOrder = (endpoints: readonly RunEndpoint[]): RunEndpoint[] =>
  endpoints.toSorted((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)));
