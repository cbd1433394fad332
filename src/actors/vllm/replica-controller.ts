/**
 * Sees to it that a run has the replicas that it wants. Belongs to whoever leads the run; keeps nothing that the
 * next leader would need: about once a second it asks every host what it has, and does what is missing.
 *
 * A message that is lost, a host that has moved its replica or died, and a leader that is new all heal in the
 * next round.
 */
import { type Clock, delay } from '../../kernel/clock.ts';
import { isDlgforgeError, messageOf } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/logger.ts';
import type { RunEndpoint, RunWanted } from '../../ports/store.ts';
import type { ActorRef, Messenger } from '../runtime/types.ts';
import {
  decodeHostReply,
  decodeHostReport,
  type HostMessage,
  type HostReply,
  type HostReport,
} from './host-messages.ts';
import {
  endpointChanges,
  type EndpointShape,
  reconcile,
  type Reconciled,
  type Standing,
  standingLines,
  type WantedReplicas,
} from './reconcile.ts';
import type { Place } from './placement.ts';

export interface ReplicaControllerOptions {
  readonly messenger: Pick<Messenger, 'ask'>;
  /** Nodes that may have replicas, all that are alive. */
  readonly hosts: () => ReadonlyMap<string, ActorRef<HostMessage>>;
  readonly wanted: WantedReplicas;
  readonly endpoint: EndpointShape;
  readonly endpoints: {
    read(): Promise<readonly RunEndpoint[]>;
    write(endpoint: RunEndpoint): Promise<void>;
  };
  /** What a person wants of the run: while it is to pause, nothing new is started. @default that it goes on */
  readonly runWanted?: () => Promise<RunWanted>;
  /** Called once each time that none is left and none can be started: the run cannot go on. Rejects to be called again. */
  readonly onNoneLeft: (reason: string) => Promise<void>;
  readonly clock: Clock;
  readonly logger: Logger;
}

export interface ReplicaController {
  /** As of the latest round. */
  readonly standings: readonly Standing[];
  /**
   * Resolves when a replica serves, none is left, the run is not to go on, or `signal` aborts.
   * `onLines`: one line for each replica, when they change.
   */
  untilServed(signal: AbortSignal, onLines?: (lines: readonly string[]) => void): Promise<void>;
  /** After one more round. @throws what the store throws */
  round(): Promise<void>;
  stop(): Promise<void>;
}

const ROUND_MS = 1_000;
/** While a person waits. */
const EARLY_ROUND_MS = 250;
const ASK_MS = 2_000;
/** A node that died is seldom alone, and its successor takes a while to come. */
const NO_ROOM_MS = 60_000;

export function startReplicaController(options: ReplicaControllerOptions): ReplicaController {
  return new Controller(options);
}

class Controller implements ReplicaController {
  readonly #options: ReplicaControllerOptions;
  readonly #stopping = new AbortController();
  readonly #listeners = new Set<() => void>();
  readonly #looping: Promise<void>;
  /** The latest of each node that is alive. */
  readonly #reports = new Map<string, HostReport>();
  #standings: readonly Standing[] = [];
  #runs: Promise<void> = Promise.resolve();
  #isPaused = false;
  #hasServed = false;
  #toldNoneLeft = false;
  #withoutRoomSinceMs: number | null = null;
  #saidTrouble = '';

  constructor(options: ReplicaControllerOptions) {
    this.#options = options;
    this.#looping = this.#loop();
  }

  get standings(): readonly Standing[] {
    return this.#standings;
  }

  async untilServed(signal: AbortSignal, onLines?: (lines: readonly string[]) => void): Promise<void> {
    let shown = '';
    for (;;) {
      if (signal.aborted || this.#stopping.signal.aborted) return;
      if (this.#hasServed || this.#toldNoneLeft || this.#isPaused) return;
      const lines = standingLines(this.#standings).map((line) => line.split('\n', 1)[0] ?? '');
      if (lines.length > 0 && lines.join('\n') !== shown) onLines?.(lines);
      shown = lines.join('\n');
      await this.#change(signal);
    }
  }

  round(): Promise<void> {
    const next = this.#runs.then(() => this.#round());
    this.#runs = next.catch(() => undefined);
    return next;
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#looping;
    await this.#runs;
    this.#changed();
  }

  async #loop(): Promise<void> {
    const { clock, logger } = this.#options;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      await this.round().then(
        () => this.#say(''),
        (error: unknown) => this.#say(`[vllm] the replicas cannot be looked after now: ${messageOf(error)}`),
      );
      await delay(clock, this.#hasServed ? ROUND_MS : EARLY_ROUND_MS, signal);
    }
    logger.log('debug', 'llm', '[vllm] the replicas are looked after elsewhere now, or not any more');
  }

  async #round(): Promise<void> {
    if (this.#stopping.signal.aborted) return;
    const { wanted, endpoint, endpoints, runWanted } = this.#options;
    const runIs = (await runWanted?.()) ?? 'run';
    // Telling that none is left has paused the run; that it is to go on again may be all that is seen of the pause.
    const goesOn = runIs === 'run' && this.#toldNoneLeft && runWanted !== undefined;
    if (goesOn) this.#toldNoneLeft = false;
    this.#isPaused = runIs !== 'run' || goesOn;
    const { reports, silent } = await this.#ask();
    if (this.#stopping.signal.aborted) return;
    const found = reconcile(wanted, reports, silent);
    await this.#act(found, reports);
    this.#standings = found.standings;
    const stored = await endpoints.read();
    for (const row of endpointChanges(found.standings, endpoint, stored)) await endpoints.write(row);
    this.#hasServed ||= found.standings.some(({ state }) => state === 'serving');
    if (silent.length === 0) await this.#judge(found);
    this.#changed();
  }

  async #ask(): Promise<{ readonly reports: readonly HostReport[]; readonly silent: readonly string[] }> {
    const { messenger } = this.#options;
    const hosts = this.#options.hosts();
    for (const node of this.#reports.keys()) if (!hosts.has(node)) this.#reports.delete(node);
    const silent: string[] = [];
    await Promise.all(
      [...hosts].map(async ([node, ref]) => {
        try {
          const report = await messenger.ask<HostMessage, HostReport>(
            ref,
            (replyTo) => ({ type: 'ListReplicas', replyTo }),
            { timeoutMs: ASK_MS },
          );
          this.#reports.set(node, decodeHostReport(report));
        } catch (error) {
          // A node that says it has no host has no replicas; one that says nothing has what it had.
          if (isDlgforgeError(error, 'receiver_gone')) this.#reports.delete(node);
          else silent.push(node);
        }
      }),
    );
    return { reports: [...this.#reports.values()], silent };
  }

  async #act({ start, stop }: Reconciled, reports: readonly HostReport[]): Promise<void> {
    if (!this.#isPaused) {
      await Promise.all([
        ...start.map((at) => this.#order('StartReplica', at)),
        ...stop.map((at) => this.#order('StopReplica', at)),
      ]);
      return;
    }
    // A run that goes on after a pause tries again with those that were given up.
    const { runId } = this.#options.wanted;
    const ended = reports.flatMap(({ node, replicas }) =>
      replicas
        .filter((replica) => replica.runId === runId && isOver(replica.state))
        .map(({ index }) => ({ node, index })),
    );
    await Promise.all(ended.map((at) => this.#order('StopReplica', at)));
  }

  async #order(type: 'StartReplica' | 'StopReplica', { node, index }: Place): Promise<void> {
    const { messenger, wanted, logger } = this.#options;
    const ref = this.#options.hosts().get(node);
    if (ref === undefined) return;
    const text = `${type === 'StartReplica' ? 'start' : 'stop'} replica ${index} on ${node}`;
    logger.log('info', 'llm', `[vllm] ${text}`);
    try {
      const reply = await messenger.ask<HostMessage, HostReply>(
        ref,
        (replyTo) => ({ type, runId: wanted.runId, index, replyTo }),
        { timeoutMs: ASK_MS },
      );
      const heard = decodeHostReply(reply);
      if (heard.type === 'refused') logger.log('warn', 'llm', `[vllm] ${text}: refused, ${heard.reason}`);
    } catch (error) {
      // It is seen in the next round whether it was heard.
      logger.log('warn', 'llm', `[vllm] ${text}: ${messageOf(error)}`);
    }
  }

  async #judge({ standings }: Reconciled): Promise<void> {
    const isAny = (state: Standing['state']): boolean => standings.some((each) => each.state === state);
    if (this.#isPaused || isAny('serving') || isAny('starting') || isAny('restarting')) {
      this.#withoutRoomSinceMs = null;
      return;
    }
    const nowMs = this.#options.clock.now();
    this.#withoutRoomSinceMs ??= nowMs;
    // Where some are given up the others had room and have none now; where all are missing a node may come.
    if (standings.every(({ state }) => state === 'missing') && nowMs - this.#withoutRoomSinceMs < NO_ROOM_MS)
      return;
    if (this.#toldNoneLeft) return;
    await this.#options.onNoneLeft(`No vLLM server is left:\n${standingLines(standings).join('\n')}`);
    this.#toldNoneLeft = true;
  }

  #say(trouble: string): void {
    if (trouble !== '' && trouble !== this.#saidTrouble) this.#options.logger.log('warn', 'llm', trouble);
    this.#saidTrouble = trouble;
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }

  #change(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        this.#listeners.delete(done);
        signal.removeEventListener('abort', done);
        resolve();
      };
      this.#listeners.add(done);
      signal.addEventListener('abort', done, { once: true });
    });
  }
}

const isOver = (state: Standing['state']): boolean => state === 'given_up' || state === 'unable';
