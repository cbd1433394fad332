import type { Role } from '../../dialogue/chat.ts';

/** A wish to send one request to an endpoint. */
export interface PermitRequest {
  /** Unique; names the request until its permit is released. */
  readonly ticket: string;
  readonly role: Role;
  readonly conversation: string;
  /** Smaller goes first. */
  readonly priority: number;
  /** Rejected when no permit was to be had until then. */
  readonly deadlineAtMs: number;
  /** A permit that is not back after this long is taken back: its holder is gone. */
  readonly leaseMs: number;
  readonly avoid: string | null;
}

export type Rejection =
  /** `resumesInMs`: when an endpoint that asked for a pause will be asked again, if one did. */
  | { readonly type: 'deadline'; readonly resumesInMs: number | null }
  | { readonly type: 'queue_full' }
  | { readonly type: 'no_endpoint' }
  | { readonly type: 'unusable'; readonly reason: string; readonly status: number }
  | { readonly type: 'cancelled' };

export type Decision =
  | { readonly type: 'granted'; readonly ticket: string; readonly endpoint: string }
  | { readonly type: 'rejected'; readonly ticket: string; readonly rejection: Rejection };
