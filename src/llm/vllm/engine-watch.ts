/**
 * Whether the engine processes of a server still live. vLLM looks at its engines itself, but only every 5 s, and
 * answers `/health` meanwhile; a server whose engine has gone is of no use to anybody.
 *
 * Which of its processes are engines: those that vLLM titles so (`VLLM::…`), at any depth; and, for programs that
 * give no titles, what the program itself had started of its own kind (the same executable) when it first answered.
 * Compilers, trackers and what an engine starts for itself come and go, and are none. A child that the program may
 * have had for a moment only (it looks at its processor that way) counts when it is old, or was the only one.
 */
import { connect } from 'node:net';
import {
  ageS,
  allProcesses,
  commandOf,
  isSameProcess,
  type ProcessEntry,
  programOf,
} from './process-table.ts';
import { processesOf, type ServerTree } from './process-tree.ts';

const LOOK_EVERY_MS = 250;
const SEARCH_EVERY_MS = 1_000;
const CONNECT_MS = 500;
const SHORT_LIVED_S = 10;
/** Searches for engines after it has answered; a server without any is watched by its program alone. */
const SEARCHES_AT_MOST = 10;
const TITLED = /^VLLM::/;
const TRACKER = /resource_tracker|compile_worker/;

export interface EngineWatchOptions {
  readonly tree: ServerTree & { readonly program: { readonly pid: number } };
  readonly host: string;
  readonly port: number;
  /** It takes connections. */
  readonly onAnswer: () => void;
  /** Called once; the watch is over then. */
  readonly onLost: (pid: number) => void;
}

interface Engine extends ProcessEntry {
  readonly isTitled: boolean;
}

export class EngineWatch {
  readonly #options: EngineWatchOptions;
  readonly #timer: NodeJS.Timeout;
  #engines: readonly Engine[] = [];
  #answers = false;
  #searches = 0;
  #isConnecting = false;
  #searchedMs = 0;

  constructor(options: EngineWatchOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.#look(), LOOK_EVERY_MS).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    const gone = this.#engines.filter(({ pid, startKey }) => !isSameProcess(pid, startKey));
    this.#engines = this.#engines.filter((engine) => !gone.includes(engine));
    const lost = gone.find((engine) => this.#counts(engine));
    if (lost !== undefined) {
      this.stop();
      this.#options.onLost(lost.pid);
    } else if (!this.#answers) this.#lookBeforeItAnswers();
    else if (this.#engines.length === 0 && this.#searches < SEARCHES_AT_MOST) this.#searchAtTimes();
  }

  #counts(engine: Engine): boolean {
    return engine.isTitled || this.#engines.length === 0 || ageS(engine) >= SHORT_LIVED_S;
  }

  #lookBeforeItAnswers(): void {
    this.#searchAtTimes();
    if (this.#isConnecting) return;
    this.#isConnecting = true;
    const { host, port } = this.#options;
    void takesConnections(reachable(host), port).then((answers) => {
      this.#isConnecting = false;
      if (!answers || this.#answers) return;
      this.#answers = true;
      this.#search();
      this.#options.onAnswer();
    });
  }

  #searchAtTimes(): void {
    if (performance.now() - this.#searchedMs > SEARCH_EVERY_MS) this.#search();
  }

  /** Those that were known are kept: one that has just died is still to be missed. */
  #search(): void {
    this.#searchedMs = performance.now();
    if (this.#answers) this.#searches += 1;
    const { tree } = this.#options;
    const members = new Set(processesOf(tree));
    const below = allProcesses().filter(({ pid }) => members.has(pid) && pid !== tree.program.pid);
    const titled = below.filter(({ pid }) => TITLED.test(commandOf(pid)));
    const untitled = titled.length > 0 || !this.#answers ? [] : ofItsOwnKind(tree.program.pid, below);
    const found = [
      ...titled.map((entry) => ({ ...entry, isTitled: true })),
      ...untitled.map((entry) => ({ ...entry, isTitled: false })),
    ];
    const known = new Set(this.#engines.map(({ pid }) => pid));
    this.#engines = [...this.#engines, ...found.filter(({ pid }) => !known.has(pid))];
  }
}

/** Children with the executable of their parent; a program that only starts the real one is passed through. */
function ofItsOwnKind(root: number, below: readonly ProcessEntry[]): readonly ProcessEntry[] {
  const program = programOf(root);
  return below
    .filter(({ parentPid }) => parentPid === root)
    .flatMap((child) => {
      if (program === null || programOf(child.pid) !== program) return ofItsOwnKind(child.pid, below);
      return TRACKER.test(commandOf(child.pid)) ? [] : [child];
    });
}

const reachable = (host: string): string => (host === '0.0.0.0' || host === '::' ? 'localhost' : host);

function takesConnections(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: CONNECT_MS }).unref();
    const end = (answers: boolean): void => {
      socket.destroy();
      resolve(answers);
    };
    socket
      .once('connect', () => end(true))
      .once('timeout', () => end(false))
      .once('error', () => end(false));
  });
}
