import { isDlgforgeError, messageOf, unreachable } from '../../kernel/errors.ts';
import type {
  ActorContext,
  ActorDefinition,
  ActorRef,
  Behaviour,
  Messenger,
  ReplyTo,
} from '../runtime/types.ts';
import type { EndpointStats } from './endpoint-state.ts';
import type { Decision } from './permits.ts';
import { Pool, type PoolOptions } from './pool.ts';
import { acquireCancelled, type EndpointRouter, type PermitReply, PoolAlarm } from './router.ts';
import { decodeRouterMessage, type RouterMessage, type RouterReply } from './router-messages.ts';

/** Every open call of a window has one message here at most. */
const MAILBOX_CAPACITY = 200_000;

/**
 * The pool behind an actor, so that one router can serve a whole cluster. The pool outlives a restart
 * of its behaviour: permits that are out stay counted, and `maxInFlight` stays hard (I7).
 */
export function endpointRouter(options: PoolOptions): ActorDefinition<RouterMessage> {
  const desk = new Desk(new Pool(options));
  return {
    kind: 'endpoint-router',
    decode: decodeRouterMessage,
    mailbox: { capacity: MAILBOX_CAPACITY },
    start: (context) => desk.open(context),
  };
}

/** Owns the pool, who waits for a reply, and whose tickets end with whom. */
class Desk {
  readonly #pool: Pool;
  readonly #replies = new Map<string, ReplyTo<RouterReply>>();
  readonly #holderOf = new Map<string, string>();
  readonly #held = new Map<string, { readonly holder: ActorRef<never>; readonly tickets: Set<string> }>();

  constructor(pool: Pool) {
    this.#pool = pool;
  }

  open(context: ActorContext<RouterMessage>): Behaviour<RouterMessage> {
    const alarm = new PoolAlarm(this.#pool, context.clock, () =>
      context.tell(context.self, { type: 'Wake' }),
    );
    const openedAtMs = context.clock.now();
    // What came due while nobody looked is served now; the alarm only rings for what is to come.
    this.#reply(context, this.#pool.tick(openedAtMs));
    alarm.arm(openedAtMs);
    // A watch ends with the behaviour that asked for it; being told twice changes nothing.
    for (const [key, { holder }] of this.#held) this.#watch(key, holder, context);
    return {
      receive: (message) => {
        const nowMs = context.clock.now();
        this.#reply(context, this.#handle(message, context, nowMs));
        alarm.arm(nowMs);
      },
      stopped: () => alarm.stop(),
    };
  }

  #handle(message: RouterMessage, context: ActorContext<RouterMessage>, nowMs: number): readonly Decision[] {
    switch (message.type) {
      case 'Acquire': {
        const { ticket, wish, holder, replyTo } = message;
        this.#replies.set(ticket, replyTo);
        if (holder !== null) this.#bind(ticket, holder, context);
        return this.#pool.acquire({ ...wish, ticket, deadlineAtMs: nowMs + wish.waitMs }, nowMs);
      }
      case 'Release':
        this.#unbind(message.ticket);
        return this.#pool.release(message.ticket, message.outcome, nowMs);
      case 'Cancel':
        this.#unbind(message.ticket);
        return this.#pool.cancel(message.ticket, nowMs);
      case 'HolderEnded': {
        const tickets = [...(this.#held.get(message.holder)?.tickets ?? [])];
        this.#held.delete(message.holder);
        for (const ticket of tickets) this.#holderOf.delete(ticket);
        return tickets.flatMap((ticket) => this.#pool.cancel(ticket, nowMs));
      }
      case 'Wake':
        return this.#pool.tick(nowMs);
      case 'GetStats':
        context.reply(message.replyTo, this.#pool.stats(nowMs));
        return [];
      default:
        return unreachable(message);
    }
  }

  #reply(context: ActorContext<RouterMessage>, decisions: readonly Decision[]): void {
    for (const decision of decisions) {
      const replyTo = this.#replies.get(decision.ticket);
      this.#replies.delete(decision.ticket);
      if (decision.type === 'rejected') this.#unbind(decision.ticket);
      if (replyTo === undefined) continue;
      context.reply(
        replyTo,
        decision.type === 'granted' ? decision : { type: 'rejected', rejection: decision.rejection },
      );
    }
  }

  #bind(ticket: string, holder: ActorRef<never>, context: ActorContext<RouterMessage>): void {
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

  #watch(key: string, holder: ActorRef<never>, context: ActorContext<RouterMessage>): void {
    context.watch(holder, () => ({ type: 'HolderEnded', holder: key }));
  }

  #unbind(ticket: string): void {
    const key = this.#holderOf.get(ticket);
    if (key === undefined) return;
    this.#holderOf.delete(ticket);
    this.#held.get(key)?.tickets.delete(ticket);
  }
}

export interface RouterClientOptions {
  readonly messenger: Messenger;
  readonly router: ActorRef<RouterMessage>;
  /** Unique among the clients of a router: tickets start with it. */
  readonly name: string;
  readonly holder?: ActorRef<never>;
}

/** What the answer to a wish may take beyond the wait itself. */
const REPLY_MARGIN_MS = 10_000;

/** The door to a router actor, here or on another node. */
export function createRouterClient({ messenger, router, name, holder }: RouterClientOptions): EndpointRouter {
  let tickets = 0;
  return {
    async acquire(wish, signal): Promise<PermitReply> {
      if (signal.aborted) throw acquireCancelled();
      tickets += 1;
      const ticket = `${name}-${tickets}`;
      const cancel = (): void => messenger.tell(router, { type: 'Cancel', ticket });
      signal.addEventListener('abort', cancel, { once: true });
      try {
        const reply = await messenger.ask(
          router,
          (replyTo: ReplyTo<RouterReply>): RouterMessage => ({
            type: 'Acquire',
            ticket,
            wish,
            holder: holder ?? null,
            replyTo,
          }),
          { timeoutMs: wish.waitMs + REPLY_MARGIN_MS },
        );
        // An abort that came after the grant has already handed the permit back.
        if (signal.aborted) throw acquireCancelled();
        return reply;
      } catch (error) {
        if (isDlgforgeError(error, 'cancelled')) throw error;
        cancel();
        return {
          type: 'rejected',
          rejection: {
            type: 'unreachable',
            reason: `the endpoint router does not answer: ${messageOf(error)}`,
          },
        };
      } finally {
        signal.removeEventListener('abort', cancel);
      }
    },
    release: (ticket, outcome) => messenger.tell(router, { type: 'Release', ticket, outcome }),
    stats: () =>
      messenger.ask(
        router,
        (replyTo: ReplyTo<readonly EndpointStats[]>): RouterMessage => ({ type: 'GetStats', replyTo }),
      ),
    close: () => undefined,
  };
}
