/** Nodes that contend for one singleton: what they lead, and what the store takes of it. */
import {
  type Contender,
  contend,
  type ContendOptions,
  type Leadership,
} from '../../../../src/actors/cluster/singletons.ts';
import { delay } from '../../../../src/kernel/clock.ts';
import { isDlgforgeError } from '../../../../src/kernel/errors.ts';
import { datasetId, runId } from '../../../../src/kernel/ids.ts';
import { silentLogger } from '../../../../src/kernel/logger.ts';
import { CLUSTER_HOST, type LeaseGrant, type Store } from '../../../../src/ports/store.ts';
import { MemoryStore } from '../../../../src/store/memory-store.ts';
import type { BenchNode, ClusterBench } from '../../../support/cluster-bench.ts';

export const NAME = 'run/R';
const RUN = runId('R');
const WRITE_MS = 250;

export interface Led {
  readonly node: string;
  readonly lease: LeaseGrant;
  readonly end: (how: 'done' | 'lost' | Error) => void;
  stopped: boolean;
}

export class Contest {
  readonly store: Store;
  readonly contenders = new Map<string, Contender>();
  /** Every leadership that has begun, in order. */
  readonly led: Led[] = [];
  /** Epochs of the writes that the store took, in order. */
  readonly accepted: number[] = [];
  refused = 0;
  isWriting = true;
  acquired = 0;
  /** Awaited by every start, with what has begun so far; may throw. */
  onStart: (lease: LeaseGrant) => Promise<void> = async () => undefined;

  constructor(bench: ClusterBench) {
    this.store = new MemoryStore(bench.clock);
  }

  async prepare(): Promise<void> {
    await this.store.openDataset(datasetId('D'), '/nowhere');
    await this.store.createRun({ id: RUN, datasetId: datasetId('D'), config: {}, fingerprint: {}, plan: {} });
  }

  enter(node: BenchNode, options: Partial<ContendOptions> = {}): Contender {
    const contender = contend({
      name: NAME,
      membership: node.membership,
      store: {
        acquireLease: (...given) => {
          this.acquired += 1;
          return this.store.acquireLease(...given);
        },
        renewLease: (lease) => this.store.renewLease(lease),
        releaseLease: (lease) => this.store.releaseLease(lease),
      },
      holder: { host: CLUSTER_HOST, pid: 1, processKey: node.name, command: 'test', sinceMs: 0 },
      clock: node.clock,
      logger: silentLogger,
      start: (lease) => this.#start(node, lease),
      ...options,
    });
    this.contenders.set(node.name, contender);
    return contender;
  }

  /** Nodes that believe that they lead. */
  get leaders(): readonly string[] {
    return [...this.contenders].filter(([, { leads }]) => leads !== null).map(([name]) => name);
  }

  get current(): Led | undefined {
    return this.led.findLast(({ stopped }) => !stopped);
  }

  async stop(): Promise<void> {
    await Promise.all([...this.contenders.values()].map((contender) => contender.stop()));
  }

  async #start(node: BenchNode, lease: LeaseGrant): Promise<Leadership> {
    await this.onStart(lease);
    const ended = Promise.withResolvers<'done' | 'lost' | Error>();
    const led: Led = { node: node.name, lease, end: ended.resolve, stopped: false };
    this.led.push(led);
    const over = new AbortController();
    const writing = this.#write(node, lease, over.signal, () => ended.resolve('lost'));
    return {
      ended: ended.promise,
      stop: async () => {
        over.abort();
        await writing;
        led.stopped = true;
      },
    };
  }

  /** The effects of a leader: a write now and then, which the store fences. */
  async #write(node: BenchNode, lease: LeaseGrant, over: AbortSignal, lost: () => void): Promise<void> {
    while (!over.aborted) {
      try {
        if (this.isWriting) {
          await this.store.setRunStatus(RUN, lease, 'running', null);
          this.accepted.push(lease.epoch);
        }
      } catch (error) {
        if (!isDlgforgeError(error, 'stale_epoch')) throw error;
        this.refused += 1;
        return lost();
      }
      await delay(node.clock, WRITE_MS, over);
    }
  }
}
