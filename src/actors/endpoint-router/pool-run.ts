/**
 * One run in the pool. Owns its endpoints and its queues, one for each role and node, as long as
 * something waits in it: whom an endpoint does not serve keeps nobody else waiting.
 *
 * Among the waiting that an endpoint can serve (`goesFirst`):
 * 1. The smallest priority: callers give the rank of the conversation, in which languages take turns and
 *    commits are made, so what everybody waits for is not overtaken, and no language gets ahead of another.
 * 2. Among equals conversations take turns, however many calls one of them has waiting (start-time fair
 *    queueing, as in `RunEndpoint.takeTurn`).
 * 3. The earliest deadline, then the oldest.
 */
import type { Role } from '../../dialogue/chat.ts';
import type { EndpointSpec } from '../../ports/model.ts';
import type { Affinity } from './affinity.ts';
import { choose, type Strategy } from './choose.ts';
import { type EndpointRegistry, identityOf } from './endpoint-registry.ts';
import type { EndpointState, ReturnedPermit } from './endpoint-state.ts';
import { Heap, type HeapEntry } from './heap.ts';
import type { PermitRequest, Rejection, RunRegistration } from './permits.ts';
import type { RunEndpoint, Unusable } from './run-endpoint.ts';

export interface Timer {
  readonly atMs: number;
  readonly ticket: string;
}

export interface TicketPermit extends ReturnedPermit {
  /** Name in the run. */
  readonly endpoint: string;
  readonly state: EndpointState;
  readonly isProbe: boolean;
}

export interface Ticket {
  readonly request: PermitRequest;
  readonly order: number;
  /** Its turn among the calls of equal priority, in virtual time; set when it is queued. */
  turn: number;
  /** Null while it waits. */
  permit: TicketPermit | null;
  /** Null once it has left the queue. */
  queued: HeapEntry<Ticket> | null;
  timer: HeapEntry<Timer>;
  /** Whoever holds the permit is out of sight. */
  isDoubted: boolean;
}

interface Queue {
  readonly role: Role;
  readonly holder: string;
  readonly tickets: Heap<Ticket>;
}

export interface Match {
  readonly ticket: Ticket;
  readonly endpoint: RunEndpoint;
}

export class PoolRun {
  readonly runId: string;
  /** False while its coordinator has not been heard of: its requests wait. */
  isRegistered = false;
  /** When its coordinator was heard of last; null when none is expected to be. */
  renewedAtMs: number | null = null;
  waiting = 0;
  readonly #registry: EndpointRegistry;
  readonly #endpoints = new Map<string, RunEndpoint>();
  readonly #queues = new Map<string, Queue>();
  /** Of each conversation that has waiting calls: how many, and the turn that its next one gets. */
  readonly #lines = new Map<string, { waiting: number; next: number }>();
  #strategies: { readonly strategy: Strategy; readonly roles: Partial<Record<Role, Strategy>> } = {
    strategy: 'weighted_least_inflight',
    roles: {},
  };
  #asksFirst = false;
  /** Virtual time of round robin. */
  #virtual = 0;
  /** Virtual time of the queue: the turn of the call that was served last. */
  #served = 0;

  constructor(runId: string, registry: EndpointRegistry) {
    this.runId = runId;
    this.#registry = registry;
  }

  get endpoints(): Iterable<RunEndpoint> {
    return this.#endpoints.values();
  }

  get endpointCount(): number {
    return this.#endpoints.size;
  }

  endpoint(name: string): RunEndpoint | undefined {
    return this.#endpoints.get(name);
  }

  /** The run's endpoints are these from now on; what is known about those that stay is kept. */
  register({ endpoints, strategy, roleStrategies = {}, asksFirst = false }: RunRegistration): void {
    this.isRegistered = true;
    this.#asksFirst = asksFirst;
    this.#strategies = { strategy: strategy ?? 'weighted_least_inflight', roles: roleStrategies };
    const names = new Set(endpoints.map(({ name }) => name));
    for (const name of this.#endpoints.keys()) if (!names.has(name)) this.remove(name);
    for (const spec of endpoints) this.#put(spec, hasAlternative(spec, endpoints));
  }

  /** Adds an endpoint, changes it, or takes it back into use. */
  add(spec: EndpointSpec): void {
    const others = [...this.#endpoints.values()].map((endpoint) => endpoint.spec);
    this.#put(spec, hasAlternative(spec, others));
    this.drain(spec.name, false);
  }

  drain(name: string, isDraining = true): void {
    const endpoint = this.#endpoints.get(name);
    if (endpoint !== undefined) endpoint.isDraining = isDraining;
  }

  remove(name: string): void {
    const endpoint = this.#endpoints.get(name);
    if (endpoint === undefined) return;
    this.#endpoints.delete(name);
    this.#registry.leave(endpoint);
  }

  close(): void {
    for (const name of this.#endpoints.keys()) this.remove(name);
  }

  enqueue(ticket: Ticket): void {
    const { role, conversation, holder = '' } = ticket.request;
    const line = this.#lines.get(conversation) ?? { waiting: 0, next: 0 };
    this.#lines.set(conversation, line);
    ticket.turn = Math.max(this.#served, line.next);
    line.next = ticket.turn + 1;
    line.waiting += 1;
    const name = queueName(ticket);
    const queue = this.#queues.get(name) ?? { role, holder, tickets: new Heap<Ticket>(goesFirst) };
    this.#queues.set(name, queue);
    ticket.queued = queue.tickets.push(ticket);
    this.waiting += 1;
  }

  leaveQueue(ticket: Ticket): void {
    if (ticket.queued === null) return;
    const name = queueName(ticket);
    const tickets = this.#queues.get(name)?.tickets;
    tickets?.remove(ticket.queued);
    if (tickets?.size === 0) this.#queues.delete(name);
    ticket.queued = null;
    this.waiting -= 1;
    const { conversation } = ticket.request;
    const line = this.#lines.get(conversation);
    if (line === undefined) return;
    line.waiting -= 1;
    if (line.waiting === 0) this.#lines.delete(conversation);
  }

  /** Of the first in each queue, the first of all for which an endpoint has room. */
  next(affinity: Affinity, nowMs: number): Match | null {
    let best: Match | null = null;
    for (const { tickets } of this.#queues.values()) {
      const ticket = tickets.peek();
      if (ticket === undefined || (best !== null && !goesFirst(ticket, best.ticket))) continue;
      const endpoint = this.#choose(ticket.request, affinity, nowMs);
      if (endpoint !== null) best = { ticket, endpoint };
    }
    return best;
  }

  granted({ ticket, endpoint }: Match, grant: number, nowMs: number): TicketPermit {
    this.#virtual = endpoint.takeTurn(this.#virtual);
    this.#served = Math.max(this.#served, ticket.turn);
    const { spec, state } = endpoint;
    const isProbe = state.granted(grant, nowMs);
    const { role } = ticket.request;
    return { endpoint: spec.name, state, grant, role, grantedAtMs: nowMs, isProbe };
  }

  /** The first of those that wait, if any does. */
  first(): Ticket | undefined {
    for (const { tickets } of this.#queues.values()) return tickets.peek();
    return undefined;
  }

  /** The first of those that wait in vain, and why. */
  firstInVain(nowMs: number): { readonly ticket: Ticket; readonly rejection: Rejection } | null {
    for (const { role, holder, tickets } of this.#queues.values()) {
      const rejection = this.impossible(role, holder, nowMs);
      const ticket = tickets.peek();
      if (rejection !== null && ticket !== undefined) return { ticket, rejection };
    }
    return null;
  }

  waitingFor({ spec }: RunEndpoint): number {
    const queues = [...this.#queues.values()].filter(({ role }) => spec.roles.includes(role));
    return queues.reduce((sum, { tickets }) => sum + tickets.size, 0);
  }

  /** Why no wait will help a node in a role; null while an endpoint can be hoped for. */
  impossible(role: Role, holder: string, nowMs: number): Rejection | null {
    if (!this.isRegistered) return null;
    let unusable: Unusable | null = null;
    for (const endpoint of this.endpoints) {
      if (endpoint.mayServe(role, holder, nowMs)) return null;
      unusable = endpoint.unusableFor(role, holder, nowMs) ?? unusable;
    }
    if (unusable === null) return { type: 'no_endpoint' };
    return { type: 'unusable', reason: unusable.reason, status: unusable.status };
  }

  /** When the first pause of an endpoint of the role ends. */
  resumesInMs({ role, holder = '' }: PermitRequest, nowMs: number): number | null {
    let at: number | null = null;
    for (const endpoint of this.endpoints) {
      const until = endpoint.mayServe(role, holder, nowMs) ? endpoint.state.pausedUntilMs(nowMs) : null;
      if (until !== null && (at === null || until < at)) at = until;
    }
    return at === null ? null : at - nowMs;
  }

  #put(spec: EndpointSpec, cautious: boolean): void {
    const known = this.#endpoints.get(spec.name);
    if (known !== undefined && known.state.identity === identityOf(spec)) {
      known.spec = spec;
      this.#registry.refresh(known);
    } else {
      this.remove(spec.name);
      this.#endpoints.set(
        spec.name,
        this.#registry.join(spec, { cautious, asksFirst: cautious && this.#asksFirst }),
      );
    }
    if (spec.isDraining !== undefined) this.drain(spec.name, spec.isDraining);
  }

  #choose(request: PermitRequest, affinity: Affinity, nowMs: number): RunEndpoint | null {
    const { role, avoid, conversation, holder = '' } = request;
    const strategy = this.#strategies.roles[role] ?? this.#strategies.strategy;
    const previous = strategy === 'prefix_affinity' ? affinity.get(request) : null;
    const wish = { role, holder, avoid, conversation, previous };
    return choose(this.#endpoints.values(), wish, strategy, nowMs);
  }
}

const hasAlternative = (spec: EndpointSpec, others: readonly EndpointSpec[]): boolean =>
  others.some((other) => other.name !== spec.name && other.roles.some((role) => spec.roles.includes(role)));

const queueName = ({ request: { role, holder = '' } }: Ticket): string => `${role} ${holder}`;

function goesFirst(a: Ticket, b: Ticket): boolean {
  const difference =
    a.request.priority - b.request.priority ||
    a.turn - b.turn ||
    a.request.deadlineAtMs - b.request.deadlineAtMs;
  return difference < 0 || (difference === 0 && a.order < b.order);
}
