/**
 * Model servers as processes of an imagined machine: the memory adapter of `ServerProcesses`, with the probe that
 * belongs to it. Each server does what its script says, on the clock that it is given.
 */
import { once } from 'node:events';
import type { Clock } from '../../src/kernel/clock.ts';
import { DlgforgeError } from '../../src/kernel/errors.ts';
import type {
  ServerExit,
  ServerOrder,
  ServerProbe,
  ServerProcess,
  ServerProcesses,
  ServerVitals,
  StartPhase,
} from '../../src/ports/server-process.ts';

export interface ServerScript {
  /** From the start until `/health` answers. @default 1 000 */
  readonly healthyAfterMs?: number;
  /** Ends by itself, this long after its start. @default never */
  readonly endsAfterMs?: number;
  /** @default 1 */
  readonly status?: number;
  /** What it serves. @default the served name among its arguments */
  readonly serves?: readonly string[];
  /** What it wrote last. */
  readonly lines?: readonly string[];
}

export interface MemoryMachine {
  readonly processes: ServerProcesses;
  readonly probe: ServerProbe;
  /** Every start, in order. */
  readonly starts: readonly ServerOrder[];
  /** Servers that run now. */
  running(): readonly MemoryServer[];
  /** What the next starts do, in order; afterwards a server that works. */
  script(...scripts: readonly ServerScript[]): void;
}

export class MemoryServer implements ServerProcess {
  readonly order: ServerOrder;
  readonly name: string;
  readonly pid: number;
  readonly port: number;
  readonly gpus: readonly number[] | null;
  readonly script: ServerScript;
  readonly startedAtMs: number;
  readonly clock: Clock;
  readonly ended: Promise<ServerExit>;
  /** What its metrics say. */
  load: { running: number; waiting: number; tokens: number } | null = { running: 0, waiting: 0, tokens: 0 };
  /** Its engine takes requests and gives nothing. */
  isHung = false;
  /** Requests for one token that it had. */
  asked = 0;
  isSilent = false;
  isReleased = false;
  readonly #resolve: (exit: ServerExit) => void;
  #isRunning = true;

  constructor(order: ServerOrder, pid: number, port: number, script: ServerScript, clock: Clock) {
    this.order = order;
    this.name = order.name;
    this.gpus = order.gpus;
    this.pid = pid;
    this.port = port;
    this.script = script;
    this.clock = clock;
    this.startedAtMs = clock.now();
    const ended = Promise.withResolvers<ServerExit>();
    this.ended = ended.promise;
    this.#resolve = ended.resolve;
    if (script.endsAfterMs !== undefined) {
      const cancel = clock.schedule(script.endsAfterMs, () => this.end(script.status ?? 1));
      void this.ended.then(cancel);
    }
  }

  get isRunning(): boolean {
    return this.#isRunning;
  }

  get isHealthy(): boolean {
    const sinceMs = this.clock.now() - this.startedAtMs;
    return this.#isRunning && !this.isSilent && sinceMs >= (this.script.healthyAfterMs ?? 1_000);
  }

  vitals(): ServerVitals {
    const { isHealthy } = this;
    const named = this.order.args[this.order.args.indexOf('--served-model-name') + 1];
    return {
      isHealthy,
      models: isHealthy ? (this.script.serves ?? (named === undefined ? [] : [named])) : null,
      load: isHealthy && this.load !== null ? { ...this.load, cachedTokens: null } : null,
    };
  }

  phase(): StartPhase {
    return this.isHealthy ? 'started' : 'loading the weights';
  }

  lastLines(): readonly string[] {
    return this.script.lines ?? [];
  }

  end(code: number | null, signal: string | null = null): void {
    this.#isRunning = false;
    const reason = signal === null ? `ended with status ${code ?? 'unknown'}` : `was ended by ${signal}`;
    this.#resolve({ code, signal, reason, left: [], lastLines: this.lastLines() });
  }

  stop(): Promise<ServerExit> {
    this.end(0);
    return this.ended;
  }

  kill(): Promise<ServerExit> {
    this.end(null, 'SIGKILL');
    return this.ended;
  }

  release(): void {
    this.isReleased = true;
  }
}

const hashOf = ({ program, args }: ServerOrder): string => [program, ...args].join(' ');

/** `programs`: those that can be called. @default any */
export function memoryMachine(clock: Clock, programs: readonly string[] | null = null): MemoryMachine {
  const servers: MemoryServer[] = [];
  const starts: ServerOrder[] = [];
  const scripts: ServerScript[] = [];
  const running = (): MemoryServer[] => servers.filter(({ isRunning }) => isRunning);
  const same = ({ order }: MemoryServer, other: ServerOrder): boolean =>
    order.keep && hashOf(order) === hashOf(other);

  const at = (baseUrl: string): MemoryServer | undefined => {
    const port = Number(new URL(baseUrl).port);
    return running().find((each) => each.port === port);
  };

  const requireProgram = (program: string): void => {
    if (programs === null || programs.includes(program)) return;
    throw new DlgforgeError('endpoint', `There is no program ${program} here. Install it: pip install vllm`);
  };
  return {
    starts,
    running,
    script: (...next) => void scripts.push(...next),
    processes: {
      require: async (program) => requireProgram(program),
      async start(order) {
        requireProgram(order.program);
        starts.push(order);
        const used = new Set(running().map(({ port }) => port));
        let port = order.address.portStart;
        while (used.has(port)) port += 1;
        const server = new MemoryServer(order, 1000 + starts.length, port, scripts.shift() ?? {}, clock);
        servers.push(server);
        return server;
      },
      findKept: async (order) => {
        const found = running().find((server) => server.isReleased && same(server, order)) ?? null;
        if (found !== null) found.isReleased = false;
        return found;
      },
      kept: async () =>
        running()
          .filter(({ order }) => order.keep)
          .map((server) => ({
            orderHash: hashOf(server.order),
            pid: server.pid,
            port: server.port,
            gpus: server.gpus ?? [],
            isUsed: !server.isReleased,
          })),
      sweep: async () => 0,
    },
    probe: {
      vitals: async (baseUrl) => at(baseUrl)?.vitals() ?? { isHealthy: false, models: null, load: null },
      async answers(baseUrl, _key, _model, patience) {
        const server = at(baseUrl);
        if (server === undefined) return true;
        server.asked += 1;
        if (!server.isHung) return true;
        const aborted = once(patience, 'abort').then(() => false);
        return await Promise.race([aborted, server.ended.then(() => true)]);
      },
    },
  };
}
