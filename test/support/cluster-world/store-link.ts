/**
 * The way from one process to the database of a simulated cluster: requests and answers take time and get
 * lost, the database is away for a while, and nobody knows what became of a request without an answer.
 *
 * Like the Postgres adapter it waits for a database that is away and repeats what may have been lost, with
 * the adapter's own care for an append that was written before (`append-queue.ts`); now and then it gives up
 * instead, before or after the effect, which the actors have to live with too.
 */
import type { Clock } from '../../../src/kernel/clock.ts';
import { delay } from '../../../src/kernel/clock.ts';
import { DlgforgeError, isDlgforgeError } from '../../../src/kernel/errors.ts';
import type { Journal, Store, StoredEvent } from '../../../src/ports/store.ts';
import type { Body } from './body.ts';
import type { Dice } from './dice.ts';
import type { Trace } from './trace.ts';

export interface StoreFaults {
  /** The database is away. */
  isAway: boolean;
  /** Share of the requests that never arrive, and of the answers. */
  lossRate: number;
  /** Share of what was lost that is not repeated but told to the caller. */
  surfaceRate: number;
  /** How often that happened. */
  surfaced: number;
}

export interface StoreLinkOptions {
  readonly body: Body;
  readonly store: Store;
  readonly clock: Clock;
  readonly dice: Dice;
  readonly faults: StoreFaults;
  readonly trace: Trace;
}

type Effect = (tryNumber: number) => Promise<unknown>;
type Call = (name: string, given: readonly unknown[], effect: Effect) => Promise<unknown>;

const TRAVEL_MS = 3;
const SLOW_TRAVEL_MS = 60;
const SLOW_RATE = 0.02;
/** A try is given up after this. */
const UNANSWERED_MS = 400;
/** What only looks, and is asked all the time. */
const QUIET = new Set(['activeRuns', 'runWanted', 'runEndpointsVersion', 'renewLease']);

export interface StoreLink {
  readonly store: Store;
  /** What waits and what comes ends as cancelled. */
  close(): void;
}

export function openStoreLink({ body, store, clock, dice, faults, trace }: StoreLinkOptions): StoreLink {
  const closing = new AbortController();
  const isReached = (): boolean => !faults.isAway && body.reachesStore;
  const travelMs = (): number => dice.between(0, dice.falls(SLOW_RATE) ? SLOW_TRAVEL_MS : TRAVEL_MS);

  /** One request and its answer; null when either was lost. */
  const attempt = async (effect: () => Promise<unknown>): Promise<{ readonly value: unknown } | null> => {
    await delay(clock, travelMs(), closing.signal);
    if (closing.signal.aborted) throw closed();
    if (!isReached() || dice.falls(faults.lossRate)) return null;
    const answer = await settled(effect());
    if (!isReached() || dice.falls(faults.lossRate)) return null;
    await delay(body.clock, travelMs(), closing.signal);
    if (closing.signal.aborted) throw closed();
    if (answer.type === 'failed') throw answer.error;
    return answer;
  };

  const call: Call = async (name, given, effect) => {
    const isToldOf = !QUIET.has(name);
    for (let tryNumber = 1; ; tryNumber += 1) {
      const answer = await attempt(() => effect(tryNumber));
      if (answer !== null) {
        if (isToldOf) trace.note(body.name, `store ${name} ${textOf(given)}`);
        return answer.value;
      }
      await delay(body.clock, UNANSWERED_MS, closing.signal);
      if (closing.signal.aborted) throw closed();
      trace.note(body.name, `store ${name} ${textOf(given)} has no answer at try ${tryNumber}`);
      if (!isReached() || !dice.falls(faults.surfaceRate)) continue;
      faults.surfaced += 1;
      throw unanswered(name);
    }
  };

  const journal = throughCalls<Journal>(store.journal, 'journal.', call, {
    append: (id, epoch, afterSeq, events) =>
      call('journal.append', [id, epoch, afterSeq, events.length], async (tryNumber) => {
        try {
          await store.journal.append(id, epoch, afterSeq, events);
        } catch (error) {
          if (tryNumber === 1 || !isDlgforgeError(error, 'stale_epoch')) throw error;
          if (!isWritten(await store.journal.read(id, afterSeq), epoch, events)) throw error;
        }
      }) as Promise<void>,
  });
  return {
    store: throughCalls<Store>(store, '', call, {
      journal,
      committed(id, after, filter) {
        return inOnePage(call('committed', [after], () => gathered(store.committed(id, after, filter))));
      },
      close: () => Promise.resolve(),
    }),
    close: () => closing.abort(),
  };
}

async function* inOnePage<T>(page: Promise<unknown>): AsyncIterable<T> {
  yield* (await page) as readonly T[];
}

async function gathered<T>(rows: AsyncIterable<T>): Promise<readonly T[]> {
  const all: T[] = [];
  for await (const row of rows) all.push(row);
  return all;
}

/** Every method of `target` by way of `call`, but those that are replaced. */
function throughCalls<T extends object>(target: T, prefix: string, call: Call, replaced: Partial<T>): T {
  return new Proxy(target, {
    get(_, name) {
      const own: unknown = Reflect.get(replaced, name);
      if (own !== undefined) return own;
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      return (...given: unknown[]) =>
        call(
          `${prefix}${String(name)}`,
          given,
          () => Reflect.apply(value, target, given) as Promise<unknown>,
        );
    },
  });
}

type Settled =
  | { readonly type: 'done'; readonly value: unknown }
  | { readonly type: 'failed'; readonly value: null; readonly error: unknown };

async function settled(promise: Promise<unknown>): Promise<Settled> {
  try {
    return { type: 'done', value: await promise };
  } catch (error) {
    return { type: 'failed', value: null, error };
  }
}

const isWritten = (stored: readonly StoredEvent[], epoch: number, events: readonly unknown[]): boolean =>
  // What writes nothing has not been written by an earlier try either.
  events.length > 0 &&
  events.every((event, i) => {
    const at = stored[i];
    return at?.epoch === epoch && JSON.stringify(at.event) === JSON.stringify(event);
  });

const textOf = (given: readonly unknown[]): string =>
  given
    .map((value) => JSON.stringify(value)?.slice(0, 60))
    .join(' ')
    .slice(0, 120);

const closed = (): DlgforgeError =>
  new DlgforgeError('cancelled', 'The store is closed: the process is stopping.');

function unanswered(name: string): DlgforgeError {
  return new DlgforgeError('store', `${name} was not answered; nobody knows whether it was done.`, {
    retryable: true,
  });
}
