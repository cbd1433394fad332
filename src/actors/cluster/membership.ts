/**
 * Who is in the cluster, as this node sees it: every node broadcasts its card, and who is not heard of
 * is asked for, and then taken for lost. Owns the cards of the others and the verdicts about them.
 *
 * Invariants: 1. a node that is not warm takes nobody for dead by his silence; 2. a broadcast older than
 * the latest of its node, or than its node's end, changes nothing; 3. whoever was lost and is heard again
 * has joined again, and hears that he had been lost, so that both ends have forgotten the same; 4. members,
 * the departed and the refused are bounded.
 */
import type { Clock } from '../../kernel/clock.ts';
import { DlgforgeError, messageOf } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/logger.ts';
import { below } from '../../kernel/random.ts';
import type {
  Departure,
  Leader,
  Member,
  Membership,
  MembershipChange,
  NodeCard,
} from '../../ports/membership.ts';
import type { TransportEndpoint } from '../../ports/transport.ts';
import { RefusedSenders } from '../runtime/refused-senders.ts';
import {
  BROADCAST_CHARS_MAX,
  type Heartbeat,
  leaderAmong,
  type MembershipMessage,
  type Peer,
  readBroadcast,
  sameLeads,
  type Stranger,
} from './cards.ts';
import { Contact } from './contact.ts';
import { Departures } from './departures.ts';
import { DEFAULT_TIMINGS, type MembershipTimings } from './timings.ts';

export interface MembershipOptions {
  readonly endpoint: TransportEndpoint;
  readonly card: NodeCard;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Told once when the cluster speaks a protocol too far from this node's: it must not go on. */
  readonly onRefused?: (why: DlgforgeError) => void;
  readonly timings?: Partial<MembershipTimings>;
  /** Other nodes that are kept; more are refused. @default 1 000 */
  readonly membersMax?: number;
}

export interface JoinedMembership extends Membership {
  /**
   * Resolves when this node is in contact and the others have had the time to answer it.
   * @throws DlgforgeError `refused` when its version does not fit, `transport` when there is no contact in time.
   */
  ready(timeoutMs?: number): Promise<void>;
  /** Tells the others, and hears and says nothing more. Idempotent. */
  leave(): void;
  /** Broadcasts that were dropped, by the node that they said they were from. */
  readonly refusedBySender: ReadonlyMap<string, number>;
}

const BROADCAST = 'a broadcast';
const READY_TIMEOUT_MS = 10_000;

export function joinMembership(options: MembershipOptions): JoinedMembership {
  return new NodeMembership(options);
}

class NodeMembership implements JoinedMembership {
  readonly node: string;
  readonly #options: MembershipOptions;
  readonly #clock: Clock;
  readonly #timings: MembershipTimings;
  readonly #contact: Contact;
  readonly #peers = new Map<string, Peer>();
  readonly #departures = new Departures();
  readonly #refused: RefusedSenders;
  readonly #listeners = new Set<(change: MembershipChange) => void>();
  readonly #ready = Promise.withResolvers<void>();
  readonly #timers = new Map<'tick' | 'answer' | 'ready', () => void>();
  #card: NodeCard;
  #seq: number;
  #lastBeatMs = Number.NEGATIVE_INFINITY;
  #settled = false;
  #refusedBecause: DlgforgeError | null = null;
  /** Members whose asks and watches were ended, until they are heard again: to the network they are lost so long. */
  readonly #voided = new Set<string>();
  #left = false;

  constructor(options: MembershipOptions) {
    const { endpoint, card, clock, logger } = options;
    this.node = card.node;
    this.#options = options;
    this.#clock = clock;
    this.#card = card;
    this.#seq = Math.floor(card.startedAtMs);
    this.#timings = { ...DEFAULT_TIMINGS, ...options.timings };
    this.#contact = new Contact(clock, this.#timings, () => endpoint.isConnected);
    this.#refused = new RefusedSenders(logger);
    // Who never asks whether it is ready need not hear that it is not.
    this.#ready.promise.catch(() => undefined);
    endpoint.onBroadcast((body) => this.#receive(body));
    // Who cannot be sent to any more has been forgotten by the actors here: then it is no member either.
    endpoint.onNodeLost((node) => {
      if (!this.#left && !this.#voided.has(node)) this.#end(node, 'lost', false);
    });
    this.#tick();
  }

  get refusedBySender(): ReadonlyMap<string, number> {
    return this.#refused.bySender;
  }

  members(): readonly Member[] {
    return [...this.#self(), ...[...this.#peers.values()].map(memberOf)];
  }

  isAlive(node: string): boolean {
    return node === this.node ? !this.#left : this.#peers.has(node);
  }

  departed(node: string): Departure | null {
    return this.#departures.of(node);
  }

  leaderOf(name: string): Leader | null {
    return leaderAmong([...this.#self(), ...this.#peers.values()], name);
  }

  onChange(listener: (change: MembershipChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  announce(change: Partial<Pick<NodeCard, 'leads' | 'status' | 'labels' | 'store'>>): void {
    if (this.#left) return;
    const before = this.#card;
    this.#card = { ...before, ...change };
    this.#beat();
    if (sameLeads(before.leads, this.#card.leads)) return;
    for (const member of this.#self()) this.#tell({ type: 'leads', member });
  }

  declareLost(node: string): void {
    if (this.#left || node === this.node) return;
    this.#options.endpoint.broadcast({ type: 'lost', node, by: this.node } satisfies MembershipMessage);
    this.#end(node, 'lost', true);
  }

  inContact(): boolean {
    return !this.#left && this.#contact.isThere;
  }

  contacts(): number {
    return this.#contact.begun;
  }

  isWarm(): boolean {
    return !this.#left && this.#contact.isWarm;
  }

  async ready(timeoutMs = READY_TIMEOUT_MS): Promise<void> {
    const cancel = this.#clock.schedule(timeoutMs, () => this.#ready.reject(noContact(this.node, timeoutMs)));
    try {
      await this.#ready.promise;
    } finally {
      cancel();
    }
  }

  leave(): void {
    if (this.#left) return;
    this.#options.endpoint.broadcast({ type: 'leaving', node: this.node } satisfies MembershipMessage);
    this.#left = true;
    for (const cancel of this.#timers.values()) cancel();
    this.#timers.clear();
    this.#listeners.clear();
    this.#ready.reject(new DlgforgeError('cancelled', `node ${this.node} has left the cluster`));
  }

  // Saying.

  #tick(): void {
    const { heartbeatMs } = this.#timings;
    this.#later('tick', heartbeatMs / 2, () => this.#tick());
    this.#contact.tick();
    this.#settled ||= this.isWarm();
    const nowMs = this.#clock.now();
    if (Math.abs(nowMs - this.#lastBeatMs) >= heartbeatMs) this.#beat();
    this.#judge(nowMs);
  }

  #beat(): void {
    this.#seq += 1;
    this.#lastBeatMs = this.#clock.now();
    this.#contact.sent(this.#seq);
    this.#options.endpoint.broadcast(this.#heartbeat());
  }

  #heartbeat(): Heartbeat {
    const returned = this.#departures.returns(this.#clock.now());
    const { leads, labels, ...rest } = this.#card;
    const card = { ...rest, leads: [...leads], labels: { ...labels }, status: { ...rest.status } };
    const whole: Heartbeat = { type: 'heartbeat', seq: this.#seq, settled: this.#settled, card, returned };
    if (JSON.stringify(whole).length <= BROADCAST_CHARS_MAX) return whole;
    this.#refused.add(this.node, BROADCAST, 'its own card is too large; its status is left out');
    return { ...whole, card: { ...card, status: {} } };
  }

  /** To a node that has just been heard of: soon, but not all at the same moment, and once for several. */
  #answer(): void {
    if (this.#timers.has('answer')) return;
    const delayMs = below([this.node, 'answer', this.#seq], this.#timings.answerMs + 1);
    this.#later('answer', delayMs, () => this.#beat());
  }

  // Hearing.

  #receive(body: unknown): void {
    if (this.#left) return;
    const heard = readBroadcast(body, this.#card.protocol);
    switch (heard.type) {
      case 'message':
        return this.#take(heard.message);
      case 'stranger':
        return this.#meet(heard.stranger);
      case 'refused':
        return this.#refused.add(heard.sender, BROADCAST, heard.why);
    }
  }

  #take(message: MembershipMessage): void {
    switch (message.type) {
      case 'heartbeat':
        if (message.card.node === this.node) return this.#hearSelf(message.seq);
        return this.#hear(message);
      case 'leaving':
        return this.#end(message.node, 'left', true);
      case 'lost':
        // Only who started it has seen its process end.
        if (this.#peers.get(message.node)?.card.parent === message.by) this.#end(message.node, 'lost', true);
    }
  }

  #hearSelf(seq: number): void {
    if (!this.#contact.cameBack(seq)) return;
    // Nobody could be heard before: silence counts from here.
    for (const peer of this.#peers.values()) peer.lastHeardMs = this.#clock.now();
    this.#later('ready', 2 * this.#timings.answerMs, () => this.#ready.resolve());
  }

  #hear(heartbeat: Heartbeat): void {
    const { card, seq } = heartbeat;
    if (this.#departures.isOld(heartbeat)) return;
    const known = this.#peers.get(card.node);
    if (known !== undefined && seq <= known.seq) return;
    this.#voided.delete(card.node);
    // Another process under the same name.
    if (known !== undefined && known.card.startedAtMs !== card.startedAtMs)
      this.#end(card.node, 'lost', true);
    const peer = this.#peers.get(card.node) ?? this.#welcome(heartbeat);
    if (peer === null) return;
    const { leads } = peer.card;
    Object.assign(peer, { card, seq, lastHeardMs: this.#clock.now() });
    this.#noteReturn(heartbeat, peer);
    if (!sameLeads(leads, card.leads)) this.#tell({ type: 'leads', member: memberOf(peer) });
  }

  #welcome({ card, seq }: Heartbeat): Peer | null {
    const { membersMax = 1_000 } = this.#options;
    if (this.#peers.size >= membersMax) {
      this.#refused.add(card.node, BROADCAST, `there are ${membersMax} other nodes already`);
      return null;
    }
    this.#departures.welcome(card.node, this.#clock.now());
    const peer = { card, seq, lastHeardMs: this.#clock.now(), isProbed: false, heardReturn: 0 };
    this.#peers.set(card.node, peer);
    this.#answer();
    this.#log('info', `node ${card.node} (${card.kind}, build ${card.build}) has joined`);
    this.#tell({ type: 'joined', member: memberOf(peer) });
    return peer;
  }

  /** Invariant 3: what the other end has forgotten of us, this end must not count on. */
  #noteReturn({ card, returned }: Heartbeat, peer: Peer): void {
    const mine = returned.find(({ node }) => node === this.node);
    if (mine === undefined || mine.time === peer.heardReturn) return;
    peer.heardReturn = mine.time;
    this.#log(
      'warn',
      `node ${card.node} had taken this node for lost; what was under way between them is void`,
    );
    this.#voided.add(card.node);
    this.#options.endpoint.declareLost(card.node);
    this.#tell({ type: 'mistaken', member: memberOf(peer) });
  }

  #meet({ card, settled }: Stranger): void {
    const { node, protocol, build } = card;
    const own = this.#card;
    // Once: it has to hear of this node's version, and answers are not answered.
    if (!this.#refused.bySender.has(node)) this.#answer();
    const versions = `node ${node} speaks protocol ${protocol} (build ${build}), this node ${this.node} protocol ${own.protocol} (build ${own.build})`;
    this.#refused.add(node, BROADCAST, `${versions}; nodes more than one step apart cannot work together`);
    const wasFirst = settled || isEarlier(card, own);
    if (this.#settled || !wasFirst || this.#refusedBecause !== null) return;
    const text = `This node cannot join the cluster: ${versions}. Install a version that is at most one protocol step from the cluster's.`;
    this.#refusedBecause = new DlgforgeError('refused', text);
    this.#ready.reject(this.#refusedBecause);
    this.#options.onRefused?.(this.#refusedBecause);
  }

  // Judging.

  #judge(nowMs: number): void {
    for (const [node, peer] of this.#peers) {
      // Invariant 1; asked anew, since hearing of an end takes time.
      if (!this.isWarm()) return;
      const silentMs = nowMs - peer.lastHeardMs;
      if (silentMs > this.#timings.lostMs) this.#end(node, 'lost', false);
      else if (silentMs > this.#timings.suspectMs && !peer.isProbed) void this.#probe(node, peer);
    }
  }

  async #probe(node: string, peer: Peer): Promise<void> {
    peer.isProbed = true;
    const heardMs = peer.lastHeardMs;
    try {
      const verdict = await this.#options.endpoint.probe(node, this.#timings.probeTimeoutMs);
      const isSilent = this.#peers.get(node) === peer && peer.lastHeardMs === heardMs;
      if (verdict === 'gone' && isSilent && this.isWarm()) this.#end(node, 'lost', false);
    } catch (error) {
      // As good as no answer.
      this.#log('debug', `node ${node} cannot be probed: ${messageOf(error)}`);
    } finally {
      peer.isProbed = false;
    }
  }

  #end(node: string, type: 'left' | 'lost', isFinal: boolean): void {
    const peer = this.#peers.get(node);
    if (peer === undefined) return;
    this.#peers.delete(node);
    this.#voided.delete(node);
    this.#departures.note(peer, peer.seq, isFinal);
    this.#log(type === 'lost' ? 'warn' : 'info', `node ${node} ${type === 'lost' ? 'is lost' : 'has left'}`);
    this.#options.endpoint.declareLost(node);
    this.#tell({ type, member: memberOf(peer) });
  }

  #tell(change: MembershipChange): void {
    for (const listener of this.#listeners) {
      try {
        listener(change);
      } catch (error) {
        // The others must hear of it all the same.
        this.#log('error', `a listener failed: ${messageOf(error)}`);
      }
    }
  }

  #self(): readonly Member[] {
    return this.#left ? [] : [{ card: this.#card, lastHeardMs: this.#clock.now() }];
  }

  /** One of a name at a time. */
  #later(name: 'tick' | 'answer' | 'ready', delayMs: number, run: () => void): void {
    this.#timers.get(name)?.();
    const cancel = this.#clock.schedule(delayMs, () => {
      this.#timers.delete(name);
      run();
    });
    this.#timers.set(name, cancel);
  }

  #log(level: 'debug' | 'info' | 'warn' | 'error', text: string): void {
    this.#options.logger.log(level, 'cluster', `[cluster] ${text}`);
  }
}

function isEarlier(
  a: Pick<NodeCard, 'startedAtMs' | 'node'>,
  b: Pick<NodeCard, 'startedAtMs' | 'node'>,
): boolean {
  return a.startedAtMs === b.startedAtMs ? a.node < b.node : a.startedAtMs < b.startedAtMs;
}

const memberOf = ({ card, lastHeardMs }: Peer): Member => ({ card, lastHeardMs });

function noContact(node: string, timeoutMs: number): DlgforgeError {
  const text = `node ${node} hears nothing of itself after ${timeoutMs} ms; see whether the network's server is up and takes its messages`;
  return new DlgforgeError('transport', text, { retryable: true });
}
