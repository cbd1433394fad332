/**
 * The worker processes of a node. A worker that ends without being told to is replaced at once; one that
 * keeps ending is replaced with growing pauses.
 *
 * Owns: the child processes. They end with this one: each watches its channel to its parent.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { messageOf } from '../../kernel/errors.ts';
import type { Environment } from '../../config/environment.ts';
import type { Logger } from '../../kernel/logger.ts';
import { childModule, withCompileCache } from './child-module.ts';
import type { WorkerOrders, WorkerReport } from './worker-orders.ts';

export interface WorkerPoolOptions {
  readonly parent: string;
  /** Everything a worker needs to join; goes through its channel, never through its arguments (I8). */
  readonly orders: Omit<Extract<WorkerOrders, { type: 'join' }>, 'type' | 'name'>;
  readonly environment: Environment;
  readonly logger: Logger;
  /** A worker's process has ended: nobody has to wait for its silence. */
  readonly onEnd: (node: string) => void;
}

export interface WorkerPool {
  /** Keeps this many workers running. */
  resize(count: number): void;
  readonly running: readonly {
    readonly node: string;
    readonly name: string;
    readonly channel: ChildProcess;
  }[];
  /** Each gives its conversations back and ends; killed when it does not within `graceMs`. Again: a shorter grace counts. */
  drain(graceMs: number): Promise<void>;
}

interface Slot {
  readonly number: number;
  child: ChildProcess | null;
  node: string;
  startedAtMs: number;
  quickEnds: number;
  timer: NodeJS.Timeout | null;
}

/** A worker that lived this long ended for a reason of its own. */
const HEALTHY_MS = 20_000;
const PAUSE_MIN_MS = 250;
const PAUSE_MAX_MS = 15_000;

export function createWorkerPool(options: WorkerPoolOptions): WorkerPool {
  const { parent, logger } = options;
  const slots: Slot[] = [];
  /** Told to end, and not gone yet. */
  const ending = new Map<ChildProcess, Promise<void>>();
  let ended = false;

  const start = (slot: Slot): void => {
    if (ended) return;
    slot.timer = null;
    slot.node = `${parent}.w${slot.number}-${randomBytes(2).toString('hex')}`;
    slot.startedAtMs = Date.now();
    let lastWords = '';
    const gone = (how: string): void => {
      slot.child = null;
      options.onEnd(slot.node);
      if (ended || !slots.includes(slot)) return;
      logger.log(
        'warn',
        'cluster',
        `[cluster] worker ${slot.node} ended (${how})${lastWords === '' ? '' : `: ${lastWords.trim()}`}; starting another`,
      );
      again(slot);
    };
    const child = launch(options.environment);
    if (child instanceof Error) {
      lastWords = child.message;
      gone('it cannot be started');
      return;
    }
    slot.child = child;
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      lastWords = `${lastWords}${text}`.slice(-2_000);
    });
    child.on('message', (report: WorkerReport) => {
      if (report.type === 'failed') lastWords = report.message;
    });
    child.on('error', (error) => {
      lastWords = messageOf(error);
      // A process that never was has no end of its own.
      if (child.pid === undefined && slot.child === child) gone('it cannot be started');
    });
    child.once('exit', (code, signal) => gone(signal ?? `exit ${code}`));
    if (child.pid === undefined) return;
    child.send({ type: 'join', name: slot.node, ...options.orders } satisfies WorkerOrders);
  };

  const again = (slot: Slot): void => {
    slot.quickEnds = Date.now() - slot.startedAtMs < HEALTHY_MS ? slot.quickEnds + 1 : 0;
    // The first replacement comes at once: its conversations wait.
    const pauseMs =
      slot.quickEnds <= 1 ? 0 : Math.min(PAUSE_MAX_MS, PAUSE_MIN_MS * 2 ** (slot.quickEnds - 2));
    slot.timer = setTimeout(() => start(slot), pauseMs);
  };

  const end = (slot: Slot, graceMs: number): Promise<void> => {
    if (slot.timer !== null) clearTimeout(slot.timer);
    const { child } = slot;
    if (child === null || child.pid === undefined) return Promise.resolve();
    const over = new Promise<void>((resolve) => {
      const killer = setTimeout(() => child.kill('SIGKILL'), graceMs);
      child.once('exit', () => {
        clearTimeout(killer);
        ending.delete(child);
        resolve();
      });
      if (child.connected) child.send({ type: 'drain' } satisfies WorkerOrders);
    });
    ending.set(child, over);
    return over;
  };

  const hurry = (graceMs: number): void => {
    for (const child of ending.keys()) {
      const killer = setTimeout(() => child.kill('SIGKILL'), graceMs);
      child.once('exit', () => clearTimeout(killer));
    }
  };

  return {
    resize(count) {
      while (slots.length < count) {
        const slot: Slot = {
          number: slots.length,
          child: null,
          node: '',
          startedAtMs: 0,
          quickEnds: 0,
          timer: null,
        };
        slots.push(slot);
        start(slot);
      }
      for (const slot of slots.splice(count)) void end(slot, DRAIN_MS);
    },
    get running() {
      return slots.flatMap(({ node, number, child }) =>
        child === null ? [] : [{ node, name: `w${number}`, channel: child }],
      );
    },
    async drain(graceMs) {
      ended = true;
      hurry(graceMs);
      for (const slot of slots.splice(0)) void end(slot, graceMs);
      await Promise.all(ending.values());
    },
  };
}

const DRAIN_MS = 30_000;

/** Some systems throw when they are out of processes or memory, others tell by the `error` event. */
function launch(environment: Environment): ChildProcess | Error {
  try {
    return fork(childModule('./worker-main', import.meta.url), [], {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      serialization: 'json',
      execArgv: [],
      env: withCompileCache(environment),
    });
  } catch (error) {
    return error instanceof Error ? error : new Error(messageOf(error));
  }
}
