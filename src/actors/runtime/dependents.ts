/** Owns: who waits for one actor, its askers until they are answered and its watchers until it ends. */
import type { ReceivedAsk } from './asks.ts';
import type { Terminated } from './types.ts';

type Watcher = (terminated: Terminated) => void;

export class Dependents {
  /** Asks that wait in the mailbox or have been taken, and have not been answered. */
  readonly asks = new Set<ReceivedAsk>();
  readonly #fail: (asks: readonly ReceivedAsk[]) => void;
  readonly #watchers = new Set<Watcher>();

  constructor(fail: (asks: readonly ReceivedAsk[]) => void) {
    this.#fail = fail;
  }

  failAsks(which: 'waiting' | 'taken' | 'all'): void {
    this.#fail([...this.asks].filter(({ taken }) => which === 'all' || taken === (which === 'taken')));
  }

  /** The same function may watch more than once. */
  watch(notify: Watcher): () => void {
    const watcher: Watcher = (terminated) => notify(terminated);
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  /** Each hears once. */
  tellWatchers(terminated: Terminated): void {
    const watchers = [...this.#watchers];
    this.#watchers.clear();
    for (const notify of watchers) notify(terminated);
  }
}
