/**
 * Owns the worker threads that read documents. Invariants:
 * 1. A thread has one file at a time; other requests wait in order.
 * 2. Every request is answered: a thread that dies, runs out of memory or out of time on a file
 *    makes that file `unreadable`, and a fresh thread goes on with the next.
 */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { DlgforgeError, messageOf } from '../kernel/errors.ts';
import type { ReadOutcome, ReadReply, ReadRequest } from './document-worker.ts';
import { moduleUrl } from './module-url.ts';

const THREADS_MAX = 4;
const HEAP_MB_MAX = 2_048;
/** A PDF that takes longer than this is taken for one that never ends. */
const FILE_TIMEOUT_MS = 120_000;

interface Job {
  readonly request: ReadRequest;
  readonly resolve: (outcome: ReadOutcome) => void;
  readonly reject: (error: Error) => void;
}

interface Thread {
  readonly worker: Worker;
  job: Job | null;
  timer: NodeJS.Timeout | null;
}

export class DocumentPool {
  readonly size: number;
  #threads: Thread[] = [];
  #waiting: Job[] = [];
  #nextId = 1;
  #closed = false;

  constructor(size = Math.max(1, Math.min(THREADS_MAX, availableParallelism() - 1))) {
    this.size = size;
  }

  read(request: Omit<ReadRequest, 'id'>): Promise<ReadOutcome> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ request: { ...request, id: this.#nextId++ }, resolve, reject });
      this.#pump();
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    const gone = new DlgforgeError('cancelled', 'Reading the documents was stopped.');
    for (const job of this.#waiting.splice(0)) job.reject(gone);
    await Promise.all(this.#threads.splice(0).map((thread) => this.#end(thread, gone)));
  }

  #pump(): void {
    if (this.#closed) return;
    for (let thread = this.#idle(); thread !== null; thread = this.#idle()) {
      const job = this.#waiting.shift();
      if (job === undefined) return;
      this.#give(thread, job);
    }
  }

  #idle(): Thread | null {
    if (this.#waiting.length === 0) return null;
    const free = this.#threads.find((thread) => thread.job === null);
    if (free) return free;
    return this.#threads.length < this.size ? this.#start() : null;
  }

  #start(): Thread {
    const worker = new Worker(moduleUrl('./document-worker', import.meta.url), {
      execArgv: [],
      resourceLimits: { maxOldGenerationSizeMb: HEAP_MB_MAX },
    });
    const thread: Thread = { worker, job: null, timer: null };
    worker.on('message', (reply: ReadReply) => this.#answered(thread, reply));
    worker.on('error', (error) => this.#lost(thread, messageOf(error)));
    worker.on('exit', () => this.#lost(thread, 'the reader thread ended'));
    this.#threads.push(thread);
    return thread;
  }

  #give(thread: Thread, job: Job): void {
    thread.job = job;
    thread.timer = setTimeout(() => {
      this.#lost(thread, `it took longer than ${FILE_TIMEOUT_MS / 1000} s`);
      void thread.worker.terminate();
    }, FILE_TIMEOUT_MS);
    thread.worker.postMessage(job.request);
  }

  #settle(thread: Thread): Job | null {
    if (thread.timer) clearTimeout(thread.timer);
    const job = thread.job;
    thread.timer = null;
    thread.job = null;
    return job;
  }

  #answered(thread: Thread, reply: ReadReply): void {
    this.#settle(thread)?.resolve(reply.outcome);
    this.#pump();
  }

  #lost(thread: Thread, why: string): void {
    this.#threads = this.#threads.filter((other) => other !== thread);
    this.#settle(thread)?.resolve({ type: 'unreadable', hash: null, reason: `reading it failed (${why})` });
    this.#pump();
  }

  async #end(thread: Thread, error: Error): Promise<void> {
    this.#settle(thread)?.reject(error);
    await thread.worker.terminate();
  }
}
