import type { EndpointSpec } from '../../ports/model.ts';
import { Affinity } from './affinity.ts';
import { EndedTickets } from './ended-tickets.ts';
import { EndpointRegistry } from './endpoint-registry.ts';
import type { EndpointStats, PermitOutcome } from './endpoint-state.ts';
import { Heap } from './heap.ts';
import {
  type Decision,
  granted,
  type HeldPermit,
  type PermitRequest,
  rejected,
  type Rejection,
  type RunRegistration,
} from './permits.ts';
import { type Match, PoolRun, type Ticket, type Timer } from './pool-run.ts';
import type { RunEndpoint } from './run-endpoint.ts';

/**
 * The permits of all runs and endpoints: who may send a request where, and who waits. No clock, no I/O:
 * time is handed in, decisions come back.
 *
 * Owns the runs with their queues, the endpoint states, and every ticket that waits or holds a permit.
 * 1. An endpoint never gets a request while its `maxInFlight` are out, over all runs (I7), and none at all
 *    while `mayGrant` says no.
 * 2. A ticket that was asked for is granted once or rejected once, unless it is cancelled first; asking
 *    again changes nothing and is told the same, also when it has ended a moment ago.
 * 3. The run that has been granted nothing for longest goes first, of those that an endpoint can serve;
 *    within a run it is the order of `PoolRun`.
 * 4. Everything is bounded: the runs and their endpoints, a run's queue by `queueCapacity`, a permit by its
 *    lease, a wait by its deadline, what is remembered by `Affinity` and `EndedTickets` (I9).
 */
export interface PoolOptions {
  /** Runs that are there from the start. */
  readonly runs?: readonly RunRegistration[];
  /** Waiting requests of one run, all roles together. @default 100 000 */
  readonly queueCapacity?: number;
  /** Asked before anything is granted. @default always */
  readonly mayGrant?: (nowMs: number) => boolean;
}

const QUEUE_CAPACITY = 100_000;
const RUNS_MAX = 1_000;
const REGISTRATION_MS = 60_000;
/** While nothing may be granted, it is asked again after this. */
const GATE_POLL_MS = 200;
const NONE: readonly Decision[] = [];
const CANCELLED: Rejection = { type: 'cancelled' };

export class Pool {
  readonly #options: PoolOptions;
  readonly #registry = new EndpointRegistry();
  /** The run that was granted a permit last is the last. */
  readonly #runs = new Map<string, PoolRun>();
  readonly #timers = new Heap<Timer>((a, b) => a.atMs < b.atMs);
  readonly #tickets = new Map<string, Ticket>();
  readonly #ended = new EndedTickets();
  readonly #affinity = new Affinity();
  #waiting = 0;
  #orders = 0;
  #grants = 0;

  constructor(options: PoolOptions = {}) {
    this.#options = options;
    for (const run of options.runs ?? []) this.#run(run.runId)?.register(run);
  }

  get waitingCount(): number {
    return this.#waiting;
  }

  /** Whether a ticket waits or holds a permit. */
  knows(ticket: string): boolean {
    return this.#tickets.has(ticket);
  }

  /**
   * A run's endpoints are these from now on. Idempotent; the run's coordinator says it every few seconds, and
   * a run of which nothing is heard for `REGISTRATION_MS`, and that wants nothing, has ended.
   */
  register(run: RunRegistration, nowMs: number): readonly Decision[] {
    for (const other of this.#runs.values()) {
      const isSilent = other.renewedAtMs !== null && nowMs - other.renewedAtMs > REGISTRATION_MS;
      if (isSilent && other.waiting === 0 && other.runId !== run.runId) this.#drop(other);
    }
    return this.#changed(run.runId, nowMs, (known) => {
      known.register(run);
      known.renewedAtMs = nowMs;
    });
  }

  /** A run has ended: what waits is cancelled, what is out still counts until it comes back. */
  unregister(runId: string, nowMs: number): readonly Decision[] {
    const run = this.#runs.get(runId);
    if (run === undefined) return NONE;
    const decisions = this.#cancelWaiting(run);
    this.#drop(run);
    return [...decisions, ...this.#drain(nowMs)];
  }

  addEndpoint(runId: string, spec: EndpointSpec, nowMs: number): readonly Decision[] {
    return this.#changed(runId, nowMs, (run) => run.add(spec));
  }

  /** It finishes what is in flight and takes no more; who could only go there waits for another. */
  drainEndpoint(runId: string, name: string, nowMs: number): readonly Decision[] {
    return this.#changed(runId, nowMs, (run) => run.drain(name));
  }

  removeEndpoint(runId: string, name: string, nowMs: number): readonly Decision[] {
    return this.#changed(runId, nowMs, (run) => run.remove(name));
  }

  /**
   * Counts a permit that an earlier router granted, or whose holder was out of sight. One that has come back
   * already changes nothing.
   */
  adopt(permit: HeldPermit, holder: string, nowMs: number): void {
    const { ticket: name, endpoint, identity, leaseMs, runId, role } = permit;
    const known = this.#tickets.get(name);
    if (known?.isDoubted === true) {
      known.isDoubted = false;
      this.#setTimer(known, nowMs + leaseMs);
    }
    if (known !== undefined || this.#ended.get(name) !== undefined) return;
    const state = this.#registry.adopt(identity);
    this.#grants += 1;
    state.adopted(nowMs);
    this.#tickets.set(name, {
      request: {
        ticket: name,
        runId,
        role,
        leaseMs,
        conversation: '',
        priority: 0,
        deadlineAtMs: nowMs,
        avoid: null,
        holder,
      },
      order: 0,
      turn: 0,
      permit: { endpoint, state, grant: this.#grants, role, grantedAtMs: null, isProbe: false },
      queued: null,
      timer: this.#timers.push({ atMs: nowMs + leaseMs, ticket: name }),
      isDoubted: false,
    });
  }

  acquire(request: PermitRequest, nowMs: number): readonly Decision[] {
    const { ticket, runId, role } = request;
    const known = this.#tickets.get(ticket);
    if (known !== undefined) {
      const { permit } = known;
      if (permit === null) return NONE;
      return [granted(ticket, permit.endpoint, permit.state.identity, permit.isProbe)];
    }
    const ending = this.#ended.get(ticket);
    if (ending !== undefined) return [rejected(ticket, ending)];
    const run = this.#run(runId);
    if (run === null || run.waiting >= (this.#options.queueCapacity ?? QUEUE_CAPACITY))
      return [this.#rejected(ticket, { type: 'queue_full' })];
    const impossible = run.impossible(role, request.holder ?? '', nowMs);
    if (impossible !== null) return [this.#rejected(ticket, impossible)];
    this.#enqueue(request, run);
    return this.#drain(nowMs);
  }

  /** A permit comes back. One that was taken back already changes nothing. */
  release(name: string, outcome: PermitOutcome, nowMs: number): readonly Decision[] {
    this.#ended.add(name, CANCELLED);
    return this.#release(name, outcome, nowMs);
  }

  /** Ends a ticket in whatever state it is, also one that has not arrived yet. */
  cancel(name: string, nowMs: number): readonly Decision[] {
    this.#ended.add(name, CANCELLED);
    return this.abandon(name, nowMs);
  }

  /** Ends a ticket whose holder counts as gone; should the holder be back, the ticket can be asked for again. */
  abandon(name: string, nowMs: number): readonly Decision[] {
    const ticket = this.#tickets.get(name);
    if (ticket === undefined) return NONE;
    if (ticket.permit !== null) return this.#release(name, { type: 'abandoned' }, nowMs);
    this.#forget(ticket);
    return [rejected(name, CANCELLED)];
  }

  /**
   * The holder is out of sight, and its requests have ended by `untilMs`: then the permit is given to another,
   * unless the holder is back before (`adopt`). What waits for it ends now.
   */
  doubt(name: string, untilMs: number, nowMs: number): readonly Decision[] {
    const ticket = this.#tickets.get(name);
    if (ticket === undefined || ticket.permit === null) return this.abandon(name, nowMs);
    ticket.isDoubted = true;
    if (untilMs < ticket.timer.value.atMs) this.#setTimer(ticket, untilMs);
    return NONE;
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
      if (ticket.isDoubted) decisions.push(...this.abandon(timer.ticket, nowMs));
      else if (ticket.permit !== null)
        decisions.push(...this.release(timer.ticket, { type: 'abandoned' }, nowMs));
      else {
        const { runId } = ticket.request;
        const resumesInMs = this.#runs.get(runId)?.resumesInMs(ticket.request, nowMs) ?? null;
        this.#forget(ticket);
        decisions.push(this.#rejected(timer.ticket, { type: 'deadline', resumesInMs }));
      }
    }
    decisions.push(...this.#drain(nowMs));
    return decisions;
  }

  /** When `tick` has something to do next; null when only a message can change something. */
  nextWakeMs(nowMs: number): number | null {
    let wake = this.#timers.peek()?.atMs ?? Number.POSITIVE_INFINITY;
    if (this.#waiting > 0) {
      if (!this.#mayGrant(nowMs)) wake = Math.min(wake, nowMs + GATE_POLL_MS);
      for (const { state } of this.#registry.entries) wake = Math.min(wake, state.opensAtMs(nowMs) ?? wake);
    }
    return Number.isFinite(wake) ? wake : null;
  }

  /** Of the endpoints of one run, or of all. */
  stats(nowMs: number, runId: string | null = null): readonly EndpointStats[] {
    const rows: EndpointStats[] = [];
    for (const { state, users } of this.#registry.entries) {
      const mine = runId === null ? [...users][0] : this.#userOf(runId, users);
      if (runId !== null && mine === undefined) continue;
      const waiting = [...this.#runs.values()].reduce((sum, run) => sum + waitingFor(run, users), 0);
      const endpoint = mine?.spec.name ?? state.identity;
      rows.push({ endpoint, ...state.stats(nowMs), waiting, runs: users.size });
    }
    return rows;
  }

  #drop(run: PoolRun): void {
    run.close();
    this.#runs.delete(run.runId);
  }

  #userOf(runId: string, users: ReadonlySet<RunEndpoint>): RunEndpoint | undefined {
    const run = this.#runs.get(runId);
    return [...users].find((user) => run?.endpoint(user.spec.name) === user);
  }

  #changed(runId: string, nowMs: number, change: (run: PoolRun) => void): readonly Decision[] {
    const run = this.#run(runId);
    if (run === null) return NONE;
    change(run);
    const rejections = this.#rejectImpossible(run, nowMs);
    return [...rejections, ...this.#drain(nowMs)];
  }

  /** Null when there are too many. A run that nobody registered and nothing waits for makes room. */
  #run(runId: string): PoolRun | null {
    const known = this.#runs.get(runId);
    if (known !== undefined) return known;
    if (this.#runs.size >= RUNS_MAX) {
      const idle = [...this.#runs.values()].find((run) => !run.isRegistered && run.waiting === 0);
      if (idle === undefined) return null;
      this.#runs.delete(idle.runId);
    }
    const run = new PoolRun(runId, this.#registry);
    this.#runs.set(runId, run);
    return run;
  }

  #enqueue(request: PermitRequest, run: PoolRun): void {
    this.#orders += 1;
    const timer = this.#timers.push({ atMs: request.deadlineAtMs, ticket: request.ticket });
    const ticket: Ticket = {
      request,
      order: this.#orders,
      turn: 0,
      permit: null,
      queued: null,
      timer,
      isDoubted: false,
    };
    run.enqueue(ticket);
    this.#tickets.set(request.ticket, ticket);
    this.#waiting += 1;
  }

  #mayGrant(nowMs: number): boolean {
    return this.#options.mayGrant?.(nowMs) ?? true;
  }

  #drain(nowMs: number): readonly Decision[] {
    if (this.#waiting === 0 || !this.#mayGrant(nowMs)) return NONE;
    let decisions: Decision[] | null = null;
    for (let next = this.#next(nowMs); next !== null; next = this.#next(nowMs)) {
      decisions ??= [];
      decisions.push(this.#grant(next.run, next.match, nowMs));
    }
    return decisions ?? NONE;
  }

  #next(nowMs: number): { readonly run: PoolRun; readonly match: Match } | null {
    // Most decisions end here: what came back has been given out, and the rest is full.
    if (this.#waiting === 0 || !this.#registry.hasRoom(nowMs)) return null;
    for (const run of this.#runs.values()) {
      const match = run.waiting === 0 ? null : run.next(this.#affinity, nowMs);
      if (match !== null) return { run, match };
    }
    return null;
  }

  #grant(run: PoolRun, match: Match, nowMs: number): Decision {
    const { ticket } = match;
    const { request } = ticket;
    this.#leaveQueue(ticket);
    this.#grants += 1;
    const permit = run.granted(match, this.#grants, nowMs);
    ticket.permit = permit;
    this.#setTimer(ticket, nowMs + request.leaseMs);
    if (run.endpointCount > 1) this.#affinity.remember(request, permit.endpoint);
    this.#runs.delete(run.runId);
    this.#runs.set(run.runId, run);
    return granted(request.ticket, permit.endpoint, permit.state.identity, permit.isProbe);
  }

  #release(name: string, outcome: PermitOutcome, nowMs: number): readonly Decision[] {
    const ticket = this.#tickets.get(name);
    if (ticket === undefined || ticket.permit === null) return NONE;
    const { permit } = ticket;
    const { endpoint, state } = permit;
    const { role, runId, holder = '' } = ticket.request;
    this.#forget(ticket);
    state.released(permit, this.#grants, outcome, nowMs);
    this.#registry.forgetIdle(state);
    const run = this.#runs.get(runId);
    if (outcome.type !== 'unusable' || run === undefined) return this.#drain(nowMs);
    run.endpoint(endpoint)?.refused(role, holder, outcome.reason, outcome.status, nowMs);
    return [...this.#rejectImpossible(run, nowMs), ...this.#drain(nowMs)];
  }

  #rejected(ticket: string, rejection: Rejection): Decision {
    this.#ended.add(ticket, rejection);
    return rejected(ticket, rejection);
  }

  #setTimer(ticket: Ticket, atMs: number): void {
    this.#timers.remove(ticket.timer);
    ticket.timer = this.#timers.push({ atMs, ticket: ticket.request.ticket });
  }

  #forget(ticket: Ticket): void {
    this.#leaveQueue(ticket);
    this.#timers.remove(ticket.timer);
    this.#tickets.delete(ticket.request.ticket);
  }

  #leaveQueue(ticket: Ticket): void {
    if (ticket.queued === null) return;
    this.#runs.get(ticket.request.runId)?.leaveQueue(ticket);
    this.#waiting -= 1;
  }

  #rejectImpossible(run: PoolRun, nowMs: number): readonly Decision[] {
    const decisions: Decision[] = [];
    for (let vain = run.firstInVain(nowMs); vain !== null; vain = run.firstInVain(nowMs)) {
      this.#forget(vain.ticket);
      decisions.push(this.#rejected(vain.ticket.request.ticket, vain.rejection));
    }
    return decisions;
  }

  #cancelWaiting(run: PoolRun): readonly Decision[] {
    const decisions: Decision[] = [];
    for (let ticket = run.first(); ticket !== undefined; ticket = run.first()) {
      this.#forget(ticket);
      decisions.push(this.#rejected(ticket.request.ticket, CANCELLED));
    }
    return decisions;
  }
}

function waitingFor(run: PoolRun, users: ReadonlySet<RunEndpoint>): number {
  if (run.waiting === 0) return 0;
  const used = [...run.endpoints].filter((endpoint) => users.has(endpoint));
  return used.reduce((sum, endpoint) => sum + run.waitingFor(endpoint), 0);
}
