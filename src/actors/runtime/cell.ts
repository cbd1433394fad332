/**
 * One actor. A nact actor carries it: nact runs one turn at a time; this owns the mails, the children, the
 * current life and the restarts. Everything that changes the actor's life happens inside a turn or inside
 * nact's `onCrash`, while nact keeps everything else waiting.
 *
 * A turn takes up to `MAILS_PER_TURN` mails. nact alone takes one in each turn of the event loop (trap 9),
 * which in a process that is busy with sockets is some hundred a second: too few for a router or a committer.
 *
 * Invariants
 *  1. At most one of start, handler, `stopped` and restart runs at any time.
 *  2. A supervision signal is obeyed before the next message, whatever the mailbox holds.
 *  3. Children have ended before `stopped` is called, and before the next start.
 *  4. A message is handled at most once; one that is never handled is a dead letter.
 *  5. After the end nothing is left: no child, timer, watch or open ask.
 */
import { DlgforgeError, invariant, isDlgforgeError, messageOf } from '../../kernel/errors.ts';
import type { ReceivedAsk } from './asks.ts';
import type { Branch } from './branches.ts';
import { Dependents } from './dependents.ts';
import { Family } from './family.ts';
import type { Host } from './host.ts';
import { Life } from './life.ts';
import { MailQueue } from './mail-queue.ts';
import type { ActorMeter } from './meters.ts';
import { type Carried, dispatchNact, type NactRef, spawnNact, stopNact } from './nact.ts';
import type { Resident } from './resident.ts';
import { RestartBudget } from './restart-budget.ts';
import type { ActorDefinition, ActorInfo, ActorRef, DeadLetterReason, Terminated } from './types.ts';

/** What waits for the actor. */
type Mail =
  | { readonly type: 'start' }
  /** Makes an idle actor look at its signal. */
  | { readonly type: 'wake' }
  | {
      readonly type: 'message';
      readonly message: unknown;
      readonly ask: ReceivedAsk | null;
      readonly sender: string | null;
    };

type Signal = { readonly type: 'stop' } | { readonly type: 'fail'; readonly error: unknown };

interface Outcome extends Pick<Terminated, 'reason' | 'error'> {
  readonly escalate: boolean;
}

const START: Mail = { type: 'start' };
const WAKE: Mail = { type: 'wake' };
/** Enough to empty a mailbox that a burst has filled, few enough that sockets and timers get their turn. */
const MAILS_PER_TURN = 64;
const STOP: Signal = { type: 'stop' };
const STOPPED: Outcome = { reason: 'stopped', error: null, escalate: false };

/** Handlers that are typed to return nothing may still return something. */
const isPromise = (value: unknown): value is Promise<void> =>
  typeof (value as Promise<void> | null | undefined)?.then === 'function';

export class Cell implements Resident, Carried {
  readonly ref: ActorRef<unknown>;
  readonly definition: ActorDefinition<unknown>;
  restarts = 0;

  readonly #host: Host;
  readonly #parent: Cell | null;
  readonly #branch: Branch;
  readonly #nact: NactRef;
  readonly #meter: ActorMeter | null;
  readonly #mails = new MailQueue<Mail>();

  #state: ActorInfo['state'] = 'starting';
  #signal: Signal | null = null;
  #outcome: Outcome = STOPPED;
  #life: Life | null = null;
  #budget: RestartBudget | null = null;
  #lastError: string | null = null;
  #waiting = 0;
  /** A turn has been asked for, or is under way. */
  #hasTurn = false;
  /** nact has been told that this was the last turn. */
  #isOver = false;
  #cancelStopDeadline: (() => void) | null = null;
  #endPause: (() => void) | null = null;
  #ended: PromiseWithResolvers<void> | null = null;
  // Most actors have no children, and nobody waits for them.
  #family: Family | null = null;
  #dependents: Dependents | null = null;

  constructor(host: Host, parent: Cell | null, name: string, definition: ActorDefinition<unknown>) {
    const incarnation = host.nextIncarnation();
    const path = parent === null ? name : `${parent.ref.path}/${name}`;
    this.ref = { node: host.node, path, incarnation };
    this.definition = definition;
    this.#host = host;
    this.#meter = host.meters.ofKind(definition.kind);
    this.#parent = parent;
    this.#branch = (parent === null ? host.branches : parent.#ownFamily.branches).withRoom();
    host.admit(this, name);
    this.#branch.used += 1;
    parent?.adopt(this);
    this.#nact = spawnNact(this.#branch.ref, `${name}.${incarnation}`, this);
    this.#post(START);
  }

  get #ownFamily(): Family {
    this.#family ??= new Family(this.ref, this.#nact);
    return this.#family;
  }

  get children(): Iterable<Resident> {
    return this.#family?.children.values() ?? [];
  }

  get dependents(): Dependents {
    this.#dependents ??= new Dependents((asks) => this.#host.post.failAsks(asks, this.ref.path));
    return this.#dependents;
  }

  get isRoot(): boolean {
    return this.#parent === null;
  }

  get info(): ActorInfo {
    return {
      path: this.ref.path,
      kind: this.definition.kind,
      restarts: this.restarts,
      lastError: this.#lastError,
      mailboxLength: this.#waiting,
      state: this.#state,
      handlingSinceMs: this.#life?.handlingSinceMs ?? null,
    };
  }

  get refusal(): DeadLetterReason | null {
    if (this.#isEnding) return 'stopped';
    const capacity = this.definition.mailbox?.capacity ?? this.#host.defaults.mailbox.capacity;
    return this.#waiting >= capacity ? 'overloaded' : null;
  }

  deliver(message: unknown, ask: ReceivedAsk | null, sender: string | null): void {
    this.#waiting += 1;
    this.#post({ type: 'message', message, ask, sender });
  }

  #post(mail: Mail): void {
    this.#mails.push(mail);
    this.#askForTurn();
  }

  #askForTurn(): void {
    if (this.#hasTurn || this.#isOver || this.#mails.length === 0) return;
    this.#hasTurn = true;
    dispatchNact(this.#nact);
  }

  deliverOwn(message: unknown): void {
    if (!this.#isEnding) this.deliver(message, null, this.ref.path);
  }

  spawnChild(name: string, definition: ActorDefinition<unknown>): ActorRef<unknown> {
    return new Cell(this.#host, this, name, definition).ref;
  }

  stopChild(child: ActorRef<never>): Promise<void> {
    return this.#ownFamily.stop(child);
  }

  adopt(child: Cell): void {
    this.#ownFamily.children.set(child.ref.incarnation, child);
  }

  forget(child: Cell): void {
    this.#family?.children.delete(child.ref.incarnation);
  }

  stop(): Promise<void> {
    this.#ended ??= Promise.withResolvers();
    if (this.#state === 'stopped') this.#ended.resolve();
    if (this.#isEnding) return this.#ended.promise;
    this.#state = 'stopping';
    this.#signal = STOP;
    this.#life?.end();
    this.#endPause?.();
    this.#dependents?.failAsks('waiting');
    this.#armStopDeadline();
    this.#post(WAKE);
    return this.#ended.promise;
  }

  /** A child escalates, or something failed outside of a handler. */
  fail(error: unknown): void {
    if (this.#signal !== null || this.#isEnding) return;
    this.#signal = { type: 'fail', error };
    this.#post(WAKE);
  }

  // Called by nact.

  turn(): void | Promise<void> {
    return this.#takeMails(MAILS_PER_TURN);
  }

  /** Goes on without a pause while handlers return at once; the first promise makes the rest asynchronous. */
  #takeMails(most: number): void | Promise<void> {
    for (let left = most; left > 0 && !this.#isOver; left -= 1) {
      const mail = this.#mails.shift();
      if (mail === undefined) break;
      if (mail.type === 'message') this.#waiting -= 1;
      const handled = this.#take(mail);
      if (isPromise(handled)) return handled.then(() => this.#takeMails(left - 1));
    }
    this.#hasTurn = false;
    this.#askForTurn();
  }

  async crashed(error: unknown): Promise<'resume' | 'stop'> {
    if (!this.#isEnding) {
      const decision = await this.#supervise(error);
      this.#hasTurn = false;
      if (decision === 'resume') this.#askForTurn();
      return decision;
    }
    const expected =
      isDlgforgeError(error, 'cancelled') || (error instanceof Error && error.name === 'AbortError');
    this.#log(expected ? 'debug' : 'warn', `failed while it was stopping: ${messageOf(error)}`, error);
    await this.#windDown(STOPPED);
    return 'stop';
  }

  drained(): void {
    this.#state = 'stopped';
    this.#isOver = true;
    this.#branch.used -= 1;
    this.#parent?.forget(this);
    this.#host.dismiss(this);
    for (let mail = this.#mails.shift(); mail !== undefined; mail = this.#mails.shift()) this.#refuse(mail);
    const { reason, error, escalate } = this.#outcome;
    this.#dependents?.failAsks('all');
    this.#dependents?.tellWatchers({ ref: this.ref, reason, error });
    if (escalate) this.#parent?.fail(error);
    this.#ended?.resolve();
  }

  broken(error: unknown): void {
    this.#log('error', `the runtime failed, which is a mistake in it: ${messageOf(error)}`, error);
    this.#ended?.resolve();
  }

  // Inside a turn.

  #take(mail: Mail): void | Promise<void> {
    if (this.#signal !== null) return this.#obey(this.#signal, mail);
    if (mail.type === 'start') return this.#begin();
    if (mail.type === 'wake') return;
    if (mail.ask !== null) mail.ask.taken = true;
    invariant(this.#life !== null, `${this.ref.path} takes a message without a life`);
    return this.#life.receive(mail.message);
  }

  /** Invariant 2: the message that this turn was for waits until the signal has been obeyed. */
  async #obey(signal: Signal, mail: Mail): Promise<void> {
    if (signal.type === 'fail' && (await this.#supervise(signal.error)) === 'resume') return this.#take(mail);
    if (signal.type === 'stop') await this.#windDown(STOPPED);
    this.#refuse(mail);
    this.#isOver = true;
    stopNact(this.#nact);
  }

  async #begin(): Promise<void> {
    this.#life = new Life(this.#host, this, this.#meter?.handlerSeconds ?? null);
    await this.#life.start();
    if (!this.#isEnding) this.#state = 'running';
  }

  /** One-for-one: this actor's life ends, its children's with it, and a new one begins after a pause. */
  async #supervise(error: unknown): Promise<'resume' | 'stop'> {
    for (let failure = error; ; ) {
      this.#lastError = messageOf(failure);
      if (this.#isEnding) break;
      this.#state = 'restarting';
      const healthySinceMs = this.#life?.healthySinceMs ?? null;
      await this.#endLife();
      if (this.#isEnding) break;
      this.#budget ??= new RestartBudget({ ...this.#host.defaults.restart, ...this.definition.restart });
      const verdict = this.#budget.failed(this.#host.clock.now(), healthySinceMs, failure);
      if (verdict.type === 'give_up') return this.#giveUp(failure, verdict.escalate);
      this.#log('warn', `failed and restarts in ${verdict.pauseMs} ms: ${this.#lastError}`, failure);
      await this.#pause(verdict.pauseMs);
      if (this.#isEnding) break;
      this.restarts += 1;
      this.#meter?.restarted(failure);
      try {
        await this.#begin();
        return 'resume';
      } catch (again) {
        failure = again;
      }
    }
    await this.#windDown(STOPPED);
    return 'stop';
  }

  async #giveUp(error: unknown, escalate: boolean): Promise<'stop'> {
    this.#meter?.givenUp(error);
    if (isDlgforgeError(error, 'stale_epoch')) {
      // Expected wherever work moves: whoever has it now goes on with it (I2).
      this.#log('warn', `ends here, it goes on elsewhere: ${messageOf(error)}`, undefined);
    } else {
      const then = escalate && this.#parent !== null ? 'its parent fails too' : 'it stays down';
      this.#log('error', `is given up after ${this.restarts} restarts, ${then}: ${messageOf(error)}`, error);
    }
    await this.#windDown({ reason: 'given_up', error, escalate });
    return 'stop';
  }

  async #windDown(outcome: Outcome): Promise<void> {
    this.#state = 'stopping';
    this.#outcome = outcome;
    this.#cancelStopDeadline?.();
    await this.#endLife();
  }

  /** Invariant 3. Also used on a life that has ended: then it does nothing. */
  async #endLife(): Promise<void> {
    const life = this.#life;
    life?.end();
    this.#dependents?.failAsks('taken');
    await this.#family?.stopAll();
    try {
      await life?.close();
    } catch (error) {
      this.#log(
        'error',
        `failed in \`stopped\`, which may have left something open: ${messageOf(error)}`,
        error,
      );
    }
    this.#life = null;
    // What failed meanwhile, a child for example, belonged to this life.
    if (this.#signal?.type === 'fail') this.#signal = null;
  }

  async #pause(pauseMs: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const cancel = this.#host.clock.schedule(pauseMs, resolve);
    this.#endPause = resolve;
    await promise;
    cancel();
    this.#endPause = null;
  }

  #armStopDeadline(): void {
    const { clock, defaults } = this.#host;
    this.#cancelStopDeadline = clock.schedule(defaults.stopDeadlineMs, () => {
      const text = `${this.ref.path} was told to stop, but what it is doing did not end within ${defaults.stopDeadlineMs} ms`;
      this.#life?.abandon(new DlgforgeError('timeout', `${text}; it should heed its context's signal`));
    });
  }

  /** Invariant 4. */
  #refuse(mail: Mail): void {
    // An ask's sender hears by `failAsks`.
    if (mail.type !== 'message' || mail.ask !== null) return;
    this.#host.post.deadLetter({
      to: this.ref,
      reason: 'stopped',
      sender: mail.sender,
      message: mail.message,
    });
  }

  get #isEnding(): boolean {
    return this.#state === 'stopping' || this.#state === 'stopped';
  }

  #log(level: 'debug' | 'warn' | 'error', text: string, error: unknown): void {
    this.#host.logger.log(level, 'actors', `[actor] ${this.ref.path} (${this.definition.kind}) ${text}`, {
      error,
    });
  }
}
