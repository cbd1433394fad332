/**
 * The way to other nodes and back. Owns the watches that cross it; asks are owned by both ends of
 * `asks.ts`. Nothing that arrives is trusted: envelopes are checked here, messages by their actor's
 * `decode`, and only actors that this node has spawned can be reached (I10).
 *
 * Invariants: 1. an ask that can't be delivered is answered with `fail`, never left to its deadline;
 * 2. a node that is lost leaves nothing behind: its asks fail, its watches fire, what it watched is
 * released; 3. a `fail` is never answered.
 */
import { DlgforgeError, messageOf } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/logger.ts';
import type { Envelope, TransportEndpoint } from '../../ports/transport.ts';
import type { Asked } from './asks.ts';
import { ENVELOPE_VERSION, faultBody, faultFrom, readEnvelope } from './envelopes.ts';
import { RefusedSenders } from './refused-senders.ts';
import type { ActorRef, ReplyTo, Terminated } from './types.ts';

const WATCHES_PER_NODE_MAX = 10_000;

/** What the door needs of the system behind it. */
export interface Inside {
  readonly node: string;
  readonly logger: Logger;
  /** Delivers a message that came over the wire. `ask` is answered when the message can't be delivered. */
  arrived(to: ActorRef<never>, body: unknown, ask: Asked | null): void;
  resolveAsk(correlation: string, reply: unknown): void;
  rejectAsk(correlation: string, error: DlgforgeError): void;
  rejectAsksTo(node: string, error: DlgforgeError): void;
  watchHere(ref: ActorRef<never>, notify: (terminated: Terminated) => void): () => void;
  nextCorrelation(): string;
}

interface OutgoingWatch {
  readonly ref: ActorRef<never>;
  readonly notify: (terminated: Terminated) => void;
}

type Outgoing = Omit<Envelope, 'version' | 'from'>;

export class RemoteDoor {
  readonly #inside: Inside;
  readonly #outgoing = new Map<string, OutgoingWatch>();
  /** By watching node, then by correlation: the release of the watch on our actor. */
  readonly #incoming = new Map<string, Map<string, () => void>>();
  readonly #refused: RefusedSenders;
  #endpoint: TransportEndpoint | null = null;

  constructor(inside: Inside) {
    this.#inside = inside;
    this.#refused = new RefusedSenders(inside.logger);
  }

  get refusedCount(): number {
    return this.#refused.count;
  }

  /** By the node that they said they were from. */
  get refusedBySender(): ReadonlyMap<string, number> {
    return this.#refused.bySender;
  }

  open(endpoint: TransportEndpoint): void {
    this.#endpoint = endpoint;
    endpoint.onNodeLost((node) => this.#lost(node));
  }

  async close(): Promise<void> {
    this.#outgoing.clear();
    this.#incoming.clear();
    await this.#endpoint?.detach();
    this.#endpoint = null;
  }

  /** @throws InvariantError when the message cannot be encoded. */
  tell(to: ActorRef<never>, body: unknown): void {
    this.#send(to.node, { kind: 'tell', path: to.path, incarnation: to.incarnation, body });
  }

  /** @throws InvariantError when the message cannot be encoded. */
  ask(to: ActorRef<never>, correlation: string, timeoutMs: number, body: unknown): void {
    this.#send(to.node, {
      kind: 'ask',
      path: to.path,
      incarnation: to.incarnation,
      correlation,
      timeoutMs,
      body,
    });
  }

  reply(to: ReplyTo<never>, body: unknown): void {
    try {
      this.#send(to.node, { kind: 'reply', correlation: to.correlation, body });
    } catch (error) {
      this.#inside.logger.log('error', 'actors', `[remote] a reply cannot be sent: ${messageOf(error)}`, {
        error,
      });
      this.fail(
        to.node,
        to.correlation,
        new DlgforgeError('refused', `the reply cannot be sent: ${messageOf(error)}`),
      );
    }
  }

  fail(node: string, correlation: string, error: unknown): void {
    this.#send(node, { kind: 'fail', correlation, body: faultBody(error) });
  }

  watch(ref: ActorRef<never>, notify: (terminated: Terminated) => void): () => void {
    const correlation = this.#inside.nextCorrelation();
    this.#outgoing.set(correlation, { ref, notify });
    this.#send(ref.node, {
      kind: 'watch',
      path: ref.path,
      incarnation: ref.incarnation,
      correlation,
      body: null,
    });
    return () => {
      if (!this.#outgoing.delete(correlation)) return;
      this.#send(ref.node, { kind: 'unwatch', correlation, body: null });
    };
  }

  receive(arrived: unknown): void {
    const read = readEnvelope(arrived);
    if (read.type === 'accepted') return this.#accept(read.envelope);
    this.#refused.add(read.from, 'an envelope', read.why);
    if (read.from === null || read.answerTo === null) return;
    const error = new DlgforgeError(
      'refused',
      `the message was refused: ${read.why}; run one version on all nodes`,
    );
    const answer: Outgoing = { kind: 'fail', correlation: read.answerTo, body: faultBody(error) };
    this.#send(read.from, answer, read.version);
  }

  #accept(envelope: Envelope): void {
    const { kind, from, body, correlation = '', timeoutMs = 0 } = envelope;
    const ref = {
      node: this.#inside.node,
      path: envelope.path ?? '',
      incarnation: envelope.incarnation ?? 0,
    };
    switch (kind) {
      case 'tell':
        return this.#inside.arrived(ref, body, null);
      case 'ask':
        return this.#inside.arrived(ref, body, { correlation, from, timeoutMs });
      case 'reply':
        return this.#inside.resolveAsk(correlation, body);
      case 'fail':
        return this.#inside.rejectAsk(correlation, faultFrom(from, body));
      case 'watch':
        return this.#startWatch(from, correlation, ref);
      case 'unwatch':
        return this.#endWatch(from, correlation);
      case 'terminated':
        return this.#terminated(from, correlation, body);
    }
  }

  #startWatch(from: string, correlation: string, ref: ActorRef<never>): void {
    const watches = this.#incoming.get(from) ?? new Map<string, () => void>();
    this.#incoming.set(from, watches);
    if (watches.size >= WATCHES_PER_NODE_MAX)
      return this.#refused.add(from, 'a watch', `it has ${watches.size} watches here already`);
    const release = this.#inside.watchHere(ref, ({ reason, error }) => {
      this.#endWatch(from, correlation);
      const fault = error === null ? null : faultBody(error);
      this.#send(from, { kind: 'terminated', correlation, body: { reason, error: fault } });
    });
    watches.set(correlation, release);
  }

  #endWatch(from: string, correlation: string): void {
    const watches = this.#incoming.get(from);
    watches?.get(correlation)?.();
    watches?.delete(correlation);
    if (watches?.size === 0) this.#incoming.delete(from);
  }

  #terminated(from: string, correlation: string, body: unknown): void {
    const watch = this.#outgoing.get(correlation);
    if (watch === undefined || watch.ref.node !== from) return;
    this.#outgoing.delete(correlation);
    const fields: Partial<Record<string, unknown>> =
      body !== null && typeof body === 'object' ? { ...body } : {};
    const error = (fields['error'] ?? null) === null ? null : faultFrom(from, fields['error']);
    watch.notify({ ref: watch.ref, reason: fields['reason'] === 'given_up' ? 'given_up' : 'stopped', error });
  }

  /** Invariant 2. */
  #lost(node: string): void {
    const error = new DlgforgeError(
      'receiver_gone',
      `node ${node} is lost; ask again when its actors are back elsewhere`,
      {
        retryable: true,
      },
    );
    this.#inside.rejectAsksTo(node, error);
    for (const release of this.#incoming.get(node)?.values() ?? []) release();
    this.#incoming.delete(node);
    for (const [correlation, { ref, notify }] of this.#outgoing) {
      if (ref.node !== node) continue;
      this.#outgoing.delete(correlation);
      notify({ ref, reason: 'node_lost', error });
    }
  }

  #send(node: string, envelope: Outgoing, version: number = ENVELOPE_VERSION): void {
    this.#endpoint?.send(node, { ...envelope, version, from: this.#inside.node });
  }
}
