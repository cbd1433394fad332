import { isDlgforgeError, messageOf } from '../../kernel/errors.ts';
import type { Membership } from '../../ports/membership.ts';
import type { ActorDefinition, ActorRef, Messenger, ReplyTo } from '../runtime/types.ts';
import { Adoption } from './adoption.ts';
import { Desk } from './desk.ts';
import type { EndpointStats } from './endpoint-state.ts';
import { Pool, type PoolOptions } from './pool.ts';
import { acquireCancelled, type EndpointRouter, type PermitReply, unreachableRouter } from './router.ts';
import { decodeRouterMessage, type RouterMessage, type RouterReply } from './router-messages.ts';

export { ROUTER_PATH } from './router-messages.ts';

/** Every open call of a window has one message here at most. */
const MAILBOX_CAPACITY = 200_000;

export interface EndpointRouterOptions extends Pick<PoolOptions, 'runs' | 'queueCapacity'> {
  /** Of the lease under which it grants; grants carry it. @default 0 */
  readonly epoch?: number;
  /**
   * The living nodes that may hold permits of earlier routers: nothing is granted until each of them has
   * reported (I7). @default none
   */
  readonly adoptFrom?: () => readonly string[];
  /** Nothing is granted while this node may have been replaced. @default always true */
  readonly inContact?: () => boolean;
  /** How a holder's node that is lost went: unless it has ended, its requests may be open for a while. @default not known */
  readonly departed?: Membership['departed'];
}

/**
 * The pool behind an actor, so that one router can serve a whole cluster. The pool outlives a restart
 * of its behaviour: permits that are out stay counted, and `maxInFlight` stays hard (I7).
 */
export function endpointRouter(options: EndpointRouterOptions): ActorDefinition<RouterMessage> {
  const { epoch = 0, adoptFrom = () => [], inContact = () => true, departed = () => null, ...pool } = options;
  const adoption = new Adoption(adoptFrom);
  const mayGrant = (nowMs: number): boolean => inContact() && adoption.isComplete(nowMs);
  const desk = new Desk(new Pool({ ...pool, mayGrant }), epoch, adoption, departed);
  return {
    kind: 'endpoint-router',
    decode: decodeRouterMessage,
    mailbox: { capacity: MAILBOX_CAPACITY },
    start: (context) => desk.open(context),
  };
}

export interface RouterClientOptions {
  readonly messenger: Messenger;
  readonly router: ActorRef<RouterMessage>;
  /** Whose requests these are. */
  readonly runId: string;
  /** Unique among the clients of a router: tickets start with it. */
  readonly name: string;
  readonly holder?: ActorRef<never>;
}

/** What the answer to a wish may take beyond the wait itself. */
const REPLY_MARGIN_MS = 10_000;

/** The door to a router actor that stays where it is: the one of this process. */
export function createRouterClient(options: RouterClientOptions): EndpointRouter {
  const { messenger, router, runId, name, holder } = options;
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
            runId,
            wish,
            holder: holder ?? null,
            epoch: 0,
            replyTo,
          }),
          { timeoutMs: wish.waitMs + REPLY_MARGIN_MS },
        );
        // An abort that came after the grant has already handed the permit back.
        if (signal.aborted) throw acquireCancelled();
        return reply.type === 'moved' ? unreachableRouter('another one has taken its place') : reply;
      } catch (error) {
        if (isDlgforgeError(error, 'cancelled')) throw error;
        cancel();
        return unreachableRouter(messageOf(error));
      } finally {
        signal.removeEventListener('abort', cancel);
      }
    },
    use: (_ticket, signal) => signal,
    release: (ticket, outcome) => messenger.tell(router, { type: 'Release', ticket, outcome }),
    stats: () =>
      messenger.ask(
        router,
        (replyTo: ReplyTo<readonly EndpointStats[]>): RouterMessage => ({ type: 'GetStats', runId, replyTo }),
      ),
    awayMs: () => 0,
    close: () => undefined,
  };
}
