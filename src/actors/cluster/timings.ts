import type { ContactTimings } from './contact.ts';

export interface MembershipTimings extends ContactTimings {
  readonly heartbeatMs: number;
  /** Silence after which a node is asked for. */
  readonly suspectMs: number;
  /** Silence after which it is lost, whatever the network says of it. */
  readonly lostMs: number;
  readonly probeTimeoutMs: number;
  /** A node that joins is answered within this, so that it knows the others before their next heartbeat. */
  readonly answerMs: number;
}

/** A killed node is lost after about 1.5 s, a frozen one after 5; `contactMs` < `lostMs`, or two may lead. */
export const DEFAULT_TIMINGS: MembershipTimings = {
  heartbeatMs: 500,
  suspectMs: 1_200,
  lostMs: 5_000,
  probeTimeoutMs: 500,
  answerMs: 50,
  contactMs: 2_000,
  warmMs: 1_500,
  frozenMs: 1_500,
};
