import type { Role } from '../../dialogue/chat.ts';
import type { EndpointSpec } from '../../ports/model.ts';
import type { EndpointState } from './endpoint-state.ts';

/** Why nobody's requests of a role are answered here. */
export interface Unusable {
  readonly reason: string;
  readonly status: number;
  readonly untilMs: number;
}

/** A wrong key or model is asked again after this, in case that a person has acted. */
const UNUSABLE_MS = 300_000;

/**
 * One run's use of an endpoint. Owns what is the run's own: roles, weight, its turn in round robin, and
 * what its key is refused for. Load, limit and health are the endpoint's, over all runs.
 */
export class RunEndpoint {
  spec: EndpointSpec;
  readonly state: EndpointState;
  /** Round robin in virtual time: grows by 1/weight with every grant, and the smallest is next. */
  share = 0;
  /** Finishes what is in flight and takes no more. */
  isDraining = false;
  readonly #unusable = new Map<Role, Unusable>();

  constructor(spec: EndpointSpec, state: EndpointState) {
    this.spec = spec;
    this.state = state;
  }

  get pressure(): number {
    return this.state.pressure / this.spec.weight;
  }

  /** Whether a role can hope for it, in time. */
  mayServe(role: Role, nowMs: number): boolean {
    return this.spec.roles.includes(role) && this.unusableFor(role, nowMs) === null;
  }

  takes(role: Role, nowMs: number): boolean {
    return !this.isDraining && this.state.hasRoom(nowMs) && this.mayServe(role, nowMs);
  }

  unusableFor(role: Role, nowMs: number): Unusable | null {
    const unusable = this.#unusable.get(role);
    return unusable === undefined || nowMs >= unusable.untilMs ? null : unusable;
  }

  refused(role: Role, reason: string, status: number, nowMs: number): void {
    this.#unusable.set(role, { reason, status, untilMs: nowMs + UNUSABLE_MS });
  }

  /**
   * Counts a grant at virtual time `virtual` and gives back the virtual time that it starts at, so
   * that an endpoint that was away does not catch up on what it missed (start-time fair queueing,
   * Goyal, Vin and Cheng 1996).
   */
  granted(grant: number, virtual: number, nowMs: number): number {
    this.state.granted(grant, nowMs);
    const start = Math.max(this.share, virtual);
    this.share = start + 1 / this.spec.weight;
    return start;
  }
}
