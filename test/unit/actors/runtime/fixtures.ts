/** Systems on a simulated clock, each checked for leftovers when its test ends. */
import { expect, onTestFinished } from 'vitest';
import { type ActorSystemOptions, createActorSystem } from '../../../../src/actors/runtime/actor-system.ts';
import type {
  ActorContext,
  ActorDefinition,
  ActorSystem,
  Behaviour,
  DeadLetter,
  ReplyTo,
} from '../../../../src/actors/runtime/types.ts';
import type { Logger, LogLevel } from '../../../../src/kernel/logger.ts';
import type { MemoryTransport } from '../../../../src/transport/memory-transport.ts';
import { SimulatedClock } from '../../../support/simulated-clock.ts';

export interface Bench {
  readonly system: ActorSystem;
  readonly clock: SimulatedClock;
  readonly deadLetters: DeadLetter[];
  readonly log: { readonly level: LogLevel; readonly message: string }[];
  /** Waits, in simulated time, for something to hold. */
  readonly until: (predicate: () => boolean, limitMs?: number) => Promise<void>;
  /** Lets everything happen that needs no time. */
  readonly settle: () => Promise<void>;
}

interface BenchOptions extends Partial<Omit<ActorSystemOptions, 'clock' | 'logger' | 'onDeadLetter'>> {
  readonly clock?: SimulatedClock;
}

function makeBench(options: BenchOptions): {
  readonly bench: Omit<Bench, 'system'>;
  readonly given: ActorSystemOptions;
} {
  const clock = options.clock ?? new SimulatedClock();
  const deadLetters: DeadLetter[] = [];
  const log: { level: LogLevel; message: string }[] = [];
  const logger: Logger = { log: (level, _category, message) => log.push({ level, message }) };
  const given = {
    node: 'a',
    strictMessages: true,
    ...options,
    clock,
    logger,
    onDeadLetter: (letter: DeadLetter): void => void deadLetters.push(letter),
  };
  const until = (predicate: () => boolean, limitMs = 600_000): Promise<void> =>
    clock.runUntil(predicate, { limitMs });
  return { bench: { clock, deadLetters, log, until, settle: () => clock.settle() }, given };
}

export function startBench(options: BenchOptions = {}): Bench {
  const { bench, given } = makeBench(options);
  const system = createActorSystem(given);
  checkLeftovers(system, bench.clock);
  return { ...bench, system };
}

export async function joinBench(transport: MemoryTransport, options: BenchOptions = {}): Promise<Bench> {
  const { bench, given } = makeBench(options);
  const system = await createActorSystem({ ...given, transport });
  checkLeftovers(system, bench.clock);
  return { ...bench, system };
}

function checkLeftovers(system: ActorSystem, clock: SimulatedClock): void {
  onTestFinished(async () => {
    let stopped = false;
    const stopping = system.stop().finally(() => {
      stopped = true;
    });
    await clock.runUntil(() => stopped, { limitMs: 3_600_000 });
    await stopping;
    expect(system.tree()).toEqual([]);
    expect(system.pendingAskCount).toBe(0);
  });
}

/** An actor from one function; returning a behaviour from it when it needs more than `receive`. */
export function actor<M>(
  start: (context: ActorContext<M>) => Behaviour<M>['receive'] | Behaviour<M>,
  options: Omit<ActorDefinition<M>, 'start' | 'kind'> = {},
): ActorDefinition<M> {
  return {
    kind: 'test',
    ...options,
    start(context) {
      const made = start(context);
      return typeof made === 'function' ? { receive: made } : made;
    },
  };
}

export type CounterMessage =
  | { readonly type: 'Add'; readonly amount: number }
  | { readonly type: 'Throw' }
  | { readonly type: 'Read'; readonly replyTo: ReplyTo<number> };

/** Sums up what it is told since its start. */
export const counter = (
  options: Omit<ActorDefinition<CounterMessage>, 'start' | 'kind'> = {},
): ActorDefinition<CounterMessage> =>
  actor<CounterMessage>((context) => {
    let sum = 0;
    return (message) => {
      if (message.type === 'Throw') throw new Error('told to throw');
      if (message.type === 'Add') sum += message.amount;
      else context.reply(message.replyTo, sum);
    };
  }, options);

export const read = (replyTo: ReplyTo<number>): CounterMessage => ({ type: 'Read', replyTo });

/** A promise and its ends, for handlers that wait until the test lets them go on. */
export const gate = (): PromiseWithResolvers<void> => Promise.withResolvers<void>();
