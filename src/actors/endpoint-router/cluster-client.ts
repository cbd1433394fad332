/**
 * A node's door to the cluster's one router, for all its runs; the router moves when its node dies. One
 * per process, made at its start: a new router waits for every node's report. Owns the tickets that this
 * node asks for; the permits that it holds are those of `HeldPermits`.
 *
 * 1. Nothing is sent under a permit while this node is out of contact, and a grant of a router that has been
 *    replaced is not used but handed back (I7): the new router was not told of it.
 * 2. A wish is asked for until it is granted, rejected or over, whichever router answers.
 * 3. A permit is given back until the router says that it has it.
 * 4. A router is told what this node has out when it is new, and again every two seconds, because the two
 *    may lose sight of each other for a moment.
 */
import { delay } from '../../kernel/clock.ts';
import { DlgforgeError, messageOf } from '../../kernel/errors.ts';
import type { Leader } from '../../ports/membership.ts';
import type { ActorRef, ReplyTo } from '../runtime/types.ts';
import type { EndpointStats, PermitOutcome } from './endpoint-state.ts';
import { HeldPermits } from './held-permits.ts';
import {
  acquireCancelled,
  type EndpointRouter,
  type PermitReply,
  type PermitWish,
  unreachableRouter,
} from './router.ts';
import { RouterLink, type RouterLinkOptions } from './router-link.ts';
import { ADOPTED_MAX, type RouterMessage, type RouterReply } from './router-messages.ts';

export interface ClusterRouterClientOptions extends RouterLinkOptions {
  /** Unique in the cluster, also over restarts: the node's name. Tickets start with it. */
  readonly name: string;
  /** An actor of this process: when it ends, or its node is lost, the permits end. */
  readonly holder: ActorRef<never>;
  /** Tells of nodes that had taken this one for lost. The returned function ends it. @default it is never told */
  readonly onTakenForLost?: (listener: (by: string) => void) => () => void;
}

export interface ClusterRouterClient {
  /** The door as the calls of one run use it. */
  forRun(runId: string): EndpointRouter;
  /** Waiting calls end as unreachable, and requests under way; the permits end with their holder. */
  close(): void;
}

export const createClusterRouterClient = (options: ClusterRouterClientOptions): ClusterRouterClient =>
  new Client(options);

interface Wanted {
  readonly runId: string;
  readonly wish: PermitWish;
  readonly signal: AbortSignal;
  readonly untilMs: number;
}

type Tried =
  | { readonly type: 'reply'; readonly reply: PermitReply }
  /** Ask again, with another ticket where this one has ended. */
  | { readonly type: 'again'; readonly pauseMs: number; readonly isEnded: boolean; readonly reason: string };

const again = (reason: string, pauseMs = 0, isEnded = false): Tried => ({
  type: 'again',
  pauseMs,
  isEnded,
  reason,
});

/** A reply that is lost costs this long; asking again changes nothing at the router. */
const TRY_MS = 5_000;
const PAUSE_MS = 250;
/** A router may have taken this node for lost, or the other way round, and given its permits up: it waits for this. */
const REPORT_MS = 2_000;
/** The router says itself that a wish is over, and why; this is for when it cannot. */
const REPLY_MARGIN_MS = 2_000;

class Client implements ClusterRouterClient {
  readonly #options: ClusterRouterClientOptions;
  readonly #link: RouterLink;
  readonly #held: HeldPermits;
  #tickets = 0;
  /** Epoch of the router that is being told what is held here. */
  #reportedTo: number | null = null;
  #cancelReport: () => void = () => undefined;
  readonly #stopListening: () => void;

  constructor(options: ClusterRouterClientOptions) {
    this.#options = options;
    this.#link = new RouterLink(options);
    this.#held = new HeldPermits(this.#link, options.clock, options.inContact);
    this.#link.onMoved((leader) => void this.#report(leader));
    this.#link.findLeader();
    this.#reportAgain();
    const { onTakenForLost = () => () => undefined } = options;
    this.#stopListening = onTakenForLost((by) => {
      if (this.#link.findLeader()?.node === by) this.#held.endRequests();
    });
  }

  forRun(runId: string): EndpointRouter {
    return {
      acquire: (wish, signal) => this.#acquire(runId, wish, signal),
      use: (ticket, signal) => this.#held.use(ticket, signal),
      release: (ticket, outcome) => this.#release(ticket, outcome),
      stats: () => this.#stats(runId),
      awayMs: () => this.#link.awayMs,
      close: () => undefined,
    };
  }

  close(): void {
    this.#cancelReport();
    this.#stopListening();
    this.#held.endRequests();
    this.#held.close();
    this.#link.close();
  }

  async #acquire(runId: string, wish: PermitWish, signal: AbortSignal): Promise<PermitReply> {
    const untilMs = this.#options.clock.now() + wish.waitMs;
    const wanted: Wanted = { runId, wish, signal, untilMs };
    let ticket = { name: '', epoch: -1 };
    let reason = 'no node runs it, or this node has lost contact with the others';
    for (;;) {
      const leader = await this.#link.ready(untilMs + REPLY_MARGIN_MS, signal);
      if (leader === null) {
        if (ticket.name !== '') this.#cancel(ticket.name);
        if (signal.aborted) throw acquireCancelled();
        return unreachableRouter(reason);
      }
      if (ticket.epoch !== leader.epoch) ticket = { name: this.#newTicket(), epoch: leader.epoch };
      const tried = await this.#try(leader, ticket.name, wanted);
      if (tried.type === 'reply') return tried.reply;
      reason = tried.reason;
      if (tried.isEnded) ticket = { name: '', epoch: -1 };
      if (tried.pauseMs > 0) await delay(this.#options.clock, tried.pauseMs, signal);
    }
  }

  /** Asks one router once; ends early when it is replaced or the caller gives up. */
  #try(leader: Leader, ticket: string, wanted: Wanted): Promise<Tried> {
    return new Promise((resolve) => {
      let isOver = false;
      const over = (tried: Tried): void => {
        isOver = true;
        stopListening();
        wanted.signal.removeEventListener('abort', cancelled);
        resolve(tried);
      };
      const cancelled = (): void => over(again('it was cancelled'));
      const stopListening = this.#link.onMoved(() => over(again('another node runs it now')));
      wanted.signal.addEventListener('abort', cancelled, { once: true });
      this.#ask(leader, ticket, wanted).then(
        (reply) => {
          if (!isOver) over(this.#judged(reply, ticket, wanted));
          else if (reply.type === 'granted') this.#handBack(leader, ticket);
        },
        (error: unknown) => {
          if (!isOver) over(again(messageOf(error), PAUSE_MS));
        },
      );
    });
  }

  #ask(leader: Leader, ticket: string, { runId, wish, untilMs }: Wanted): Promise<RouterReply> {
    const { messenger, clock, holder } = this.#options;
    const waitMs = Math.max(0, untilMs - clock.now());
    return messenger.ask(
      this.#link.routerOf(leader),
      (replyTo: ReplyTo<RouterReply>): RouterMessage => ({
        type: 'Acquire',
        ticket,
        runId,
        wish: { ...wish, waitMs },
        holder,
        epoch: leader.epoch,
        replyTo,
      }),
      { timeoutMs: Math.min(TRY_MS, waitMs + REPLY_MARGIN_MS) },
    );
  }

  #judged(reply: RouterReply, ticket: string, { runId, wish }: Wanted): Tried {
    if (reply.type === 'moved') return again('another node runs it now', PAUSE_MS);
    // Not by this caller: its node counted as lost for a moment, or the run was registered anew.
    if (reply.type === 'rejected' && reply.rejection.type === 'cancelled')
      return again('it took this node for lost', PAUSE_MS, true);
    if (reply.type === 'granted') {
      const { endpoint, identity } = reply;
      this.#held.add({ ticket, runId, endpoint, identity, role: wish.role, leaseMs: wish.leaseMs });
    }
    return { type: 'reply', reply };
  }

  /** The permit of a router that is no longer asked, or for a caller that no longer waits. */
  #handBack(leader: Leader, ticket: string): void {
    const message: RouterMessage = { type: 'Release', ticket, outcome: { type: 'abandoned' } };
    if (leader.epoch < this.#link.epoch) this.#options.messenger.tell(this.#link.routerOf(leader), message);
    else this.#cancel(ticket);
  }

  #release(ticket: string, outcome: PermitOutcome): void {
    if (!this.#held.remove(ticket)) return;
    void this.#link.deliver((replyTo) => ({ type: 'Release', ticket, outcome, replyTo }));
  }

  #cancel(ticket: string): void {
    void this.#link.deliver((replyTo) => ({ type: 'Cancel', ticket, replyTo }));
  }

  #reportAgain(): void {
    this.#cancelReport = this.#options.clock.schedule(REPORT_MS, () => {
      this.#link.look();
      const leader = this.#link.findLeader();
      if (leader !== null) void this.#report(leader);
      this.#reportAgain();
    });
  }

  /** Tells a router what this node has out. */
  async #report(leader: Leader): Promise<void> {
    if (this.#reportedTo === leader.epoch) return;
    this.#reportedTo = leader.epoch;
    await this.#tellHeld(leader);
    if (this.#reportedTo === leader.epoch) this.#reportedTo = null;
  }

  /** In parts, each as it is when it is sent. */
  async #tellHeld({ epoch }: Leader): Promise<void> {
    const { name: node, holder } = this.#options;
    for (let from = 0; ; ) {
      const to = this.#held.partEnd(from, ADOPTED_MAX);
      const isTold = await this.#link.deliver((replyTo) => ({
        type: 'AdoptPermits',
        node,
        holder,
        permits: this.#held.list(from, to),
        isComplete: to === null,
        epoch,
        replyTo,
      }));
      if (!isTold || to === null) return;
      from = to;
    }
  }

  async #stats(runId: string): Promise<readonly EndpointStats[]> {
    const leader = this.#link.findLeader();
    if (leader === null)
      throw new DlgforgeError('receiver_gone', 'No node runs the endpoint router now; ask again shortly.', {
        retryable: true,
      });
    return await this.#options.messenger.ask(
      this.#link.routerOf(leader),
      (replyTo: ReplyTo<readonly EndpointStats[]>): RouterMessage => ({ type: 'GetStats', runId, replyTo }),
    );
  }

  #newTicket(): string {
    this.#tickets += 1;
    return `${this.#options.name}-${this.#tickets}`;
  }
}
