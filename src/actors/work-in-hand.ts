/** What a worker has in hand, delivery by delivery, and how far it is with each. */
import type { Rank } from '../dialogue/schedule.ts';
import type { Delivery } from '../ports/work-queue.ts';
import type { ConversationMessage, HandOver, RunNotice, RunTrouble } from './messages.ts';
import type { ActorRef } from './runtime/types.ts';

export type Stage =
  /** To be asked for, as soon as the run is going on. */
  | { readonly type: 'waiting' }
  | { readonly type: 'claiming' }
  | {
      readonly type: 'running';
      readonly actor: ActorRef<ConversationMessage>;
      /** Whether it has been told that it may call models. */
      mayCall: boolean;
      /** How often it has been told otherwise: the answer to an earlier time is none to this one. */
      drainOrder: number;
      /** It may not, and none of its calls is in flight. */
      isDrained: boolean;
      /** It is being ended before it is settled. */
      isLeaving: boolean;
    }
  /** Given up; until its drop is committed it is handed over again and again. */
  | { readonly type: 'crashed'; readonly handOver: HandOver };

export interface InHand {
  readonly name: string;
  readonly rank: Rank;
  delivery: Delivery;
  stage: Stage;
}

export class WorkInHand {
  readonly #entries = new Map<string, InHand>();

  get(name: string): InHand | undefined {
    return this.#entries.get(name);
  }

  all(): InHand[] {
    return [...this.#entries.values()];
  }

  /** Returns its name; null when it was there already, and this is the delivery that counts from now on. */
  take(delivery: Delivery): string | null {
    const { languageIndex, index } = delivery.item;
    const name = `${languageIndex}-${index}`;
    const known = this.#entries.get(name);
    if (known === undefined) {
      const rank = { index, languageIndex };
      this.#entries.set(name, { name, rank, delivery, stage: { type: 'waiting' } });
      return name;
    }
    known.delivery.forget();
    known.delivery = delivery;
    return null;
  }

  remove(name: string): void {
    this.#entries.delete(name);
  }

  ranks(...stages: readonly Stage['type'][]): Rank[] {
    return this.all()
      .filter(({ stage }) => stages.includes(stage.type))
      .map(({ rank }) => rank);
  }

  get isEmpty(): boolean {
    return this.#entries.size === 0;
  }

  /** No call of a conversation is in flight, and none will be. */
  get isDrained(): boolean {
    return this.all().every(({ stage }) => stage.type !== 'running' || stage.isDrained);
  }
}

/** What a restart of a worker must not forget. */
export interface Held {
  notice: RunNotice | null;
  isHandingBack: boolean;
  /** Why it can do nothing for the run: what it has goes to others. */
  trouble: RunTrouble | null;
  /** For how long it has had it. */
  troubleTicks: number;
}
