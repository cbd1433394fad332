/**
 * Looks at every effect of a simulated cluster when it happens, and says which promise it broke. Owns its own
 * record of what was granted, written and paid for; it believes neither the store nor the nodes.
 *
 * The promises, by ARCHITECTURE.md: I1 an answer is journalled before anything is made of it; I2 nothing is
 * written under an epoch that has been replaced; I3 commits are whole and in rank order; I4 no question
 * twice; I7 never more than `maxInFlight` requests open. And that no answer is paid for twice by whoever has
 * the conversation.
 */
import type { ConversationPayload } from '../../../src/dialogue/conversation-record.ts';
import type { ModelRequest } from '../../../src/dialogue/chat.ts';
import { questionKey } from '../../../src/dialogue/question-key.ts';
import { compareRanks } from '../../../src/dialogue/schedule.ts';
import { runEventsId } from '../../../src/protocol/run-events.ts';
import type {
  CommitRequest,
  CommitResult,
  Journal,
  LeaseGrant,
  LeaseResult,
  Recovered,
  RunStatus,
  Store,
} from '../../../src/ports/store.ts';
import { marksIn } from './scripted-model.ts';
import type { Trace } from './trace.ts';

interface Hold {
  epoch: number;
  /** Who took it. */
  process: string;
  /** Epoch of the last accepted event. */
  written: number;
}

export interface RefereeCounts {
  calls: number;
  /** By a process that had been replaced and could not know. */
  paidAgainByReplaced: number;
  refusedWrites: number;
  commits: number;
  leaderships: number;
}

export class Referee {
  readonly violations: string[] = [];
  readonly counts: RefereeCounts = {
    calls: 0,
    paidAgainByReplaced: 0,
    refusedWrites: 0,
    commits: 0,
    leaderships: 0,
  };
  /** The last one that was stored. */
  status: RunStatus = 'running';
  readonly #trace: Trace;
  readonly #maxInFlight: number;
  readonly #holds = new Map<string, Hold>();
  readonly #leases = new Map<string, number>();
  /** `<journal> <request key>` of every answer that is durable. */
  readonly #answered = new Set<string>();
  /** The same, of every answer that the endpoint gave. */
  readonly #given = new Map<string, number>();
  readonly #durableMarks = new Set<string>();
  readonly #questions = new Set<string>();
  readonly #committed = new Map<string, number>();
  #lastRank = { index: -1, languageIndex: 0 };
  readonly #conversationOf = new WeakMap<ModelRequest, string>();

  constructor(trace: Trace, maxInFlight: number) {
    this.#trace = trace;
    this.#maxInFlight = maxInFlight;
  }

  broken(promise: string, how: string): void {
    const text = `${promise}: ${how}`;
    this.violations.push(text);
    this.#trace.note('BROKEN', text);
  }

  // Model calls.

  /** The request object is the one that reaches the endpoint. */
  asks(request: ModelRequest, journalId: string): void {
    this.#conversationOf.set(request, journalId);
  }

  callStarted(process: string, request: ModelRequest, requestKey: string, open: number): void {
    const id = this.#conversationOf.get(request) ?? '?';
    this.counts.calls += 1;
    this.#trace.note(process, `call ${id} ${requestKey.slice(0, 8)} open=${open}`);
    if (open > this.#maxInFlight)
      this.broken('I7', `${process} opens request ${open}, allowed are ${this.#maxInFlight}`);
    this.#expectDurable(`${process} asks about`, request.messages.map(({ content }) => content).join('\n'));
    if (!this.#answered.has(`${id} ${requestKey}`)) return;
    if (this.#holds.get(id)?.process === process)
      this.broken('I1', `${process} pays again for ${id} ${requestKey.slice(0, 8)}, whose answer is durable`);
    else {
      this.counts.paidAgainByReplaced += 1;
      this.#trace.note(process, `pays again for ${id} ${requestKey.slice(0, 8)}, which another has`);
    }
  }

  callEnded(process: string, request: ModelRequest, requestKey: string, how: string): void {
    this.#trace.note(process, `call ${requestKey.slice(0, 8)} is over (${how})`);
    if (how !== 'answered') return;
    const name = `${this.#conversationOf.get(request) ?? '?'} ${requestKey}`;
    this.#given.set(name, (this.#given.get(name) ?? 0) + 1);
  }

  /** Answers that were given and are in no journal. */
  get wasted(): number {
    let wasted = 0;
    for (const [name, given] of this.#given) wasted += given - (this.#answered.has(name) ? 1 : 0);
    return wasted;
  }

  #expectDurable(what: string, text: string): void {
    for (const mark of marksIn(text))
      if (!this.#durableMarks.has(mark)) this.broken('I1', `${what} answer ${mark}, which is not journalled`);
  }

  // The store.

  /** The store as `process` reaches it. */
  watch(store: Store, process: string): Store {
    const journal = after<Journal>(
      store.journal,
      (name, given, result) => {
        if (name === 'recover') this.#recovered(process, given as Parameters<Journal['recover']>, result);
        if (name === 'append') this.#appended(process, given as unknown as Parameters<Journal['append']>);
        if (name === 'saveSnapshot') this.#expectHold(process, given[0] as string, given[1] as number);
      },
      () => this.#refused(),
    );
    const watched = after<Store>(
      store,
      (name, given, result) => {
        if (name === 'acquireLease') this.#acquired(process, given[0] as string, result as LeaseResult);
        if (name === 'commit') this.#commits(process, given[0] as CommitRequest, result as CommitResult);
        if (name === 'setRunStatus') {
          this.#expectLease(process, 'sets the status', given[1] as LeaseGrant);
          this.status = given[2] as RunStatus;
        }
        if (name === 'renewLease') this.#expectLease(process, 'renews', given[0] as LeaseGrant);
      },
      () => this.#refused(),
    );
    return new Proxy(watched, {
      get: (target, name) => (name === 'journal' ? journal : (Reflect.get(target, name) as unknown)),
    });
  }

  #refused(): void {
    this.counts.refusedWrites += 1;
  }

  #recovered(process: string, [id]: Parameters<Journal['recover']>, result: unknown): void {
    const { epoch } = result as Recovered;
    const hold = this.#holds.get(id) ?? { epoch: 0, process, written: 0 };
    if (epoch <= hold.epoch)
      this.broken('I2', `${process} recovers ${id} under ${epoch}, after ${hold.epoch} was given`);
    this.#holds.set(id, { ...hold, epoch, process });
  }

  #appended(process: string, [id, epoch, , events]: Parameters<Journal['append']>): void {
    this.#expectHold(process, id, epoch);
    const hold = this.#holds.get(id);
    if (hold !== undefined) hold.written = epoch;
    if (id === runEventsId('R')) return;
    for (const event of events) this.#note(id, event as Record<string, unknown>);
  }

  #note(id: string, event: Readonly<Record<string, unknown>>): void {
    const { type, requestKey } = event;
    if (type !== 'ModelAnswered' && type !== 'LateAnswerKept') return;
    const name = `${id} ${String(requestKey)}`;
    if (this.#answered.has(name)) this.broken('I1', `${name} is journalled twice`);
    this.#answered.add(name);
    this.#durableMarks.add(String(requestKey).slice(0, 12));
  }

  #expectHold(process: string, id: string, epoch: number): void {
    const now = this.#holds.get(id)?.epoch ?? 0;
    if (epoch !== now) this.broken('I2', `${process} writes ${id} under ${epoch}, its hold is ${now}`);
  }

  #acquired(process: string, name: string, result: LeaseResult): void {
    if (result.type !== 'granted') return;
    const before = this.#leases.get(name) ?? 0;
    this.counts.leaderships += 1;
    if (result.lease.epoch <= before)
      this.broken('I2', `${process} gets ${name} under ${result.lease.epoch}, after ${before} was given`);
    this.#leases.set(name, result.lease.epoch);
  }

  #expectLease(process: string, what: string, { name, epoch }: LeaseGrant): void {
    const now = this.#leases.get(name) ?? 0;
    if (epoch !== now) this.broken('I2', `${process} ${what} under ${name} ${epoch}, it is ${now}`);
  }

  #commits(process: string, request: CommitRequest, result: CommitResult): void {
    const { index, languageIndex, outcome, lease, conversationId } = request;
    this.#expectLease(process, 'commits', lease);
    if (result.type !== 'committed')
      return this.broken('I4', `${conversationId} repeats ${result.keys.join()}`);
    const key = `${languageIndex}/${index}`;
    const known = this.#committed.get(key);
    if (known !== undefined) {
      if (known !== result.commitSeq)
        this.broken('I3', `${conversationId} is committed at ${known} and again`);
      return;
    }
    this.counts.commits += 1;
    this.#committed.set(key, result.commitSeq);
    if (result.commitSeq !== this.#committed.size)
      this.broken('I3', `commit ${this.#committed.size} has number ${result.commitSeq}`);
    if (compareRanks(request, this.#lastRank) <= 0)
      this.broken('I3', `${conversationId} is committed after a later one`);
    this.#lastRank = { index, languageIndex };
    this.#expectDurable(`${conversationId} is committed with`, JSON.stringify(outcome.payload) ?? '');
    if (outcome.type === 'committed') this.#expectWhole(request, outcome);
  }

  #expectWhole(
    { conversationId, turns }: CommitRequest,
    { payload, questionKeys }: Extract<CommitRequest['outcome'], { type: 'committed' }>,
  ): void {
    const whole = payload as ConversationPayload;
    const asked = whole.turns.map(({ question }) => questionKey(textOf(question['user_message'])));
    if (whole.turns.length !== whole.targetTurns || turns !== whole.targetTurns)
      this.broken('I3', `${conversationId} has ${whole.turns.length} of ${whole.targetTurns} turns`);
    if (asked.join() !== questionKeys.join())
      this.broken('I3', `${conversationId} is committed with other questions than it asked`);
    for (const key of asked) {
      if (this.#questions.has(key)) this.broken('I4', `${conversationId} asks ${key} again`);
      this.#questions.add(key);
    }
  }
}

const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');

/** `target`, with `saw` told of what every call came to, in the same turn, and `refused` of stale epochs. */
function after<T extends object>(
  target: T,
  saw: (name: string, given: readonly unknown[], result: unknown) => void,
  refused: () => void,
): T {
  return new Proxy(target, {
    get(_, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      return (...given: unknown[]): unknown => {
        const result: unknown = Reflect.apply(value, target, given);
        if (!(result instanceof Promise)) return result;
        return result.then(
          (done: unknown) => {
            saw(String(name), given, done);
            return done;
          },
          (error: unknown) => {
            if ((error as { code?: unknown }).code === 'stale_epoch') refused();
            throw error;
          },
        );
      };
    },
  });
}
