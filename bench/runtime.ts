/**
 * The actor runtime by itself, in one process: tells, asks, and what an actor costs that has nothing to do.
 *
 *   npm run bench -- runtime [rounds]        (7)
 *
 * Medians over the rounds, after one that is not counted. Each figure is taken without metrics and with them.
 */
import { cpus, loadavg } from 'node:os';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { createActorSystem } from '../src/actors/runtime/actor-system.ts';
import type {
  ActorContext,
  ActorDefinition,
  ActorRef,
  ActorSystem,
  ReplyTo,
} from '../src/actors/runtime/types.ts';
import { openRegistry } from '../src/bootstrap/metrics/registry.ts';
import { actorSource } from '../src/bootstrap/metrics/sources.ts';
import { silentLogger } from '../src/kernel/logger.ts';
import { type Metrics, noMetrics } from '../src/kernel/metrics.ts';

const ROUNDS = Number(process.argv[2] ?? 7);
const TELLS = 400_000;
const ASKS = 100_000;
const MANY = 1_000;
/** Tells that are sent before the receivers get a turn. */
const BURST = 500;
const IDLE_ACTORS = 50_000;
const IDLE_PARENTS = 250;
const COLLECTIONS = 4;

type Message = { readonly type: 'Note' } | { readonly type: 'Question'; readonly replyTo: ReplyTo<number> };

const NOTE: Message = { type: 'Note' };
const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Actors that count what they are told, and say when they have heard all of it. */
class Listeners {
  readonly refs: readonly ActorRef<Message>[];
  #expected = 0;
  #heardAll: () => void = () => undefined;

  constructor(system: ActorSystem, count: number) {
    const definition: ActorDefinition<Message> = {
      kind: 'listener',
      // A sender that does not wait is quicker than any receiver: nothing may be refused here.
      mailbox: { capacity: TELLS },
      start: (context) => this.#listen(context),
    };
    this.refs = Array.from({ length: count }, (_, n) => system.spawn(`listener-${n}`, definition));
  }

  expect(messages: number): Promise<void> {
    this.#expected = messages;
    return new Promise((resolve) => {
      this.#heardAll = resolve;
    });
  }

  #listen(context: ActorContext<Message>) {
    return {
      receive: (message: Message): void => {
        if (message.type === 'Question') return context.reply(message.replyTo, 1);
        this.#expected -= 1;
        if (this.#expected === 0) this.#heardAll();
      },
    };
  }
}

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;

type Round = (system: ActorSystem, listeners: Listeners) => Promise<number>;

/** Messages per second. */
const tells: Round = async (system, listeners) => {
  const { refs } = listeners;
  const heard = listeners.expect(TELLS);
  const startedMs = performance.now();
  for (let sent = 0; sent < TELLS; sent += 1) {
    system.tell(refs[sent % refs.length] as ActorRef<Message>, NOTE);
    if (sent % BURST === BURST - 1) await nextTurn();
  }
  await heard;
  return TELLS / ((performance.now() - startedMs) / 1000);
};

/** Answers per second, with `inFlight` asks at a time. */
const asks =
  (inFlight: number, count: number): Round =>
  async (system, { refs }) => {
    let left = count;
    const asker = async (): Promise<void> => {
      while (left > 0) {
        left -= 1;
        const ref = refs[left % refs.length] as ActorRef<Message>;
        await system.ask<Message, number>(ref, (replyTo) => ({ type: 'Question', replyTo }));
      }
    };
    const startedMs = performance.now();
    await Promise.all(Array.from({ length: inFlight }, asker));
    return count / ((performance.now() - startedMs) / 1000);
  };

const CASES: readonly { readonly name: string; readonly actors: number; readonly round: Round }[] = [
  { name: 'tell, one sender, one actor', actors: 1, round: tells },
  { name: `tell, one sender, ${MANY} actors`, actors: MANY, round: tells },
  { name: 'ask, one at a time', actors: 1, round: asks(1, ASKS / 5) },
  { name: 'ask, 64 in flight, one actor', actors: 1, round: asks(64, ASKS) },
  { name: `ask, 64 in flight, ${MANY} actors`, actors: MANY, round: asks(64, ASKS) },
];

/** Rounds of all take turns, so that a busy minute of the machine falls on each. */
async function perSecond(actors: number, round: Round, all: readonly Metrics[]): Promise<number[]> {
  const benches = all.map((metrics) => {
    const system = createActorSystem({ node: 'bench', logger: silentLogger, metrics });
    return { system, listeners: new Listeners(system, actors), results: [] as number[] };
  });
  for (const { system, listeners } of benches) await round(system, listeners);
  for (let n = 0; n < ROUNDS; n += 1)
    for (const { system, listeners, results } of benches) results.push(await round(system, listeners));
  for (const { system } of benches) await system.stop();
  return benches.map(({ results }) => median(results));
}

setFlagsFromString('--expose-gc');
/** `last-resort` also gives empty pages back to the system, as V8 does when memory is short. */
const collect = runInNewContext('gc') as (how: {
  type: 'major';
  execution: 'sync';
  flavor: 'last-resort';
}) => void;

async function memory(): Promise<{ readonly heap: number; readonly rss: number }> {
  for (let n = 0; n < COLLECTIONS; n += 1) {
    collect({ type: 'major', execution: 'sync', flavor: 'last-resort' });
    await nextTurn();
  }
  const { heapUsed, rss } = process.memoryUsage();
  return { heap: heapUsed, rss };
}

let started = 0;
const haveAllStarted = (): boolean => started === IDLE_ACTORS;
const idle: ActorDefinition<Message> = {
  kind: 'idle',
  start() {
    started += 1;
    return { receive: () => undefined };
  },
};
const parent: ActorDefinition<Message> = {
  kind: 'parent',
  start(context) {
    for (let n = 0; n < IDLE_ACTORS / IDLE_PARENTS; n += 1) context.spawn(`idle-${n}`, idle);
    return { receive: () => undefined };
  },
};

interface IdleCost {
  readonly heap: number;
  readonly rss: number;
  /** Of a look at all of them, as a scrape takes it. */
  readonly lookMs: number;
}

/** Bytes of one of many idle actors, its share of a parent with it. */
async function idleCost(metrics: Metrics): Promise<IdleCost> {
  const system = createActorSystem({ node: 'bench', logger: silentLogger, metrics });
  const before = await memory();
  started = 0;
  for (let n = 0; n < IDLE_PARENTS; n += 1) system.spawn(`parent-${n}`, parent);
  while (!haveAllStarted()) await nextTurn();
  const after = await memory();
  const startedMs = performance.now();
  await actorSource(system)();
  const lookMs = performance.now() - startedMs;
  await system.stop();
  const count = IDLE_ACTORS + IDLE_PARENTS;
  return { heap: (after.heap - before.heap) / count, rss: (after.rss - before.rss) / count, lookMs };
}

const line = (text: string): boolean => process.stdout.write(`${text}\n`);
const thousands = (value: number): string => Math.round(value).toLocaleString('en-US');
const load = (): string => loadavg()[0]?.toFixed(2) ?? '?';

// First, while the heap is small: what was there before must not hide what comes.
const idleActor = await idleCost(noMetrics);
const idleMetered = await idleCost(openRegistry());
line(`load average ${load()} on ${cpus().length} cores, medians of ${ROUNDS} rounds`);
for (const { name, actors, round } of CASES) {
  const [plain = 0, metered = 0] = await perSecond(actors, round, [noMetrics, openRegistry()]);
  line(
    `${name.padEnd(34)} ${thousands(plain).padStart(10)}/s, with metrics ${thousands(metered).padStart(10)}/s`,
  );
}
line(
  `idle actor, ${thousands(IDLE_ACTORS)} under ${IDLE_PARENTS}: heap ${thousands(idleActor.heap)} bytes, RSS ${thousands(idleActor.rss)} (goal ≤ 3,072); with metrics ${thousands(idleMetered.heap)}; a look at all of them ${idleActor.lookMs.toFixed(0)} ms`,
);
line(`load average ${load()} at the end`);
