/**
 * One model server under supervision: started, watched, and started again with back-off when it ends.
 *
 * Owns the process. Invariants: 1. any end of it is a failure, status 0 too: an engine that dies can take the
 * API server with it in good order; 2. it serves only when it is healthy and lists its models; 3. nothing of
 * its tree is left when it is started again.
 */
import { DlgforgeError, messageOf } from '../../kernel/errors.ts';
import type {
  ServerExit,
  ServerOrder,
  ServerProbe,
  ServerProcess,
  ServerProcesses,
  ServerVitals,
} from '../../ports/server-process.ts';
import type { ActorContext, ActorDefinition, Behaviour, RestartPolicy } from '../runtime/types.ts';
import { type Condition, type VitalLimits, VitalSigns } from './vital-signs.ts';

export interface ServerLimits extends VitalLimits {
  /** In a row; one more failure, and it is given up. */
  readonly maxRestarts: number;
}

export interface VllmServerOptions {
  readonly processes: ServerProcesses;
  readonly probe: ServerProbe;
  readonly order: ServerOrder;
  /** A kept server of the same order, found running: it is taken instead of a first start. */
  readonly found: ServerProcess | null;
  /** What `/v1/models` has to list. */
  readonly models: readonly string[];
  /** What the server demands of requests; null: nothing (I8). */
  readonly key: () => string | null;
  readonly limits: ServerLimits;
  /** Whether a kept server goes on when this actor stops. */
  readonly mayKeep: () => boolean;
  /** Not told when it is given up after its last restart: watch it for that. */
  readonly onState: (state: ServerState) => void;
}

export type ServerState =
  | { readonly type: 'starting'; readonly text: string }
  | { readonly type: 'serving'; readonly port: number; readonly pid: number }
  /** It failed, and is started again after a pause. */
  | { readonly type: 'restarting'; readonly text: string }
  /** It is not started again. */
  | { readonly type: 'given_up'; readonly text: string };

type ServerMessage =
  | { readonly type: 'Started'; readonly server: ServerProcess }
  | { readonly type: 'StartFailed'; readonly error: unknown }
  | { readonly type: 'Ended'; readonly exit: ServerExit }
  | { readonly type: 'Poll' }
  | { readonly type: 'Probed'; readonly vitals: ServerVitals }
  | { readonly type: 'Asked'; readonly hasAnswered: boolean; readonly askedAtMs: number };

const STARTING_POLL_MS = 500;
const SERVING_POLL_MS = 2_000;
const PROBE_MS = 5_000;
const STOP_GRACE_MS = 8_000;
const BACKOFF_MIN_MS = 500;
const BACKOFF_MAX_MS = 30_000;
const RESTART_WINDOW_MIN_MS = 600_000;

export const vllmServer = (options: VllmServerOptions): ActorDefinition<ServerMessage> => {
  const life = { found: options.found, hasServed: false };
  return {
    kind: 'vllm-server',
    restart: restartPolicy(options.limits),
    start: (context) => new VllmServer(options, context, life),
  };
};

/** Long enough that a server which dies late in each of its starts is given up too. */
function restartPolicy({ maxRestarts, healthTimeoutMs }: ServerLimits): RestartPolicy {
  return {
    maxRestarts,
    withinMs: Math.max(RESTART_WINDOW_MIN_MS, (maxRestarts + 1) * (healthTimeoutMs + BACKOFF_MAX_MS)),
    backoffMinMs: BACKOFF_MIN_MS,
    backoffMaxMs: BACKOFF_MAX_MS,
    onGivenUp: 'stop',
  };
}

class VllmServer implements Behaviour<ServerMessage> {
  readonly #options: VllmServerOptions;
  readonly #context: ActorContext<ServerMessage>;
  readonly #life: { found: ServerProcess | null; hasServed: boolean };
  readonly #starting: Promise<ServerProcess | null>;
  #signs: VitalSigns | null = null;
  #server: ServerProcess | null = null;
  #state: ServerState | null = null;
  #isAsking = false;
  /** What is wrong with it: it is not kept then. */
  #isFailed = false;

  constructor(
    options: VllmServerOptions,
    context: ActorContext<ServerMessage>,
    life: { found: ServerProcess | null; hasServed: boolean },
  ) {
    this.#options = options;
    this.#context = context;
    this.#life = life;
    this.#tell({ type: 'starting', text: 'starting' });
    const started = this.#start();
    this.#starting = started.catch(() => null);
    context.pipe(
      started,
      (server) => ({ type: 'Started', server }),
      (error) => ({ type: 'StartFailed', error }),
    );
  }

  receive(message: ServerMessage): void {
    switch (message.type) {
      case 'Started':
        return this.#started(message.server);
      case 'StartFailed':
        return this.#fail(messageOf(message.error), []);
      case 'Ended':
        return this.#ended(message.exit);
      case 'Poll':
        return this.#poll();
      case 'Probed':
        return this.#probed(message.vitals);
      case 'Asked':
        return this.#asked(message.hasAnswered, message.askedAtMs);
    }
  }

  /** Invariant 3. */
  async stopped(): Promise<void> {
    const server = await this.#starting;
    if (server === null) return;
    if (this.#isFailed) await server.kill();
    else if (this.#options.order.keep && this.#options.mayKeep()) server.release();
    else await server.stop(STOP_GRACE_MS);
  }

  #start(): Promise<ServerProcess> {
    const { found } = this.#life;
    this.#life.found = null;
    const { processes, order } = this.#options;
    return found === null ? processes.start(order) : Promise.resolve(found);
  }

  #started(server: ServerProcess): void {
    this.#server = server;
    const { models, limits, order } = this.#options;
    this.#signs = new VitalSigns(models, limits, this.#context.clock.now());
    this.#context.pipe(
      server.ended,
      (exit) => ({ type: 'Ended', exit }),
      (error) => ({ type: 'StartFailed', error }),
    );
    const { logger } = this.#context;
    logger.log(
      'info',
      'llm',
      `[vllm] ${order.name}: pid ${server.pid}, port ${server.port}, log ${order.logPath}`,
    );
    this.#poll();
  }

  #poll(): void {
    const server = this.#server;
    if (server === null) return;
    const { probe, key } = this.#options;
    this.#context.pipe(
      probe.vitals(this.#urlOf(server), key(), PROBE_MS),
      (vitals) => ({ type: 'Probed', vitals }),
      (error) => ({ type: 'StartFailed', error }),
    );
  }

  /** Invariant 2. */
  #probed(vitals: ServerVitals): void {
    const server = this.#server;
    if (server === null || this.#signs === null) return;
    const condition = this.#signs.read(vitals, this.#context.clock.now());
    this.#judge(server, condition);
  }

  #judge(server: ServerProcess, condition: Condition): void {
    switch (condition.type) {
      case 'starting':
        this.#tell({ type: 'starting', text: server.phase() });
        return this.#pollAfter(STARTING_POLL_MS);
      case 'serving':
        this.#life.hasServed = true;
        this.#tell({ type: 'serving', port: server.port, pid: server.pid });
        if (condition.isQuiet) this.#ask(server);
        return this.#pollAfter(Math.min(SERVING_POLL_MS, this.#options.limits.noProgressMs / 4));
      case 'sick':
        return this.#fail(condition.reason, server.lastLines());
      case 'hopeless':
        // One that has served before has been up to it.
        if (this.#life.hasServed) return this.#fail(condition.reason, server.lastLines());
        return this.#giveUp(condition.reason, server.lastLines());
    }
  }

  #ask(server: ServerProcess): void {
    const { probe, key, limits, models } = this.#options;
    const [model] = models;
    if (this.#isAsking || model === undefined) return;
    this.#isAsking = true;
    const { clock, signal } = this.#context;
    const askedAtMs = clock.now();
    const patience = new AbortController();
    const cancel = clock.schedule(limits.noProgressMs, () => patience.abort());
    this.#context.pipe(
      probe
        .answers(this.#urlOf(server), key(), model, AbortSignal.any([patience.signal, signal]))
        .finally(cancel),
      (hasAnswered) => ({ type: 'Asked', hasAnswered, askedAtMs }),
      (error) => ({ type: 'StartFailed', error }),
    );
  }

  #asked(hasAnswered: boolean, askedAtMs: number): void {
    this.#isAsking = false;
    const condition = this.#signs?.asked(hasAnswered, askedAtMs, this.#context.clock.now()) ?? null;
    if (condition !== null && this.#server !== null) this.#judge(this.#server, condition);
  }

  #urlOf({ port }: ServerProcess): string {
    return `http://${probeHost(this.#options.order.address.host)}:${port}/v1`;
  }

  #pollAfter(delayMs: number): void {
    this.#context.after(delayMs, { type: 'Poll' });
  }

  /** Invariant 1. */
  #ended({ reason, lastLines }: ServerExit): void {
    const when = this.#state?.type === 'serving' ? 'while it served' : 'before it served';
    this.#fail(`it ${reason} ${when}`, lastLines);
  }

  #fail(reason: string, lastLines: readonly string[]): never {
    this.#isFailed = true;
    const text = this.#explained(reason, lastLines);
    this.#tell({ type: 'restarting', text });
    // Its supervisor writes it down.
    throw new DlgforgeError('endpoint', text);
  }

  #giveUp(reason: string, lastLines: readonly string[]): void {
    this.#isFailed = true;
    this.#tell({ type: 'given_up', text: this.#explained(reason, lastLines) });
    this.#context.stopSelf();
  }

  #explained(reason: string, lastLines: readonly string[]): string {
    return explained(reason, lastLines, this.#options.order.logPath);
  }

  #tell(state: ServerState): void {
    if (JSON.stringify(state) === JSON.stringify(this.#state)) return;
    this.#state = state;
    this.#options.onState(state);
  }
}

const LINES_MAX = 12;
const LINE_CHARS_MAX = 300;

/** A reason with what the server said last. */
export function explained(reason: string, lastLines: readonly string[], logPath: string): string {
  const lines = lastLines.filter((line) => line.trim() !== '').slice(-LINES_MAX);
  if (lines.length === 0) return `${reason} (it wrote nothing into ${logPath})`;
  const shown = lines.map((line) => `  | ${line.slice(0, LINE_CHARS_MAX)}`);
  // The first line stands alone where there is room for one.
  return [reason, `The last lines of ${logPath}:`, ...shown].join('\n');
}

/** Where a server that listens on `host` is asked from its own machine. */
export function probeHost(host: string): string {
  if (host === '' || host === '0.0.0.0') return '127.0.0.1';
  if (host === '::' || host === '[::]') return '[::1]';
  return host.includes(':') && !host.startsWith('[') ? `[${host}]` : host;
}
