/**
 * Whether this node alone has lost the store. A store that is away for everybody is waited for; a node that
 * nobody else waits with keeps conversations and leaderships that others could go on with.
 *
 * Owns: what this node's card says of the store, and for how long others have said otherwise. Counts looks
 * and not time, so that a process that stood still draws no conclusion from it.
 */
import type { Clock } from '../../kernel/clock.ts';
import type { Membership, NodeCard } from '../../ports/membership.ts';

export interface StoreSightOptions {
  readonly membership: Pick<Membership, 'node' | 'members' | 'announce' | 'isWarm'>;
  readonly clock: Clock;
  /** The store has not answered, and is waited for. */
  readonly isWaiting: () => boolean;
  /** Told once, when others have the store and this node has not. @default only the card says so */
  readonly onCutOff?: () => void;
}

const LOOK_MS = 1_000;
/** Nearly every store is away for a moment now and then. */
const AWAY_LOOKS = 5;
/** When it is away for all, they do not notice at the same moment. */
const ALONE_LOOKS = 5;

/** The returned function ends it. */
export function watchStore({ membership, clock, isWaiting, onCutOff }: StoreSightOptions): () => void {
  const alone = new Alone(membership);
  let awayLooks = 0;
  let says: NodeCard['store'] = 'here';
  let cancel = (): void => undefined;
  membership.announce({ store: says });

  const look = (): void => {
    cancel = clock.schedule(LOOK_MS, look);
    awayLooks = isWaiting() ? awayLooks + 1 : 0;
    const now = awayLooks >= AWAY_LOOKS ? 'away' : 'here';
    if (now !== says) membership.announce({ store: now });
    says = now;
    if (!alone.look() || onCutOff === undefined) return;
    cancel();
    onCutOff();
  };
  cancel = clock.schedule(LOOK_MS, look);
  return () => cancel();
}

/** Counts how often this node's card alone said that the store is away. */
export class Alone {
  readonly #membership: Pick<Membership, 'node' | 'members' | 'isWarm'>;
  #looks = 0;

  constructor(membership: Pick<Membership, 'node' | 'members' | 'isWarm'>) {
    this.#membership = membership;
  }

  /** To be called every second. */
  look(): boolean {
    const { node } = this.#membership;
    const members = this.#membership.members();
    const isAway = hasLostStore(this.#membership, node);
    const isElsewhere = members.some(({ card }) => card.node !== node && card.store === 'here');
    this.#looks = isAway && isElsewhere && this.#membership.isWarm() ? this.#looks + 1 : 0;
    return this.#looks >= ALONE_LOOKS;
  }
}

/** Its own word. */
export const hasLostStore = (membership: Pick<Membership, 'members'>, node: string): boolean =>
  membership.members().some(({ card }) => card.node === node && card.store === 'away');
