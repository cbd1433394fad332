import type { Role } from '../../dialogue/chat.ts';
import type { EndpointSpec } from '../../ports/model.ts';
import { choose, type Strategy } from './choose.ts';
import { EndpointState, type EndpointStats, type PermitOutcome, type Unusable } from './endpoint-state.ts';
import { Heap, type HeapEntry } from './heap.ts';
import type { Decision, PermitRequest, Rejection } from './permits.ts';

/**
 * The permits of all endpoints: who may send a request where, and who waits. No clock, no I/O: time
 * is handed in, decisions come back.
 *
 * Owns the endpoint states, the queues and every ticket that is waiting or holds a permit.
 * 1. An endpoint never has more permits out than its `maxInFlight` (I7).
 * 2. A ticket that was asked for is granted once or rejected once, unless it is cancelled first;
 *    asking again for a ticket that waits or holds changes nothing.
 * 3. Among the waiting that an endpoint can serve, the smallest priority goes first, then the oldest.
 * 4. Everything is bounded: the queue by `queueCapacity`, a permit by its lease, a wait by its
 *    deadline, the memory of conversations by `AFFINITY_CAPACITY` (I9).
 */
export interface PoolOptions {
  readonly endpoints: readonly EndpointSpec[];
  /** @default 'weighted_least_inflight' */
  readonly strategy?: Strategy;
  /** A role's own strategy. */
  readonly roleStrategies?: Partial<Record<Role, Strategy>>;
  /** Waiting requests, all roles together. @default 100 000 */
  readonly queueCapacity?: number;
}

interface Ticket {
  readonly request: PermitRequest;
  readonly order: number;
  /** Null while it waits. */
  permit: { readonly endpoint: EndpointState; readonly grant: number } | null;
  queued: HeapEntry<Ticket> | null;
  timer: HeapEntry<Timer>;
}

interface Timer {
  readonly atMs: number;
  readonly ticket: string;
}

const QUEUE_CAPACITY = 100_000;
const AFFINITY_CAPACITY = 100_000;
const NONE: readonly Decision[] = [];

export class Pool {
  readonly #endpoints: readonly EndpointState[];
  readonly #options: PoolOptions;
  readonly #queues = new Map<Role, Heap<Ticket>>();
  readonly #timers = new Heap<Timer>((a, b) => a.atMs < b.atMs);
  readonly #tickets = new Map<string, Ticket>();
  /** The endpoint that served a conversation's role last; the one not used for longest is forgotten. */
  readonly #served = new Map<string, EndpointState>();
  #waiting = 0;
  #orders = 0;
  #grants = 0;
  /** Virtual time of round robin. */
  #virtual = 0;

  constructor(options: PoolOptions) {
    this.#options = options;
    const alternatives = (spec: EndpointSpec): boolean =>
      options.endpoints.some(
        (other) => other !== spec && other.roles.some((role) => spec.roles.includes(role)),
      );
    this.#endpoints = options.endpoints.map((spec) => new EndpointState(spec, alternatives(spec)));
  }

  get waitingCount(): number {
    return this.#waiting;
  }

  acquire(request: PermitRequest, nowMs: number): readonly Decision[] {
    const known = this.#tickets.get(request.ticket);
    if (known !== undefined) return known.permit === null ? NONE : [granted(known, known.permit.endpoint)];
    const impossible = this.#impossible(request.role, nowMs);
    if (impossible !== null) return [rejected(request.ticket, impossible)];
    if (this.#waiting >= (this.#options.queueCapacity ?? QUEUE_CAPACITY))
      return [rejected(request.ticket, { type: 'queue_full' })];
    this.#enqueue(request);
    return this.#drain(nowMs);
  }

  /** A permit comes back. One that was taken back already changes nothing. */
  release(name: string, outcome: PermitOutcome, nowMs: number): readonly Decision[] {
    const ticket = this.#tickets.get(name);
    if (ticket === undefined || ticket.permit === null) return NONE;
    const { endpoint, grant } = ticket.permit;
    this.#forget(ticket);
    endpoint.released(grant, this.#grants, outcome, ticket.request.role, nowMs);
    const rejections =
      outcome.type === 'unusable' ? this.#rejectImpossible(ticket.request.role, nowMs) : NONE;
    const grants = this.#drain(nowMs);
    return rejections.length === 0 ? grants : [...rejections, ...grants];
  }

  /** Ends a ticket in whatever state it is. */
  cancel(name: string, nowMs: number): readonly Decision[] {
    const ticket = this.#tickets.get(name);
    if (ticket === undefined) return NONE;
    if (ticket.permit !== null) return this.release(name, { type: 'abandoned' }, nowMs);
    this.#forget(ticket);
    return [rejected(name, { type: 'cancelled' })];
  }

  /** What is due at this time: deadlines, leases, ends of pauses. */
  tick(nowMs: number): readonly Decision[] {
    const decisions: Decision[] = [];
    for (
      let timer = this.#timers.peek();
      timer !== undefined && timer.atMs <= nowMs;
      timer = this.#timers.peek()
    ) {
      const ticket = this.#tickets.get(timer.ticket) as Ticket;
      if (ticket.permit !== null) decisions.push(...this.release(timer.ticket, { type: 'abandoned' }, nowMs));
      else {
        this.#forget(ticket);
        decisions.push(
          rejected(timer.ticket, {
            type: 'deadline',
            resumesInMs: this.#resumesInMs(ticket.request.role, nowMs),
          }),
        );
      }
    }
    decisions.push(...this.#drain(nowMs));
    return decisions;
  }

  /** When `tick` has something to do next; null when only a message can change something. */
  nextWakeMs(nowMs: number): number | null {
    let wake = this.#timers.peek()?.atMs ?? Number.POSITIVE_INFINITY;
    if (this.#waiting > 0) {
      for (const endpoint of this.#endpoints) wake = Math.min(wake, endpoint.opensAtMs(nowMs) ?? wake);
    }
    return Number.isFinite(wake) ? wake : null;
  }

  stats(nowMs: number): readonly EndpointStats[] {
    return this.#endpoints.map((endpoint) => endpoint.stats(nowMs));
  }

  #enqueue(request: PermitRequest): void {
    this.#orders += 1;
    const timer = this.#timers.push({ atMs: request.deadlineAtMs, ticket: request.ticket });
    const ticket: Ticket = { request, order: this.#orders, permit: null, queued: null, timer };
    ticket.queued = this.#queue(request.role).push(ticket);
    this.#tickets.set(request.ticket, ticket);
    this.#waiting += 1;
  }

  #queue(role: Role): Heap<Ticket> {
    let queue = this.#queues.get(role);
    if (queue === undefined) this.#queues.set(role, (queue = new Heap<Ticket>(goesFirst)));
    return queue;
  }

  #drain(nowMs: number): readonly Decision[] {
    let decisions: Decision[] | null = null;
    while (this.#waiting > 0) {
      const next = this.#next(nowMs);
      if (next === null) break;
      decisions ??= [];
      decisions.push(this.#grant(next.ticket, next.endpoint, nowMs));
    }
    return decisions ?? NONE;
  }

  /** Of the first in each role's queue, the first of all for which an endpoint has room. */
  #next(nowMs: number): { readonly ticket: Ticket; readonly endpoint: EndpointState } | null {
    let best: { readonly ticket: Ticket; readonly endpoint: EndpointState } | null = null;
    for (const queue of this.#queues.values()) {
      const ticket = queue.peek();
      if (ticket === undefined || (best !== null && !goesFirst(ticket, best.ticket))) continue;
      const endpoint = this.#choose(ticket.request, nowMs);
      if (endpoint !== null) best = { ticket, endpoint };
    }
    return best;
  }

  #choose({ role, avoid, conversation }: PermitRequest, nowMs: number): EndpointState | null {
    const strategy =
      this.#options.roleStrategies?.[role] ?? this.#options.strategy ?? 'weighted_least_inflight';
    const previous =
      strategy === 'prefix_affinity' ? (this.#served.get(affinityKey(conversation, role)) ?? null) : null;
    return choose(this.#endpoints, { role, avoid, previous }, strategy, nowMs);
  }

  #grant(ticket: Ticket, endpoint: EndpointState, nowMs: number): Decision {
    const { request } = ticket;
    this.#leaveQueue(ticket);
    this.#grants += 1;
    this.#virtual = endpoint.granted(this.#grants, this.#virtual, nowMs);
    ticket.permit = { endpoint, grant: this.#grants };
    this.#timers.remove(ticket.timer);
    ticket.timer = this.#timers.push({ atMs: nowMs + request.leaseMs, ticket: request.ticket });
    this.#rememberServed(affinityKey(request.conversation, request.role), endpoint);
    return granted(ticket, endpoint);
  }

  #rememberServed(key: string, endpoint: EndpointState): void {
    if (this.#endpoints.length < 2) return;
    this.#served.delete(key);
    this.#served.set(key, endpoint);
    if (this.#served.size <= AFFINITY_CAPACITY) return;
    for (const oldest of this.#served.keys()) {
      this.#served.delete(oldest);
      break;
    }
  }

  #forget(ticket: Ticket): void {
    this.#leaveQueue(ticket);
    this.#timers.remove(ticket.timer);
    this.#tickets.delete(ticket.request.ticket);
  }

  #leaveQueue(ticket: Ticket): void {
    if (ticket.queued === null) return;
    this.#queue(ticket.request.role).remove(ticket.queued);
    ticket.queued = null;
    this.#waiting -= 1;
  }

  /** Why no wait will help a role; null while an endpoint can be hoped for. */
  #impossible(role: Role, nowMs: number): Rejection | null {
    let unusable: Unusable | null = null;
    for (const endpoint of this.#endpoints) {
      if (endpoint.serves(role, nowMs)) return null;
      unusable = endpoint.unusable.get(role) ?? unusable;
    }
    if (unusable === null) return { type: 'no_endpoint' };
    return { type: 'unusable', reason: unusable.reason, status: unusable.status };
  }

  #rejectImpossible(role: Role, nowMs: number): readonly Decision[] {
    const rejection = this.#impossible(role, nowMs);
    if (rejection === null) return NONE;
    const decisions: Decision[] = [];
    const queue = this.#queue(role);
    for (let ticket = queue.peek(); ticket !== undefined; ticket = queue.peek()) {
      this.#forget(ticket);
      decisions.push(rejected(ticket.request.ticket, rejection));
    }
    return decisions;
  }

  #resumesInMs(role: Role, nowMs: number): number | null {
    const pauses = this.#endpoints
      .filter((endpoint) => endpoint.serves(role, nowMs))
      .map((endpoint) => endpoint.pausedUntilMs(nowMs))
      .filter((at) => at !== null);
    return pauses.length === 0 ? null : Math.min(...pauses) - nowMs;
  }
}

function goesFirst(a: Ticket, b: Ticket): boolean {
  const difference = a.request.priority - b.request.priority;
  return difference < 0 || (difference === 0 && a.order < b.order);
}

const affinityKey = (conversation: string, role: Role): string => `${role} ${conversation}`;
const granted = (ticket: Ticket, endpoint: EndpointState): Decision => ({
  type: 'granted',
  ticket: ticket.request.ticket,
  endpoint: endpoint.spec.name,
});
const rejected = (ticket: string, rejection: Rejection): Decision => ({
  type: 'rejected',
  ticket,
  rejection,
});
