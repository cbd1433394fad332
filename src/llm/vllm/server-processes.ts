/** vLLM servers as processes of this machine (`ports/server-process.ts`). */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join, resolve } from 'node:path';
import { DlgforgeError, invariant, messageOf } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/logger.ts';
import { redactor } from '../../kernel/redact.ts';
import type { KeptServer, ServerOrder, ServerProcess, ServerProcesses } from '../../ports/server-process.ts';
import { type Guardians, startGuardians } from './guardians.ts';
import { claimFreePort, claimPort, type PortClaim } from './port-claim.ts';
import { isSameProcess, MARK_VARIABLE, thisHost } from './process-table.ts';
import { killTree, processesOf } from './process-tree.ts';
import { type ProgramExit, RunningServer } from './running-server.ts';
import { ServerLog } from './server-log.ts';
import {
  hasStarter,
  identityOf,
  isRunning,
  orderHash,
  type ServerRecord,
  ServerRecords,
  treeOf,
} from './server-records.ts';
import { serverEnvironment, withAddress } from './vllm-command.ts';

export interface VllmProcessesOptions {
  /** Holds the records; of this machine or shared with others. */
  readonly stateDir: string;
  readonly logger: Logger;
  /** What servers inherit, PATH, VLLM_API_KEY and HF_TOKEN among it. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Values that never appear in lines that are handed on (I8). @default none */
  readonly secrets?: () => readonly string[];
}

const LOOK_AT_FOUND_EVERY_MS = 250;

export function vllmProcesses(options: VllmProcessesOptions): ServerProcesses {
  return new VllmProcesses(options);
}

class VllmProcesses implements ServerProcesses {
  readonly #options: VllmProcessesOptions;
  readonly #records: ServerRecords;

  constructor(options: VllmProcessesOptions) {
    this.#options = options;
    this.#records = new ServerRecords(options.stateDir);
  }

  require(program: string): Promise<void> {
    return Promise.resolve().then(() => void locate(program, this.#options.environment['PATH'] ?? ''));
  }

  async start(order: ServerOrder): Promise<ServerProcess> {
    const program = locate(order.program, this.#options.environment['PATH'] ?? '');
    const { host, portStart } = order.address;
    const held = this.#records.ofThisHost().filter(isRunning);
    const claim = await claimFreePort(host, portStart, new Set(held.map(({ port }) => port)));
    try {
      return await this.#startAt(order, program, claim);
    } catch (error) {
      claim.release();
      throw error;
    }
  }

  async findKept(order: ServerOrder): Promise<ServerProcess | null> {
    const wanted = orderHash(order);
    for (const record of this.#records.ofThisHost()) {
      if (!record.keep || record.orderHash !== wanted || !isRunning(record)) continue;
      // Whoever uses a kept server holds the claim of its port.
      const claim = await claimPort(record.port);
      if (claim === null) continue;
      try {
        return await this.#found(order, record, claim);
      } catch (error) {
        claim.release();
        throw error;
      }
    }
    return null;
  }

  async kept(): Promise<readonly KeptServer[]> {
    const records = this.#records.ofThisHost().filter((record) => record.keep && isRunning(record));
    return await Promise.all(
      records.map(async (record): Promise<KeptServer> => {
        // Whoever uses a kept server holds the claim of its port.
        const claim = await claimPort(record.port);
        claim?.release();
        const { port, gpus, program } = record;
        return {
          orderHash: record.orderHash,
          pid: program?.pid ?? 0,
          port,
          gpus: gpus ?? [],
          isUsed: claim === null,
        };
      }),
    );
  }

  async sweep(): Promise<number> {
    let count = 0;
    for (const record of this.#records.ofThisHost()) {
      if (isInUse(record)) continue;
      // By its mark alone: much time may have passed, and the number of its session may be another's by now.
      const tree = { mark: record.mark, program: isRunning(record) ? record.program : null };
      if (processesOf(tree).length > 0) count += 1;
      const left = await killTree(tree);
      if (left.length === 0) this.#records.remove(record.mark);
      else this.#say(record, `is left from before and cannot be ended (processes ${left.join(', ')})`);
    }
    return count;
  }

  async #startAt(order: ServerOrder, program: string, claim: PortClaim): Promise<ServerProcess> {
    const mark = randomBytes(16).toString('hex');
    const starter = identityOf(process.pid);
    invariant(starter !== null, 'this process runs');
    const record: ServerRecord = {
      mark,
      host: thisHost(),
      name: order.name,
      orderHash: orderHash(order),
      keep: order.keep,
      port: claim.port,
      gpus: order.gpus === null ? null : [...order.gpus],
      logPath: order.logPath,
      starter,
      program: null,
    };
    const log = this.#openLog(order.logPath, false);
    // The record and the guardians come first: there is no moment at which nobody would end the server.
    this.#records.write(record);
    let server: RunningServer | null = null;
    let isUnguarded = false;
    let guardians: Guardians | null = null;
    try {
      if (!order.keep) {
        guardians = await startGuardians(this.#records.pathOf(mark), () => {
          isUnguarded = true;
          server?.loseGuardian();
        });
      }
      const child = this.#spawn(order, program, claim.port, mark, log.descriptor);
      const programExit = exitOf(child);
      await spawned(child, order.program);
      const pid = child.pid ?? 0;
      guardians?.guard(pid);
      // One that has ended at once is known by its number all the same: its end is on its way.
      const running = { ...record, program: identityOf(pid) ?? { pid, startKey: 'ended' } };
      this.#records.write(running);
      server = new RunningServer(order.name, {
        record: running,
        host: order.address.host,
        records: this.#records,
        log,
        claim,
        guardians,
        logger: this.#options.logger,
        programExit,
        stopWatching: () => child.unref(),
      });
      if (isUnguarded) server.loseGuardian();
      return server;
    } catch (error) {
      await killTree(treeOf(record));
      await guardians?.end();
      log.close();
      this.#records.remove(mark);
      throw error;
    }
  }

  async #found(order: ServerOrder, record: ServerRecord, claim: PortClaim): Promise<ServerProcess> {
    const { program } = record;
    invariant(program !== null, 'a server that runs has a program');
    let server: RunningServer | null = null;
    let isUnguarded = false;
    const log = this.#openLog(record.logPath, true);
    let used = { ...record, program };
    let guardians: Guardians | null = null;
    try {
      // One that is not to be kept any more is as one that was started here: it ends with whoever uses it (P2).
      if (!order.keep) {
        guardians = await startGuardians(this.#records.pathOf(record.mark), () => {
          isUnguarded = true;
          server?.loseGuardian();
        });
        guardians.guard(program.pid);
        used = { ...used, name: order.name, keep: false, starter: identityOf(process.pid) ?? used.starter };
        this.#records.write(used);
      }
    } catch (error) {
      await guardians?.end();
      log.close();
      throw error;
    }
    server = new RunningServer(order.name, {
      record: used,
      host: order.address.host,
      records: this.#records,
      log,
      claim,
      guardians,
      logger: this.#options.logger,
      ...watchedProgram(program.pid, program.startKey),
    });
    if (isUnguarded) server.loseGuardian();
    return server;
  }

  #spawn(order: ServerOrder, program: string, port: number, mark: string, output: number): ChildProcess {
    return spawn(program, withAddress(order.args, order.address.host, port), {
      // A session of its own: Ctrl-C at the terminal is for us, and all that it starts can be told by it.
      detached: true,
      stdio: ['ignore', output, output],
      env: {
        ...this.#options.environment,
        ...serverEnvironment(order.env, order.gpus),
        [MARK_VARIABLE]: mark,
      },
    });
  }

  #openLog(path: string, fromBefore: boolean): ServerLog {
    const redact = (text: string): string => redactor(this.#options.secrets?.() ?? [])(text);
    try {
      return new ServerLog({ path, fromBefore, redact });
    } catch (error) {
      throw new DlgforgeError(
        'output',
        `The log of a vLLM server cannot be written (${path}: ${messageOf(error)}). Give this user write access there.`,
        { cause: error },
      );
    }
  }

  #say(record: ServerRecord, text: string): void {
    this.#options.logger.log('warn', 'run', `[vllm] server ${record.name} ${text}`);
  }
}

/** A kept server that its starter is about to start has no program yet. */
const isInUse = (record: ServerRecord): boolean =>
  record.keep && record.program !== null ? isRunning(record) : hasStarter(record);

/** The file of a program. @throws DlgforgeError `endpoint` that says how to get it. */
export function locate(program: string, searchPath: string): string {
  const isPath = program.includes('/');
  const candidates = isPath
    ? [resolve(program)]
    : searchPath
        .split(delimiter)
        .filter((folder) => folder !== '')
        .map((folder) => join(folder, program));
  const found = candidates.find(isProgram);
  if (found !== undefined) return found;
  throw new DlgforgeError(
    'endpoint',
    `The program ${program} ${isPath ? 'is not there or cannot be executed' : 'is not on the PATH of this machine'}. ` +
      'Install vLLM there (pip install vllm), or set llm.vllm.command to the path of its program.',
    { details: { program } },
  );
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    // Not there, or not ours to run: the next folder may have it.
    return false;
  }
}

function exitOf(child: ChildProcess): Promise<ProgramExit> {
  return new Promise((done) => {
    child.once('exit', (code, signal) => done({ code, signal }));
  });
}

async function spawned(child: ChildProcess, program: string): Promise<void> {
  try {
    await once(child, 'spawn');
  } catch (error) {
    throw new DlgforgeError(
      'endpoint',
      `The program ${program} cannot be started (${messageOf(error)}). Try it in a shell, or set llm.vllm.command.`,
      { cause: error },
    );
  }
}

/** The end of a program that is not our child. */
function watchedProgram(
  pid: number,
  startKey: string,
): { readonly programExit: Promise<ProgramExit>; readonly stopWatching: () => void } {
  const { promise, resolve: done } = Promise.withResolvers<ProgramExit>();
  const timer = setInterval(() => {
    if (isSameProcess(pid, startKey)) return;
    clearInterval(timer);
    done({ code: null, signal: null });
  }, LOOK_AT_FOUND_EVERY_MS);
  return { programExit: promise, stopWatching: () => clearInterval(timer) };
}
