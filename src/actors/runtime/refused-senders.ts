/** Owns: how much of what each node sent was refused at the door. Bounded, and one log line per node. */
import type { Logger } from '../../kernel/logger.ts';

/** Nodes that are counted apart; the rest is counted together. */
const SENDERS_MAX = 1_000;
const OTHERS = 'others';

export class RefusedSenders {
  readonly #logger: Logger;
  readonly #bySender = new Map<string, number>();
  #count = 0;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  get count(): number {
    return this.#count;
  }

  get bySender(): ReadonlyMap<string, number> {
    return this.#bySender;
  }

  /** `node` is who it says that it is from; null when it does not say. */
  add(node: string | null, what: string, why: string): void {
    this.#count += 1;
    const sender = this.#nameOf(node ?? 'unknown');
    const before = this.#bySender.get(sender) ?? 0;
    this.#bySender.set(sender, before + 1);
    if (before > 0) return;
    const text = `[remote] refused ${what} of node ${sender}: ${why}; more of this node's are only counted`;
    this.#logger.log('warn', 'actors', text);
  }

  #nameOf(node: string): string {
    return this.#bySender.has(node) || this.#bySender.size < SENDERS_MAX ? node : OTHERS;
  }
}
