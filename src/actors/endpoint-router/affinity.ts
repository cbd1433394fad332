import type { PermitRequest } from './permits.ts';
import type { RunEndpoint } from './run-endpoint.ts';

const CAPACITY = 100_000;

/** The endpoint that served a conversation's role last; the one not used for longest is forgotten. */
export class Affinity {
  readonly #served = new Map<string, RunEndpoint>();

  get(request: PermitRequest): RunEndpoint | null {
    return this.#served.get(keyOf(request)) ?? null;
  }

  remember(request: PermitRequest, endpoint: RunEndpoint): void {
    const key = keyOf(request);
    this.#served.delete(key);
    this.#served.set(key, endpoint);
    if (this.#served.size <= CAPACITY) return;
    for (const oldest of this.#served.keys()) {
      this.#served.delete(oldest);
      return;
    }
  }
}

const keyOf = ({ runId, role, conversation }: PermitRequest): string => `${role} ${runId} ${conversation}`;
