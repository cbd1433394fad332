/**
 * Who is in the cluster now, as this node sees it. A guess by nature: what must hold is held by epochs
 * in the database, never by who is believed to be alive.
 */
export type NodeKind =
  /** A node's agent: may lead runs and the router, starts workers, owns the machine's GPUs. */
  | 'agent'
  /** Runs conversations. */
  | 'worker'
  /** A `dlgforge run` that is attached: may lead, starts workers for its run. */
  | 'run'
  /** A command that looks or asks, and leads nothing. */
  | 'client';

/** What a node says of itself in each heartbeat. Small: it goes to everybody, all the time. */
export interface NodeCard {
  /** Its name on the transport, new in every process. */
  readonly node: string;
  readonly kind: NodeKind;
  /** The agent, or the run, that started this worker; null for others. */
  readonly parent: string | null;
  readonly host: string;
  readonly pid: number;
  readonly startedAtMs: number;
  readonly protocol: number;
  readonly build: string;
  readonly labels: Readonly<Record<string, string>>;
  /** The singletons it runs, with the epoch of the lease. */
  readonly leads: readonly { readonly name: string; readonly epoch: number }[];
  /** Whether it has the store, when it uses it. `away`: it has waited for it for some seconds. */
  readonly store?: 'here' | 'away';
  /** What `cluster status` shows; plain JSON of at most a few hundred bytes. */
  readonly status: Readonly<Record<string, unknown>>;
}

export interface Member {
  readonly card: NodeCard;
  /** This node's clock. */
  readonly lastHeardMs: number;
}

/** How a node went that was a member. */
export interface Departure {
  /** It said so, or its parent saw its process end: nothing of it is left. Else it may work on, unheard. */
  readonly hasEnded: boolean;
  /** This node's clock. */
  readonly lastHeardMs: number;
}

export interface Leader {
  readonly node: string;
  readonly epoch: number;
}

export type MembershipChange =
  | { readonly type: 'joined'; readonly member: Member }
  /** `left`: it said so. `lost`: it is dead, frozen or cut off. */
  | { readonly type: 'left' | 'lost'; readonly member: Member }
  /** It had taken this node for lost and hears it again: what it had of this node, it has given up. */
  | { readonly type: 'mistaken'; readonly member: Member }
  /** Its card has other `leads` than before. */
  | { readonly type: 'leads'; readonly member: Member };

export interface Membership {
  readonly node: string;
  /** Others in the cluster and this node itself, those believed alive. */
  members(): readonly Member[];
  isAlive(node: string): boolean;
  /** Null for a member, and for a node that is not remembered. */
  departed(node: string): Departure | null;
  /** Who runs the singleton `name`, by the highest epoch heard of from a living node; null when nobody does. */
  leaderOf(name: string): Leader | null;
  onChange(listener: (change: MembershipChange) => void): () => void;
  /** Changes what the heartbeats say, and sends one now. */
  announce(change: Partial<Pick<NodeCard, 'leads' | 'status' | 'labels' | 'store'>>): void;
  /** Tells everybody that a node is dead, by one who knows: its parent saw its process end. */
  declareLost(node: string): void;
  /**
   * This node heard itself through the network a moment ago, so nobody counts it as lost. False: it may be
   * cut off or have been frozen, and others may have replaced it; it starts nothing that they could start too.
   */
  inContact(): boolean;
  /**
   * How often contact has begun. Whoever had something before the last beginning asks whether it has it still
   * before it pays for anything: others may have taken this node for dead meanwhile.
   */
  contacts(): number;
  /** In contact for long enough to know who else is there: before that nobody is taken for dead. */
  isWarm(): boolean;
}
