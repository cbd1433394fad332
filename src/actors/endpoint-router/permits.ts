import type { Role } from '../../dialogue/chat.ts';
import type { EndpointSpec } from '../../ports/model.ts';
import type { Strategy } from './choose.ts';

/** A run and where its requests may go. Plain JSON. */
export interface RunRegistration {
  readonly runId: string;
  readonly endpoints: readonly EndpointSpec[];
  /** @default 'weighted_least_inflight' */
  readonly strategy?: Strategy;
  /** A role's own strategy. */
  readonly roleStrategies?: Partial<Record<Role, Strategy>>;
  /**
   * Its endpoints are servers that may be away when the run begins: where others can take the traffic, one that
   * has not answered yet is asked whether it is there before it is sent anything. @default false
   */
  readonly asksFirst?: boolean;
}

/** A wish to send one request to an endpoint of a run. */
export interface PermitRequest {
  /** Unique; names the request until its permit is released. */
  readonly ticket: string;
  readonly runId: string;
  readonly role: Role;
  readonly conversation: string;
  /** Smaller goes first, within the run. */
  readonly priority: number;
  /** Rejected when no permit was to be had until then. */
  readonly deadlineAtMs: number;
  /** A permit that is not back after this long is taken back: its holder is gone. */
  readonly leaseMs: number;
  readonly avoid: string | null;
  /** Whose environment the key is from: a node. @default the run's only one */
  readonly holder?: string;
}

/** A permit that an earlier router has granted and that is still out. */
export interface HeldPermit {
  readonly ticket: string;
  readonly runId: string;
  /** Name in the run. */
  readonly endpoint: string;
  readonly identity: string;
  readonly role: Role;
  /** What is left of its lease. */
  readonly leaseMs: number;
}

export type Rejection =
  /** `resumesInMs`: when an endpoint that asked for a pause will be asked again, if one did. */
  | { readonly type: 'deadline'; readonly resumesInMs: number | null }
  | { readonly type: 'queue_full' }
  | { readonly type: 'no_endpoint' }
  | { readonly type: 'unusable'; readonly reason: string; readonly status: number }
  | { readonly type: 'cancelled' };

export type Decision =
  | {
      readonly type: 'granted';
      readonly ticket: string;
      readonly endpoint: string;
      /** Server and model. */
      readonly identity: string;
      /** Nobody knows whether the endpoint is there: to be found out before anything is sent. */
      readonly isProbe?: true;
    }
  | { readonly type: 'rejected'; readonly ticket: string; readonly rejection: Rejection };

export const granted = (ticket: string, endpoint: string, identity: string, isProbe: boolean): Decision => ({
  type: 'granted',
  ticket,
  endpoint,
  identity,
  ...(isProbe ? { isProbe } : {}),
});

export const rejected = (ticket: string, rejection: Rejection): Decision => ({
  type: 'rejected',
  ticket,
  rejection,
});
