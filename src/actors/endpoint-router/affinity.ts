import type { Role } from '../../dialogue/chat.ts';
import type { PermitRequest } from './permits.ts';

const CAPACITY = 100_000;

interface Served {
  last: string;
  readonly byRole: Partial<Record<Role, string>>;
}

/**
 * Which endpoint served a conversation last: names in the run, so that a replica that returns is known again.
 * The conversation not used for longest is forgotten.
 *
 * Every role has a prompt of its own that begins differently, so what is cached of it lies where that role was
 * served last; a role that has not been served yet goes where its conversation was.
 */
export class Affinity {
  readonly #served = new Map<string, Served>();

  get(request: PermitRequest): string | null {
    const served = this.#served.get(keyOf(request));
    return served?.byRole[request.role] ?? served?.last ?? null;
  }

  remember(request: PermitRequest, endpoint: string): void {
    const key = keyOf(request);
    const served = this.#served.get(key) ?? { last: endpoint, byRole: {} };
    served.last = endpoint;
    served.byRole[request.role] = endpoint;
    this.#served.delete(key);
    this.#served.set(key, served);
    if (this.#served.size <= CAPACITY) return;
    for (const oldest of this.#served.keys()) {
      this.#served.delete(oldest);
      return;
    }
  }
}

const keyOf = ({ runId, conversation }: PermitRequest): string => `${runId} ${conversation}`;
