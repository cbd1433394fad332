/**
 * One server that runs, from its start (or from when it was found again) to the moment at which none of its
 * processes is left. Owns its log, its port, its guardians and its record, and gives all of them back at the end.
 *
 * - R1 The end of the program, of an engine or of a guardian is the end of the server: what is left of the tree is
 *   killed, then `ended` resolves, once.
 * - R2 The record goes only when none of the tree is left, so that a sweep finds what could not be ended.
 */
import { messageOf } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/logger.ts';
import type { ServerExit, ServerProcess, StartPhase } from '../../ports/server-process.ts';
import { EngineWatch } from './engine-watch.ts';
import type { Guardians } from './guardians.ts';
import type { PortClaim } from './port-claim.ts';
import { isSameProcess } from './process-table.ts';
import { killTree, sendSignal, type ServerTree } from './process-tree.ts';
import type { ServerLog } from './server-log.ts';
import type { ServerRecord, ServerRecords } from './server-records.ts';

const GRACE_MS = 10_000;
/** An engine's end mostly ends the program as well, with a better last word than ours. */
const LAST_WORD_MS = 500;

export interface ProgramExit {
  readonly code: number | null;
  readonly signal: string | null;
}

export interface RunningServerParts {
  readonly record: ServerRecord & { readonly program: { readonly pid: number; readonly startKey: string } };
  readonly host: string;
  readonly records: ServerRecords;
  readonly log: ServerLog;
  readonly claim: PortClaim;
  /** Null for kept servers. */
  readonly guardians: Guardians | null;
  readonly logger: Logger;
  /** Resolves when the program has ended; `stopWatching` gives that up. */
  readonly programExit: Promise<ProgramExit>;
  readonly stopWatching: () => void;
}

export class RunningServer implements ServerProcess {
  readonly name: string;
  readonly pid: number;
  readonly port: number;
  readonly gpus: readonly number[] | null;
  readonly ended: Promise<ServerExit>;
  readonly #parts: RunningServerParts;
  readonly #tree: ServerTree;
  readonly #engines: EngineWatch;
  readonly #resolve: (exit: ServerExit) => void;
  /** Why we end it; null while we do not. */
  #why: string | null = null;
  #isReleased = false;

  constructor(name: string, parts: RunningServerParts) {
    const { record, host, log, programExit } = parts;
    this.name = name;
    this.pid = record.program.pid;
    this.port = record.port;
    this.gpus = record.gpus;
    this.#parts = parts;
    const tree = { mark: record.mark, program: record.program };
    this.#tree = tree;
    this.#engines = new EngineWatch({
      tree,
      host,
      port: record.port,
      onAnswer: () => {
        log.started();
        // It holds its port itself from now on. The claim of a kept one also says that it is used.
        if (!record.keep) parts.claim.release();
      },
      onLost: (pid) => this.#loseEngine(pid),
    });
    const { promise, resolve } = Promise.withResolvers<ServerExit>();
    this.ended = promise;
    this.#resolve = resolve;
    void programExit.then((exit) => this.#finish(exit));
  }

  phase(): StartPhase {
    return this.#parts.log.phase;
  }

  lastLines(): readonly string[] {
    return this.#parts.log.lastLines();
  }

  /** A server that nobody would end when we die is not let run on. */
  loseGuardian(): void {
    void this.#end('was ended because a process that guards it had gone');
  }

  stop(graceMs = GRACE_MS): Promise<ServerExit> {
    if (this.#why === null && !this.#isReleased) {
      this.#why = 'was stopped';
      if (!this.#ask()) void this.#killAll();
      else {
        const timer = setTimeout(() => {
          this.#why = `was killed because it had not stopped in ${graceMs / 1000} s`;
          this.#say(this.#why);
          void this.#killAll();
        }, graceMs);
        void this.ended.then(() => clearTimeout(timer));
      }
    }
    return this.ended;
  }

  kill(): Promise<ServerExit> {
    return this.#end('was killed');
  }

  release(): void {
    const { record, log, claim, stopWatching } = this.#parts;
    if (!record.keep || this.#isReleased) return;
    this.#isReleased = true;
    this.#engines.stop();
    stopWatching();
    log.close();
    claim.release();
  }

  #end(why: string): Promise<ServerExit> {
    if (!this.#isReleased) {
      this.#why ??= why;
      void this.#killAll();
    }
    return this.ended;
  }

  #loseEngine(pid: number): void {
    if (this.#why !== null) return;
    const why = `was ended because its engine process ${pid} had gone`;
    const timer = setTimeout(() => void this.#end(why), LAST_WORD_MS);
    void this.ended.then(() => clearTimeout(timer));
  }

  /** SIGTERM to the program; false when it may not be signalled, which is said. */
  #ask(): boolean {
    const { pid, startKey } = this.#parts.record.program;
    try {
      // One that has just ended gets no signal: its number may be another's.
      if (isSameProcess(pid, startKey)) sendSignal(pid, 'SIGTERM');
      return true;
    } catch (error) {
      this.#say(`cannot be asked to stop (${messageOf(error)}) and is killed`);
      return false;
    }
  }

  /** The end of the program then comes by `programExit`. */
  async #killAll(): Promise<void> {
    const left = await killTree(this.#tree);
    if (left.includes(this.pid)) await this.#finish({ code: null, signal: null });
  }

  async #finish(exit: ProgramExit): Promise<void> {
    const { record, records, log, claim, guardians } = this.#parts;
    if (this.#isReleased) return;
    this.#isReleased = true;
    this.#engines.stop();
    const left = await killTree(this.#tree);
    await guardians?.end();
    const lastLines = log.lastLines();
    log.close();
    claim.release();
    if (left.length === 0) records.remove(record.mark);
    else
      this.#say(
        `has left processes that SIGKILL does not end: ${left.join(', ')}. They may hold GPUs; look at them with ps`,
      );
    this.#resolve({ ...exit, reason: this.#why ?? reasonOf(exit), left, lastLines });
  }

  #say(text: string): void {
    this.#parts.logger.log('warn', 'run', `[vllm] server ${this.name} (pid ${this.pid}) ${text}`);
  }
}

function reasonOf({ code, signal }: ProgramExit): string {
  if (signal !== null) return `was ended by ${signal}`;
  return code === null ? 'ended' : `ended with status ${code}`;
}
