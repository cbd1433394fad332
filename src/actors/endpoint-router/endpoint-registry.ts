/**
 * The endpoints of all runs. Owns one state per identity, and which runs use it.
 *
 * 1. Endpoints with one identity share one state, whatever the runs call them (I7).
 * 2. Its hard limit is the smallest that a run in the registry allows.
 * 3. A state lives while a run uses it or a permit of it is out, so that nothing in flight is forgotten.
 */
import type { EndpointSpec } from '../../ports/model.ts';
import { EndpointState, type Start } from './endpoint-state.ts';
import { RunEndpoint } from './run-endpoint.ts';

interface Entry {
  readonly state: EndpointState;
  readonly users: Set<RunEndpoint>;
}

export const identityOf = ({ identity, name }: EndpointSpec): string => identity ?? name;

export class EndpointRegistry {
  readonly #entries = new Map<string, Entry>();

  get entries(): Iterable<Entry> {
    return this.#entries.values();
  }

  /** Whether any endpoint could take a request now. */
  hasRoom(nowMs: number): boolean {
    for (const { state } of this.#entries.values()) if (state.hasRoom(nowMs)) return true;
    return false;
  }

  /** A run begins to use an endpoint. */
  join(spec: EndpointSpec, start: Start): RunEndpoint {
    const { state, users } = this.#entry(identityOf(spec), spec.maxInFlight, start);
    const endpoint = new RunEndpoint(spec, state);
    users.add(endpoint);
    this.refresh(endpoint);
    return endpoint;
  }

  leave(endpoint: RunEndpoint): void {
    endpoint.isDraining = true;
    this.#entries.get(endpoint.state.identity)?.users.delete(endpoint);
    this.refresh(endpoint);
  }

  /** After a change of the endpoint's specification. */
  refresh({ state: { identity } }: RunEndpoint): void {
    const entry = this.#entries.get(identity);
    if (entry === undefined) return;
    if (entry.users.size > 0)
      entry.state.maxInFlight = Math.min(...[...entry.users].map(({ spec }) => spec.maxInFlight));
    this.forgetIdle(entry.state);
  }

  /** The state behind a permit of an earlier router; its limits come with the run that uses it. */
  adopt(identity: string): EndpointState {
    return this.#entry(identity, 1, { cautious: false, asksFirst: false }).state;
  }

  /** After a permit came back. */
  forgetIdle({ identity, inFlight }: EndpointState): void {
    if (inFlight === 0 && this.#entries.get(identity)?.users.size === 0) this.#entries.delete(identity);
  }

  #entry(identity: string, maxInFlight: number, start: Start): Entry {
    let entry = this.#entries.get(identity);
    if (entry === undefined) {
      entry = { state: new EndpointState(identity, maxInFlight, start), users: new Set() };
      this.#entries.set(identity, entry);
    }
    return entry;
  }
}
