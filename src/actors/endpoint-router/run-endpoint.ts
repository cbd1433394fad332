import type { Role } from '../../dialogue/chat.ts';
import type { EndpointSpec } from '../../ports/model.ts';
import type { EndpointState } from './endpoint-state.ts';
import { hashOf } from './home.ts';

/** Why nobody's requests of a role are answered here. */
export interface Unusable {
  readonly reason: string;
  readonly status: number;
  readonly untilMs: number;
}

/** Every node has its own key, so that one of them is refused says nothing about the others. */
const KEY_REFUSED: ReadonlySet<number> = new Set([401, 403]);
const EVERYBODY = '';
/** A wrong key or model is asked again after this, in case that a person has acted. */
const UNUSABLE_MS = 300_000;

/**
 * One run's use of an endpoint. Owns what is the run's own: roles, weight, its turn in round robin, and
 * what it, or the key of one of its nodes, is refused for. Load, limit and health are the endpoint's, over all runs.
 */
export class RunEndpoint {
  spec: EndpointSpec;
  readonly state: EndpointState;
  /** Of its name: equal in every router. */
  readonly hash: number;
  /** Round robin in virtual time: grows by 1/weight with every grant, and the smallest is next. */
  share = 0;
  /** Finishes what is in flight and takes no more. */
  isDraining = false;
  /** By role, and by node or for all of them. */
  readonly #unusable = new Map<Role, Map<string, Unusable>>();

  constructor(spec: EndpointSpec, state: EndpointState) {
    this.spec = spec;
    this.state = state;
    this.hash = hashOf(spec.name);
  }

  pressure(nowMs: number): number {
    return this.state.pressure(nowMs) / this.spec.weight;
  }

  /** Whether a role can hope for it, in time. */
  mayServe(role: Role, holder: string, nowMs: number): boolean {
    return this.spec.roles.includes(role) && this.unusableFor(role, holder, nowMs) === null;
  }

  takes(role: Role, holder: string, nowMs: number): boolean {
    return !this.isDraining && this.state.hasRoom(nowMs) && this.mayServe(role, holder, nowMs);
  }

  unusableFor(role: Role, holder: string, nowMs: number): Unusable | null {
    const known = this.#unusable.get(role);
    const unusable = [known?.get(EVERYBODY), known?.get(holder)];
    return unusable.find((one) => one !== undefined && nowMs < one.untilMs) ?? null;
  }

  refused(role: Role, holder: string, reason: string, status: number, nowMs: number): void {
    const known = this.#unusable.get(role) ?? new Map<string, Unusable>();
    for (const [name, { untilMs }] of known) if (nowMs >= untilMs) known.delete(name);
    const whose = KEY_REFUSED.has(status) ? holder : EVERYBODY;
    this.#unusable.set(role, known.set(whose, { reason, status, untilMs: nowMs + UNUSABLE_MS }));
  }

  /**
   * Takes its turn of round robin at virtual time `virtual` and gives back the virtual time that it starts at,
   * so that an endpoint that was away does not catch up on what it missed (start-time fair queueing,
   * Goyal, Vin and Cheng 1996).
   */
  takeTurn(virtual: number): number {
    const start = Math.max(this.share, virtual);
    this.share = start + 1 / this.spec.weight;
    return start;
  }
}
