/**
 * An actor whose state is what its journal says. Recovery is snapshot plus later events, at every
 * start and restart; what is persisted is durable before the state shows it (I1), and a journal that
 * has another holder ends the actor for good (I2).
 *
 * nact's own persistence is not used: it counts sequence numbers in memory, goes on from its initial
 * state when the engine is down, and runs commands again while it replays (trap 12).
 */
import { invariant, isDlgforgeError, messageOf } from '../../kernel/errors.ts';
import type { Epoch, PersistenceId } from '../../kernel/ids.ts';
import type { Journal, StoredEvent } from '../../ports/store.ts';
import type { ActorContext, ActorDefinition, Behaviour } from './types.ts';

export interface PersistentActorOptions<S, E, M> extends Omit<ActorDefinition<M>, 'start'> {
  readonly id: PersistenceId;
  readonly journal: Journal;
  readonly initial: S;
  /** Pure and total; states are not changed in place. */
  readonly evolve: (state: S, event: E) => S;
  /** Checks, and brings up to date, what was stored. @default as it is */
  readonly decodeEvent?: (stored: unknown) => E;
  /** @default every 100 events, the state as it is */
  readonly snapshot?: SnapshotOptions<S>;
  /** Called after every recovery: `persistence.state` is the recovered one. */
  readonly behave: (
    context: ActorContext<M>,
    persistence: Persistence<S, E>,
  ) => Behaviour<M> | Promise<Behaviour<M>>;
}

export interface SnapshotOptions<S> {
  /** Events between two snapshots; 0 for none. */
  readonly every: number;
  readonly encode?: (state: S) => unknown;
  /** Null when it is of a form that is no longer understood: all events are then read again. */
  readonly decode?: (stored: unknown) => S | null;
}

/** A persistent actor's own end of its journal. */
export interface Persistence<S, E> {
  readonly id: PersistenceId;
  readonly state: S;
  /** Of the last event, a deferred one too; 0 before the first. */
  readonly seq: number;
  readonly epoch: Epoch;
  /**
   * Appends all of `events` or none, then evolves. Calls queue up behind each other. When it rejects
   * the actor fails, whatever the handler makes of it: the journal may hold more than the state shows,
   * and only a recovery tells.
   * @throws DlgforgeError `stale_epoch` when somebody else has taken over: the actor ends for good.
   */
  persist(events: readonly E[]): Promise<void>;
  /**
   * Evolves now; the events are appended together with the next ones that are persisted, and are lost
   * with a crash before that. For what costs nothing to find out again: recovery then does.
   */
  defer(events: readonly E[]): void;
  /**
   * Resolves when the journal is still this actor's, and writes nothing. When it rejects the actor fails.
   * @throws DlgforgeError `stale_epoch` as `persist` does.
   */
  confirm(): Promise<void>;
  /** Takes a snapshot now, for example before a long quiet time. @throws what the journal throws. */
  snapshot(): Promise<void>;
}

const SNAPSHOT_EVERY = 100;

export function persistentActor<S, E, M>(options: PersistentActorOptions<S, E, M>): ActorDefinition<M> {
  const held: Held = { epoch: null };
  return {
    ...options,
    async start(context) {
      const persistence = new JournalledState(options, context, await recover(options, held));
      const behaviour = await options.behave(context, persistence);
      return {
        receive: (message) => behaviour.receive(message),
        async stopped() {
          await behaviour.stopped?.();
          await persistence.idle();
        },
      };
    },
  };
}

/** What a restart must not forget: another may have gone on meanwhile, and it is not to be taken from that one. */
interface Held {
  epoch: Epoch | null;
}

interface Start<S> {
  readonly epoch: Epoch;
  readonly snapshot: { readonly seq: number; readonly state: S };
  /** All that came after the snapshot. */
  readonly events: readonly StoredEvent[];
}

/** A snapshot whose form is no longer understood is left aside: the events still are. */
async function recover<S, E, M>(options: PersistentActorOptions<S, E, M>, held: Held): Promise<Start<S>> {
  const { journal, id, initial, snapshot: { decode } = {} } = options;
  const from = held.epoch === null ? undefined : { ifEpoch: held.epoch };
  const { epoch, snapshot, events, lastSeq } = await journal.recover(id, from);
  held.epoch = epoch;
  const none = { seq: 0, state: initial };
  if (snapshot === null) return { epoch, snapshot: none, events: throughout(id, 0, events, lastSeq) };
  const state = decode === undefined ? (snapshot.state as S) : decode(snapshot.state);
  if (state !== null) {
    return {
      epoch,
      snapshot: { seq: snapshot.seq, state },
      events: throughout(id, snapshot.seq, events, lastSeq),
    };
  }
  return { epoch, snapshot: none, events: throughout(id, 0, await journal.read(id), lastSeq) };
}

/** The events `afterSeq` + 1 … `lastSeq`, which must all be there. */
function throughout(
  id: PersistenceId,
  afterSeq: number,
  events: readonly StoredEvent[],
  lastSeq: number,
): readonly StoredEvent[] {
  const wanted = events.slice(0, lastSeq - afterSeq);
  const complete =
    wanted.length === lastSeq - afterSeq && wanted.every(({ seq }, i) => seq === afterSeq + i + 1);
  invariant(complete, `the journal of ${id} holds every event from ${afterSeq + 1} to ${lastSeq}`);
  return wanted;
}

/**
 * Invariants: 1. one append at a time, each after the last seq that is known to be durable; 2. after
 * a failed append there is no further one in this life; 3. at most one snapshot is being written.
 */
class JournalledState<S, E, M> implements Persistence<S, E> {
  readonly id: PersistenceId;
  readonly epoch: Epoch;
  readonly #options: PersistentActorOptions<S, E, M>;
  readonly #context: ActorContext<M>;
  #state: S;
  #seq: number;
  /** Already in the state, not yet in the journal. */
  #deferred: E[] = [];
  #appended: Promise<void> = Promise.resolve();
  #failure: { readonly error: unknown } | null = null;
  #snapshotSeq: number;
  #nextSnapshotSeq: number;
  #snapshotting: Promise<void> = Promise.resolve();
  #isSnapshotting = false;

  constructor(options: PersistentActorOptions<S, E, M>, context: ActorContext<M>, from: Start<S>) {
    this.id = options.id;
    this.#options = options;
    this.#context = context;
    this.epoch = from.epoch;
    this.#snapshotSeq = from.snapshot.seq;
    this.#nextSnapshotSeq = from.snapshot.seq + this.#every;
    const { evolve, decodeEvent = (stored: unknown) => stored as E } = options;
    this.#state = from.events.reduce(
      (state, { event }) => evolve(state, decodeEvent(event)),
      from.snapshot.state,
    );
    this.#seq = from.snapshot.seq + from.events.length;
  }

  get state(): S {
    return this.#state;
  }

  get seq(): number {
    return this.#seq + this.#deferred.length;
  }

  defer(events: readonly E[]): void {
    this.#deferred.push(...events);
    this.#state = events.reduce((state, event) => this.#options.evolve(state, event), this.#state);
  }

  persist(events: readonly E[]): Promise<void> {
    const appended = this.#appended.then(() => this.#append(events));
    // The next append waits for this one; that this one failed, it sees itself.
    this.#appended = appended.catch(() => undefined);
    return appended;
  }

  /** An append of nothing, in its place among the others. */
  confirm(): Promise<void> {
    const confirmed = this.#appended.then(() => this.#confirm());
    this.#appended = confirmed.catch(() => undefined);
    return confirmed;
  }

  /** Waits for the one that is being written, so that the newest is written last (invariant 3). */
  snapshot(): Promise<void> {
    const written = this.#snapshotting.then(() => this.#writeSnapshot());
    this.#snapshotting = written.catch(() => undefined);
    return written;
  }

  /** Resolves when nothing is being written. Never rejects. */
  async idle(): Promise<void> {
    await this.#appended;
    await this.#snapshotting;
  }

  async #confirm(): Promise<void> {
    if (this.#failure !== null) throw this.#failure.error;
    try {
      await this.#options.journal.append(this.id, this.epoch, this.#seq, []);
    } catch (error) {
      this.#failure = { error };
      this.#context.fail(error);
      throw error;
    }
  }

  async #append(events: readonly E[]): Promise<void> {
    if (this.#failure !== null) throw this.#failure.error;
    if (events.length === 0) return;
    const deferred = this.#deferred.length;
    try {
      await this.#options.journal.append(this.id, this.epoch, this.#seq, [...this.#deferred, ...events]);
      // Events may have been deferred meanwhile; then these come before them in the journal and not in
      // the state, which only a mistake of ours can bring about.
      invariant(
        this.#deferred.length === deferred,
        `nothing is deferred in ${this.id} while an append is under way`,
      );
      this.#state = events.reduce((state, event) => this.#options.evolve(state, event), this.#state);
      this.#seq += deferred + events.length;
      this.#deferred = [];
    } catch (error) {
      this.#failure = { error };
      this.#context.fail(error);
      throw error;
    }
    if (this.#every > 0 && this.#seq >= this.#nextSnapshotSeq) this.#snapshotAside();
  }

  /** A snapshot only shortens recoveries, so nobody waits for it and its failure fails nobody. */
  #snapshotAside(): void {
    if (this.#isSnapshotting) return;
    this.#isSnapshotting = true;
    this.snapshot()
      .catch((error: unknown) => this.#snapshotFailed(error))
      .finally(() => {
        this.#isSnapshotting = false;
      });
  }

  async #writeSnapshot(): Promise<void> {
    const [seq, state] = [this.#seq, this.#state];
    // A state that is ahead of the journal is no snapshot of it.
    if (seq === this.#snapshotSeq || this.#deferred.length > 0) return;
    const encode = this.#options.snapshot?.encode;
    await this.#options.journal.saveSnapshot(
      this.id,
      this.epoch,
      seq,
      encode === undefined ? state : encode(state),
    );
    this.#snapshotSeq = seq;
    this.#nextSnapshotSeq = seq + this.#every;
  }

  #snapshotFailed(error: unknown): void {
    if (isDlgforgeError(error, 'stale_epoch')) return this.#context.fail(error);
    this.#nextSnapshotSeq = this.#seq + Math.ceil(this.#every / 2);
    const text = `[actor] no snapshot of ${this.id} at ${this.#seq}, next try at ${this.#nextSnapshotSeq}`;
    this.#context.logger.log('warn', 'actors', `${text}: ${messageOf(error)}`, { error });
  }

  get #every(): number {
    return this.#options.snapshot?.every ?? SNAPSHOT_EVERY;
  }
}
