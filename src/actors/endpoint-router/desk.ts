/**
 * Between the pool and the messages. Owns who waits for a reply, and whose tickets end with whom; it
 * outlives a restart of its actor, as the pool does: permits that are out stay counted (I7).
 */
import { unreachable } from '../../kernel/errors.ts';
import type { Membership } from '../../ports/membership.ts';
import type { ActorContext, ActorRef, Behaviour, ReplyTo } from '../runtime/types.ts';
import type { Adoption } from './adoption.ts';
import type { Decision } from './permits.ts';
import type { Pool } from './pool.ts';
import { PoolAlarm } from './router.ts';
import type { RouterMessage, RouterReply } from './router-messages.ts';

type Context = ActorContext<RouterMessage>;
type Told<T extends RouterMessage['type']> = Extract<RouterMessage, { readonly type: T }>;

const NONE: readonly Decision[] = [];
/** A node that is not heard any more has ended its requests by then (`HeldPermits`). */
const REQUESTS_END_MS = 5_000;

export class Desk {
  readonly #pool: Pool;
  readonly #epoch: number;
  readonly #adoption: Adoption;
  readonly #departed: Membership['departed'];
  readonly #replies = new Map<string, ReplyTo<RouterReply>>();
  readonly #holderOf = new Map<string, string>();
  readonly #held = new Map<string, { readonly holder: ActorRef<never>; readonly tickets: Set<string> }>();

  constructor(pool: Pool, epoch: number, adoption: Adoption, departed: Membership['departed']) {
    this.#pool = pool;
    this.#epoch = epoch;
    this.#adoption = adoption;
    this.#departed = departed;
  }

  open(context: Context): Behaviour<RouterMessage> {
    const alarm = new PoolAlarm(this.#pool, context.clock, () =>
      context.tell(context.self, { type: 'Wake' }),
    );
    const openedAtMs = context.clock.now();
    this.#adoption.isComplete(openedAtMs);
    // What came due while nobody looked is served now; the alarm only rings for what is to come.
    this.#reply(context, this.#pool.tick(openedAtMs));
    alarm.arm(openedAtMs);
    // A watch ends with the behaviour that asked for it; being told twice changes nothing.
    for (const [key, { holder }] of this.#held) this.#watch(key, holder, context);
    return {
      receive: (message) => {
        const nowMs = context.clock.now();
        this.#reply(context, this.#handle(message, context, nowMs));
        this.#acknowledge(message, context);
        alarm.arm(nowMs);
      },
      stopped: () => alarm.stop(),
    };
  }

  #handle(message: RouterMessage, context: Context, nowMs: number): readonly Decision[] {
    const pool = this.#pool;
    switch (message.type) {
      case 'Acquire':
        return this.#acquire(message, context, nowMs);
      case 'Release':
        this.#unbind(message.ticket);
        return pool.release(message.ticket, message.outcome, nowMs);
      case 'Cancel':
        this.#unbind(message.ticket);
        return pool.cancel(message.ticket, nowMs);
      case 'AdoptPermits':
        return this.#adopt(message, context, nowMs);
      case 'RegisterRun':
        return pool.register(message, nowMs);
      case 'UnregisterRun':
        return pool.unregister(message.runId, nowMs);
      case 'AddEndpoint':
        return pool.addEndpoint(message.runId, message.endpoint, nowMs);
      case 'DrainEndpoint':
        return pool.drainEndpoint(message.runId, message.name, nowMs);
      case 'RemoveEndpoint':
        return pool.removeEndpoint(message.runId, message.name, nowMs);
      case 'HolderEnded':
        return this.#holderEnded(message, nowMs);
      case 'Wake':
        return pool.tick(nowMs);
      case 'GetStats':
        context.reply(message.replyTo, pool.stats(nowMs, message.runId));
        return NONE;
      default:
        return unreachable(message);
    }
  }

  #acknowledge(message: RouterMessage, context: Context): void {
    if (message.type === 'Acquire' || message.type === 'GetStats' || !('replyTo' in message)) return;
    // Meant for a router that is still to start at this place: the sender tries again.
    if (message.type === 'AdoptPermits' && message.epoch !== this.#epoch) return;
    if (message.replyTo !== undefined) context.reply(message.replyTo, 'done');
  }

  #acquire(message: Told<'Acquire'>, context: Context, nowMs: number): readonly Decision[] {
    const { ticket, runId, wish, holder, replyTo, epoch } = message;
    if (epoch !== this.#epoch) {
      context.reply(replyTo, { type: 'moved' });
      return NONE;
    }
    this.#replies.set(ticket, replyTo);
    if (holder !== null) this.#bind(ticket, holder, context);
    const deadlineAtMs = nowMs + wish.waitMs;
    return this.#pool.acquire({ ...wish, ticket, runId, deadlineAtMs, holder: holder?.node ?? '' }, nowMs);
  }

  #adopt(message: Told<'AdoptPermits'>, context: Context, nowMs: number): readonly Decision[] {
    if (message.epoch !== this.#epoch) return NONE;
    for (const permit of message.permits) {
      this.#pool.adopt(permit, message.holder.node, nowMs);
      if (this.#pool.knows(permit.ticket)) this.#bind(permit.ticket, message.holder, context);
    }
    if (message.isComplete) this.#adoption.reported(message.node);
    return this.#pool.tick(nowMs);
  }

  #holderEnded({ holder: key, isNodeLost }: Told<'HolderEnded'>, nowMs: number): readonly Decision[] {
    const held = this.#held.get(key);
    if (held === undefined) return NONE;
    const tickets = [...held.tickets];
    this.#held.delete(key);
    // A node that is lost and yet there had lost this one: it works on with its permits, and will report them.
    if (isNodeLost) this.#adoption.forgotten(held.holder.node, nowMs);
    for (const ticket of tickets) this.#holderOf.delete(ticket);
    const departure = isNodeLost ? this.#departed(held.holder.node) : null;
    if (!isNodeLost || departure?.hasEnded === true)
      return tickets.flatMap((ticket) => this.#pool.abandon(ticket, nowMs));
    const untilMs = Math.min(nowMs, departure?.lastHeardMs ?? nowMs) + REQUESTS_END_MS;
    return tickets.flatMap((ticket) => this.#pool.doubt(ticket, untilMs, nowMs));
  }

  #reply(context: Context, decisions: readonly Decision[]): void {
    for (const decision of decisions) {
      const replyTo = this.#replies.get(decision.ticket);
      this.#replies.delete(decision.ticket);
      if (!this.#pool.knows(decision.ticket)) this.#unbind(decision.ticket);
      if (replyTo === undefined) continue;
      context.reply(
        replyTo,
        decision.type === 'granted'
          ? { ...decision, epoch: this.#epoch }
          : { type: 'rejected', rejection: decision.rejection },
      );
    }
  }

  #bind(ticket: string, holder: ActorRef<never>, context: Context): void {
    const key = `${holder.node} ${holder.path} ${holder.incarnation}`;
    let held = this.#held.get(key);
    if (held === undefined) {
      held = { holder, tickets: new Set() };
      this.#held.set(key, held);
      this.#watch(key, holder, context);
    }
    held.tickets.add(ticket);
    this.#holderOf.set(ticket, key);
  }

  #watch(key: string, holder: ActorRef<never>, context: Context): void {
    context.watch(holder, ({ reason }) => ({
      type: 'HolderEnded',
      holder: key,
      isNodeLost: reason === 'node_lost',
    }));
  }

  #unbind(ticket: string): void {
    const key = this.#holderOf.get(ticket);
    if (key === undefined) return;
    this.#holderOf.delete(ticket);
    this.#held.get(key)?.tickets.delete(ticket);
  }
}
