/**
 * One node on the server. Owns what it hears, its outbox, and what it knows of nodes that are gone.
 *
 * Invariants: 1. nothing that arrives can break the connection: it is parsed here, malformed things are counted,
 * and a receiver that throws is logged; 2. a node counts as gone when it said that it leaves, when whoever watches
 * the nodes says so, or when nobody has received for it twice within a second; it counts as there again as soon
 * as anything of it arrives; 3. after `detach` nothing is received, sent or scheduled.
 */
import { ErrorCode, type Msg } from 'nats';
import { InvariantError, messageOf } from '../../kernel/errors.ts';
import type { Envelope, TransportEndpoint } from '../../ports/transport.ts';
import { Assembly } from './assembly.ts';
import { Outbox } from './outbox.ts';
import { ARRIVAL_BYTES_MAX, encode, parsed, readPayload } from './payload.ts';
import { Refusals } from './refusals.ts';
import { readBack } from './subjects.ts';
import { saidAll, type Wire } from './wire.ts';

/** After the server was away, the others may not have come back yet: then silence says nothing of them. */
const OTHERS_RETURN_MS = 2_000;
/** Between two signs that nobody receives for a node, before it counts as gone: it may be reconnecting. */
const CONFIRM_LOSS_MS = 1_000;
const PROBE_MS = 1_000;
const BROADCAST_BYTES_MAX = 256 * 1024;
const GONE_MAX = 10_000;
const NOBODY_THERE = 503;

type Presence = 'there' | 'gone' | 'unknown';

/** Whether anybody answers for `node`. */
export async function probe(wire: Wire, node: string, timeoutMs: number): Promise<Presence> {
  if (!wire.isConnected) return 'unknown';
  try {
    await wire.nats.request(wire.subjects.probe(node), '', { timeout: timeoutMs });
    return 'there';
  } catch (error) {
    const nobody = error instanceof Error && 'code' in error && error.code === ErrorCode.NoResponders;
    // Timeouts, and a connection that broke meanwhile, say nothing.
    return nobody && wire.restoredForMs > OTHERS_RETURN_MS ? 'gone' : 'unknown';
  }
}

/** What goes to all. */
interface Announcement {
  readonly from: string;
  /** Absent when it leaves. */
  readonly body?: unknown;
  readonly leaves?: true;
}

export interface NatsTransportStats {
  /** Envelopes handed over for sending. */
  readonly sent: number;
  /** Publishes that carried them. */
  readonly publishes: number;
  readonly received: number;
  /** Envelopes and broadcasts that were given up, because the server was away for too long or took nothing. */
  readonly dropped: number;
  /** Arrivals that were malformed or too big. */
  readonly refused: number;
}

export class NatsEndpoint implements TransportEndpoint {
  readonly node: string;
  readonly #wire: Wire;
  readonly #receive: (envelope: unknown) => void;
  readonly #onDetached: () => void;
  readonly #outbox: Outbox;
  readonly #refusals: Refusals;
  readonly #assembly: Assembly;
  readonly #hearing: readonly (() => void)[];
  readonly #lossListeners: ((node: string) => void)[] = [];
  readonly #broadcastListeners: ((body: unknown) => void)[] = [];
  readonly #gone = new Set<string>();
  /** Nodes that may be gone: the second look at them is scheduled. */
  readonly #doubted = new Map<string, NodeJS.Timeout>();
  /** Gone nodes that something was sent to in this turn. */
  readonly #reminders = new Set<string>();
  #detached: Promise<void> | null = null;
  #sent = 0;
  #received = 0;
  #unsent = 0;

  constructor(wire: Wire, node: string, receive: (envelope: unknown) => void, onDetached: () => void) {
    this.node = node;
    this.#wire = wire;
    this.#receive = receive;
    this.#onDetached = onDetached;
    this.#outbox = new Outbox(wire, node);
    this.#refusals = new Refusals(wire.logger);
    this.#assembly = new Assembly((sender, why) => this.#refusals.add(sender, why));
    const { subjects } = wire;
    this.#hearing = [
      wire.hear(subjects.mailbox(node), (message) => this.#arrived(message)),
      wire.hear(subjects.all, (message) => this.#announced(message)),
      wire.hear(subjects.allBack(node), (message) => this.#cameBack(message)),
      wire.hear(subjects.probe(node), (message) => void message.respond()),
    ];
  }

  get isConnected(): boolean {
    return this.#wire.isConnected;
  }

  stats(): NatsTransportStats {
    return {
      sent: this.#sent,
      publishes: this.#outbox.publishes,
      received: this.#received,
      dropped: this.#outbox.dropped + this.#unsent,
      refused: this.#refusals.count,
    };
  }

  send(toNode: string, envelope: Envelope): void {
    const encoded = encode(envelope);
    if (this.#detached !== null) return;
    this.#sent += 1;
    if (this.#gone.has(toNode)) {
      this.#unsent += 1;
      return this.#remind(toNode);
    }
    this.#outbox.add(toNode, encoded);
  }

  broadcast(body: unknown): void {
    this.#announce({ from: this.node, body });
  }

  onBroadcast(listener: (body: unknown) => void): void {
    this.#broadcastListeners.push(listener);
  }

  probe(node: string, timeoutMs: number): Promise<Presence> {
    return probe(this.#wire, node, timeoutMs);
  }

  declareLost(node: string): void {
    if (this.#detached !== null || node === this.node) return;
    this.#trust(node);
    if (this.#gone.size < GONE_MAX) this.#gone.add(node);
    this.#outbox.forget(node);
    for (const listener of this.#lossListeners) this.#guarded(() => listener(node));
  }

  onNodeLost(listener: (node: string) => void): void {
    this.#lossListeners.push(listener);
  }

  detach(): Promise<void> {
    this.#detached ??= this.#leave();
    return this.#detached;
  }

  async #leave(): Promise<void> {
    this.#outbox.close();
    for (const stopHearing of this.#hearing) stopHearing();
    this.#announce({ from: this.node, leaves: true });
    for (const timer of this.#doubted.values()) clearTimeout(timer);
    this.#assembly.clear();
    this.#onDetached();
    await saidAll(this.#wire);
  }

  // What arrives.

  #arrived(message: Msg): void {
    const sender = senderOf(message);
    const payload = readPayload(message.data);
    if (payload.type === 'malformed') return this.#refusals.add(sender, payload.why);
    if (sender !== null) this.#trust(sender);
    if (payload.type === 'batch') {
      for (const envelope of payload.envelopes) this.#take(envelope);
      return;
    }
    const whole = this.#assembly.add(sender ?? '', payload.header, payload.bytes);
    if (whole !== null) this.#take(whole.envelope);
  }

  #take(envelope: unknown): void {
    this.#received += 1;
    this.#guarded(() => this.#receive(envelope));
  }

  #announced(message: Msg): void {
    const announcement = message.data.length > ARRIVAL_BYTES_MAX ? undefined : parsed(message.data);
    if (!isAnnouncement(announcement)) return this.#refusals.add(null, 'a broadcast is malformed or too big');
    if (announcement.leaves === true) return this.declareLost(announcement.from);
    this.#trust(announcement.from);
    for (const listener of this.#broadcastListeners) this.#guarded(() => listener(announcement.body));
  }

  /** Only the server speaks here, and only to say that nobody received a batch. */
  #cameBack(message: Msg): void {
    const node = readBack(message.subject)?.to;
    if (message.headers?.code !== NOBODY_THERE || node === undefined) return;
    if (this.#doubted.has(node) || this.#gone.has(node)) return;
    const timer = setTimeout(() => void this.#lookAgain(node), CONFIRM_LOSS_MS);
    this.#doubted.set(node, timer);
  }

  // Who is there.

  async #lookAgain(node: string): Promise<void> {
    const presence = await this.probe(node, PROBE_MS);
    if (!this.#doubted.delete(node)) return;
    if (presence === 'gone') this.declareLost(node);
  }

  /** It is there. */
  #trust(node: string): void {
    this.#gone.delete(node);
    const timer = this.#doubted.get(node);
    if (timer === undefined) return;
    clearTimeout(timer);
    this.#doubted.delete(node);
  }

  /** Not before the sender has returned: it may still be noting down what it waits for. */
  #remind(node: string): void {
    if (this.#reminders.size === 0) setImmediate(() => this.#tellReminders());
    this.#reminders.add(node);
  }

  #tellReminders(): void {
    const nodes = [...this.#reminders];
    this.#reminders.clear();
    for (const node of nodes) if (this.#gone.has(node)) this.declareLost(node);
  }

  // What leaves.

  /** At once, or not at all: what everybody should have heard some time ago misleads. */
  #announce(announcement: Announcement): void {
    const encoded = Buffer.from(encode(announcement));
    if (encoded.length > BROADCAST_BYTES_MAX)
      throw new InvariantError(`invariant broken: a broadcast of ${encoded.length} bytes`);
    const leaves = announcement.leaves === true;
    if (this.#detached !== null && !leaves) return;
    if (this.#wire.isConnected) this.#wire.nats.publish(this.#wire.subjects.all, encoded);
    else if (!leaves) this.#unsent += 1;
  }

  #guarded(run: () => void): void {
    try {
      run();
    } catch (error) {
      const text = `[nats] what arrived at ${this.node} was not handled: ${messageOf(error)}`;
      this.#wire.logger.log('error', 'cluster', text, { error });
    }
  }
}

function senderOf(message: Msg): string | null {
  return message.reply === undefined ? null : (readBack(message.reply)?.from ?? null);
}

function isAnnouncement(value: unknown): value is Announcement {
  if (value === null || typeof value !== 'object') return false;
  const { from, leaves } = value as Partial<Record<string, unknown>>;
  return typeof from === 'string' && (leaves === undefined || leaves === true);
}
