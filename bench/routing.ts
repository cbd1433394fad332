/**
 * What a routing decision costs: which endpoint a call goes to, by the pool that every router runs.
 *
 *   npm run bench -- routing [rounds]        (5)
 *
 * 64 endpoints, calls from 16 processes, each strategy, once with room everywhere and once with 10,000 calls waiting. A decision is a
 * call that comes or a permit that comes back, with the grant that follows, and when the pool wants to be woken
 * next. Every decision is timed by itself; printed are the medians over the rounds.
 */
import { cpus, loadavg } from 'node:os';
import { type Strategy, STRATEGIES } from '../src/actors/endpoint-router/choose.ts';
import type { Decision, PermitRequest } from '../src/actors/endpoint-router/permits.ts';
import { Pool } from '../src/actors/endpoint-router/pool.ts';
import { ROLES, type Role } from '../src/dialogue/chat.ts';

const ROUNDS = Number(process.argv[2] ?? 5);
const ENDPOINTS = 64;
const SLOTS = 16;
const CONVERSATIONS = 2_000;
/** Worker processes that the calls come from: each has queues of its own. */
const NODES = 16;
const DECISIONS = 40_000;
const WARM_UP = 10_000;
const CALL_MS = 1_000;

class Load {
  readonly #pool: Pool;
  readonly #held: string[] = [];
  #next = 0;
  #calls = 0;
  #nowMs = 0;

  constructor(strategy: Strategy) {
    const endpoints = Array.from({ length: ENDPOINTS }, (_, index) => ({
      name: `http://10.0.0.${index}:8000/v1`,
      roles: ROLES,
      weight: 1,
      maxInFlight: SLOTS,
    }));
    this.#pool = new Pool({ runs: [{ runId: 'R', endpoints, strategy }] });
  }

  get waiting(): number {
    return this.#pool.waitingCount;
  }

  ask(): void {
    this.#calls += 1;
    const conversation = this.#calls % CONVERSATIONS;
    const request: PermitRequest = {
      ticket: `t${this.#calls}`,
      runId: 'R',
      role: ROLES[this.#calls % ROLES.length] as Role,
      conversation: `run/R/0/${conversation}`,
      priority: conversation,
      deadlineAtMs: this.#nowMs + 600_000,
      leaseMs: 630_000,
      avoid: null,
      holder: `node-${conversation % NODES}`,
    };
    this.#take(this.#pool.acquire(request, this.#nowMs));
  }

  release(): void {
    this.#nowMs += CALL_MS / (ENDPOINTS * SLOTS);
    const ticket = this.#held[this.#next] as string;
    this.#next += 1;
    this.#take(this.#pool.release(ticket, { type: 'answered' }, this.#nowMs));
    this.#pool.nextWakeMs(this.#nowMs);
  }

  #take(decisions: readonly Decision[]): void {
    for (const decision of decisions) if (decision.type === 'granted') this.#held.push(decision.ticket);
  }
}

/** Until all endpoints are past their careful start, and as full as the case wants them. */
function prepared(strategy: Strategy, waiting: number): Load {
  const load = new Load(strategy);
  const inFlight = waiting > 0 ? ENDPOINTS * SLOTS : (ENDPOINTS * SLOTS) / 2;
  for (let call = 0; call < inFlight + waiting; call += 1) load.ask();
  for (let call = 0; call < WARM_UP; call += 1) {
    load.release();
    load.ask();
  }
  return load;
}

interface Times {
  readonly p50: number;
  readonly p99: number;
  readonly mean: number;
}

/** Microseconds of a decision. */
function measure(strategy: Strategy, waiting: number): Times {
  const load = prepared(strategy, waiting);
  const times = new Float64Array(2 * DECISIONS);
  for (let index = 0; index < DECISIONS; index += 1) {
    times[2 * index] = timed(() => load.release());
    times[2 * index + 1] = timed(() => load.ask());
  }
  if (Math.abs(load.waiting - waiting) > 0.05 * waiting) throw new Error(`${load.waiting} calls wait`);
  times.sort();
  const at = (share: number): number => times[Math.floor(share * times.length)] ?? 0;
  return { p50: at(0.5), p99: at(0.99), mean: times.reduce((sum, each) => sum + each, 0) / times.length };
}

function timed(work: () => void): number {
  const startedMs = performance.now();
  work();
  return 1000 * (performance.now() - startedMs);
}

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
const shown = (values: readonly number[]): string => `${median(values).toFixed(1)} µs`;

process.stdout.write(
  `${ENDPOINTS} endpoints of ${SLOTS} slots, calls from ${NODES} processes, ${2 * DECISIONS} decisions a round, medians of ${ROUNDS} rounds; ${cpus().length} cores, load ${loadavg()[0]?.toFixed(1)}, Node ${process.version}\n`,
);
for (const waiting of [0, 10_000]) {
  for (const strategy of STRATEGIES) {
    const rounds = Array.from({ length: ROUNDS }, () => measure(strategy, waiting));
    const [p50, p99, mean] = (['p50', 'p99', 'mean'] as const).map((key) =>
      rounds.map((times) => times[key]),
    );
    process.stdout.write(
      `${strategy.padEnd(24)} ${String(waiting).padStart(6)} waiting: p50 ${shown(p50 ?? [])}, p99 ${shown(p99 ?? [])}, mean ${shown(mean ?? [])}\n`,
    );
  }
}
