/**
 * The truth of every run: one SQL schema, two servers (embedded, or the user's own).
 * Every promise here is held by the database, not by memory of a process.
 */
import type { Role } from '../dialogue/chat.ts';
import type { LedgerEntry } from '../dialogue/payload.ts';
import type { DatasetId, Epoch, PersistenceId, RunId } from '../kernel/ids.ts';
import type { CallTotals } from './call-totals.ts';
import type { LeaseGrant } from './lease-grant.ts';
import type { CapabilityMemory } from './model.ts';
import type { Verdicts } from './verdicts.ts';

export type { CallTotals, LeaseGrant, LedgerEntry };

/**
 * Every persistence id of a run starts with this; so its paid answers can be summed, and no run's ids
 * are a prefix of another's.
 */
export const runPrefix = (id: RunId): string => `run/${encodeURIComponent(id)}/`;

/**
 * An event as it is stored; `event` is JSON with a `type`. One that carries a paid answer has it under
 * `answer` (a `ModelAnswer`) and says what it was for under `role` or `purpose`; the store keeps its usage
 * beside it, for `callTotals`.
 */
export interface StoredEvent {
  /** From 1, without gaps, per persistence id. */
  readonly seq: number;
  readonly event: unknown;
  /** Milliseconds since the epoch, the store's clock. */
  readonly atMs: number;
  /** The hold that it was written under; never falls as `seq` rises (I2). */
  readonly epoch: Epoch;
}

export interface Recovered {
  /** The new epoch; every older one can no longer append (I2). */
  readonly epoch: Epoch;
  readonly snapshot: { readonly seq: number; readonly state: unknown } | null;
  /** Events after the snapshot, in order. */
  readonly events: readonly StoredEvent[];
  readonly lastSeq: number;
}

export interface Journal {
  /**
   * Takes the hold of a persistence id: raises its epoch and reads it, in one transaction. With `ifEpoch` only
   * from the hold with that epoch: whoever comes back to a journal does not take it from somebody else.
   * @throws DlgforgeError `stale_epoch` when it has another one.
   */
  recover(id: PersistenceId, from?: { readonly ifEpoch: Epoch }): Promise<Recovered>;
  /**
   * Durable when it resolves (I1). Events get seq `afterSeq + 1 …`. Appends of many actors that are
   * asked for together travel as one statement; each succeeds or fails alone. No events: asks whether the
   * hold is still this one.
   * @throws DlgforgeError `stale_epoch` when the hold has moved on or a seq is taken.
   */
  append(id: PersistenceId, epoch: Epoch, afterSeq: number, events: readonly unknown[]): Promise<void>;
  /** Replaces the snapshot when its seq is newer. A stale epoch is refused like an append. */
  saveSnapshot(id: PersistenceId, epoch: Epoch, seq: number, state: unknown): Promise<void>;
  /** All events, or those after `afterSeq`; does not take the hold. */
  read(id: PersistenceId, afterSeq?: number): Promise<readonly StoredEvent[]>;
  /** The events at these positions, in the order asked for; does not take the hold. Missing ones are left out. */
  pick(id: PersistenceId, seqs: readonly number[]): Promise<readonly StoredEvent[]>;
  /** Reads without taking the hold. */
  peek(id: PersistenceId): Promise<Omit<Recovered, 'epoch'>>;
  /** Persistence ids that start with `prefix`, in order, with their last seq. */
  list(prefix: string): Promise<readonly { readonly id: PersistenceId; readonly lastSeq: number }[]>;
}

export interface Dataset {
  readonly id: DatasetId;
  /** Absolute path where it was last seen; a hint, the marker file is what counts. */
  readonly outputDir: string;
  /** Number of runs created in it so far. */
  readonly runCount: number;
  /** True once an old ledger has been taken in. */
  readonly adopted: boolean;
}

export type RunStatus = 'running' | 'paused' | 'interrupted' | 'failed' | 'completed' | 'cancelled';

/** What a person has asked of a run; whoever leads it sees to it. */
export type RunWanted = 'run' | 'pause' | 'cancel';

/** A run that a cluster works on, or would if it were not paused. */
export interface ActiveRun {
  readonly id: RunId;
  readonly datasetId: DatasetId;
  readonly status: 'running' | 'paused';
  readonly wanted: RunWanted;
}

/**
 * A change to the endpoints of a run, over those of its configuration. Says where to ask and who holds the key,
 * never the key (I8).
 */
export interface RunEndpoint {
  /** Unique in the run; the name of a configured endpoint replaces that one. */
  readonly name: string;
  /** http or https, without user information. */
  readonly baseUrl: string;
  /** Null: the role's own. */
  readonly model: string | null;
  /** The environment variable that holds the key, on each node that uses it. */
  readonly keyVariable: string | null;
  /** Relative share of traffic; > 0. */
  readonly weight: number;
  readonly maxInFlight: number;
  /** Empty: all roles of the run. */
  readonly roles: readonly Role[];
  /** Null: the role's own. */
  readonly timeoutMs: number | null;
  /**
   * `configured`: how the endpoint is reached stays as it is configured, only `wanted` counts; `added` by a
   * person; `managed`: a server that a node of the run has started.
   */
  readonly source: 'configured' | 'added' | 'managed';
  /** `drain`: what is in flight is finished, and nothing more is sent, until it is to be used again. */
  readonly wanted: 'use' | 'drain' | 'remove';
}

/** All of them, as they were at this version. */
export interface RunEndpoints {
  readonly version: number;
  readonly endpoints: readonly RunEndpoint[];
}

/** Endpoints that a run may have in the store, the removed ones among them (I9). */
export const RUN_ENDPOINTS_MAX = 1_000;

export interface RunRecord {
  readonly id: RunId;
  readonly datasetId: DatasetId;
  /** Position among the runs of its dataset, from 0. */
  readonly ordinal: number;
  readonly status: RunStatus;
  /** Effective configuration without secrets, as at creation. */
  readonly config: unknown;
  /** Settings that change accepted rows, by name, as text; compared at resume. */
  readonly fingerprint: Readonly<Record<string, string>>;
  /** Everything the plan needs that is not in the configuration: ledger state at the start, documents, … */
  readonly plan: unknown;
  readonly error: string | null;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
}

export interface RunCounts {
  readonly languageIndex: number;
  readonly committed: number;
  readonly dropped: number;
  /** Drops after the last commit. */
  readonly consecutiveDrops: number;
  /** Smallest index that is neither committed nor dropped; commits are in index order. */
  readonly nextIndex: number;
  readonly turns: number;
  readonly dropReasons: Readonly<Record<string, number>>;
}

export interface CommitKey {
  readonly runId: RunId;
  readonly languageIndex: number;
  readonly index: number;
}

export interface CommitRequest extends CommitKey {
  readonly datasetId: DatasetId;
  readonly lease: LeaseGrant;
  readonly language: string;
  readonly conversationId: string;
  readonly turns: number;
  readonly outcome:
    | {
        readonly type: 'committed';
        readonly payload: unknown;
        /** Normalised-question keys, hex; distinct. */
        readonly questionKeys: readonly string[];
        readonly ledger: readonly LedgerEntry[];
      }
    | { readonly type: 'dropped'; readonly reason: string; readonly payload: unknown };
}

export type CommitResult =
  | { readonly type: 'committed'; readonly commitSeq: number }
  /** Nothing was written: these keys are already in the dataset (I4). */
  | { readonly type: 'duplicate'; readonly keys: readonly string[] };

export interface CommittedConversation extends CommitKey {
  /** From 1, without gaps, per dataset; the order of the files. Dropped conversations have one too. */
  readonly commitSeq: number;
  readonly language: string;
  readonly conversationId: string;
  readonly committedAtMs: number;
  /**
   * Of the lease that it was committed under; 0 for what an earlier version committed. Under leases of one
   * name it never falls as `commitSeq` rises (I2).
   */
  readonly epoch: Epoch;
  readonly status: 'committed' | 'dropped';
  readonly reason: string | null;
  readonly payload: unknown;
  readonly ledger: readonly LedgerEntry[];
}

/** What the dataset remembers when a run starts; everything the plan depends on (I5). */
export interface DatasetMemory {
  /** How often each passage grounded a question. `language` is null for lines of 0.1.0, which name none. */
  readonly passageUses: readonly {
    readonly language: string | null;
    readonly passageId: string;
    readonly source: string;
    readonly uses: number;
  }[];
  readonly seedUses: readonly { readonly seedQuestionHash: string; readonly uses: number }[];
  /** The latest questions, oldest first. */
  readonly recentQuestions: readonly string[];
}

/** A question taken over from outside (0.1.0 ledger lines, imported states). */
export interface AdoptedEntry extends LedgerEntry {
  /** Null for a question that counts as asked only once the conversation it belongs to is committed. */
  readonly key: string | null;
  /** The line as it stood, so that the file can be rebuilt with it; null when it stood in no file. */
  readonly line: string | null;
}

/** The host of holders that are nodes of a cluster: its members know better than the clock whether they live. */
export const CLUSTER_HOST = 'cluster';

export interface HolderInfo {
  /** A machine's name, or `CLUSTER_HOST`. */
  readonly host: string;
  readonly pid: number;
  /** Distinguishes processes that get the same pid, also after a reboot. */
  readonly processKey: string;
  readonly command: string;
  readonly sinceMs: number;
}

export type LeaseResult =
  | { readonly type: 'granted'; readonly lease: LeaseGrant; readonly previous: HolderInfo | null }
  | { readonly type: 'held'; readonly holder: HolderInfo };

export interface Store {
  readonly journal: Journal;
  readonly capabilities: CapabilityMemory;
  readonly verdicts: Verdicts;
  /** For people: where this is, without secrets. */
  readonly description: string;

  /** The dataset with this id, made when it is new; remembers `outputDir`. */
  openDataset(id: DatasetId, outputDir: string): Promise<Dataset>;
  /** The dataset last seen at this folder, for folders whose marker was deleted. */
  findDataset(outputDir: string): Promise<Dataset | null>;
  /** Takes over old questions, once; later calls for an adopted dataset change nothing. */
  adopt(id: DatasetId, entries: readonly AdoptedEntry[]): Promise<void>;
  adoptedLines(id: DatasetId): AsyncIterable<string>;
  memory(id: DatasetId, recentCount: number): Promise<DatasetMemory>;

  /** @throws DlgforgeError `resume` when the id is taken. */
  createRun(
    run: Omit<RunRecord, 'ordinal' | 'status' | 'error' | 'createdAtMs' | 'updatedAtMs'>,
  ): Promise<RunRecord>;
  getRun(id: RunId): Promise<RunRecord | null>;
  /** Newest first. */
  listRuns(): Promise<readonly RunRecord[]>;
  setRunStatus(id: RunId, lease: LeaseGrant, status: RunStatus, error: string | null): Promise<void>;
  /** For `--allow-config-change`. */
  replaceRunSettings(
    id: RunId,
    lease: LeaseGrant,
    config: unknown,
    fingerprint: Readonly<Record<string, string>>,
  ): Promise<void>;
  /** What any node needs to lead or work on this run, JSON; to have one is what makes it a cluster's run. */
  saveRunSpec(id: RunId, lease: LeaseGrant, spec: unknown): Promise<void>;
  /** Null for a run of one process, and for one that is not there. */
  runSpec(id: RunId): Promise<unknown>;
  /** What a person wants; needs no lease. @throws DlgforgeError `resume` when there is no such run. */
  setRunWanted(id: RunId, wanted: RunWanted): Promise<void>;
  /** @throws DlgforgeError `resume` when there is no such run. */
  runWanted(id: RunId): Promise<RunWanted>;
  /** Runs with a spec that are running or paused, in order of id; every node asks each second. */
  activeRuns(): Promise<readonly ActiveRun[]>;
  /**
   * Adds or replaces the one of this name; needs no lease, and changes nothing when it is there as it is.
   * @throws DlgforgeError `resume` when there is no such run, `overloaded` beyond `RUN_ENDPOINTS_MAX`.
   */
  setRunEndpoint(id: RunId, endpoint: RunEndpoint): Promise<void>;
  /** In order of name. */
  runEndpoints(id: RunId): Promise<RunEndpoints>;
  /** Rises with every change of `runEndpoints`; 0 when there was none, or no such run. Every process asks twice a second. */
  runEndpointsVersion(id: RunId): Promise<number>;
  runCounts(id: RunId): Promise<readonly RunCounts[]>;
  callTotals(id: RunId): Promise<readonly CallTotals[]>;

  /** Which of these keys the dataset holds. */
  knownQuestions(id: DatasetId, keys: readonly string[]): Promise<ReadonlySet<string>>;
  /**
   * All of it or nothing, in one transaction that also checks the lease's epoch (I2, I3, I4).
   * Asking again for the same commit key changes nothing and gives the same answer.
   * @throws DlgforgeError `stale_epoch` when the lease has moved on.
   */
  commit(request: CommitRequest): Promise<CommitResult>;
  /** Conversations with commitSeq > `after`, in order; read in pages, never all in memory (I9). */
  committed(
    id: DatasetId,
    after: number,
    filter?: { readonly runId?: RunId },
  ): AsyncIterable<CommittedConversation>;
  /**
   * The conversations with this id, dropped ones too, latest commit first: ids are unique in a dataset, not over
   * datasets. For people who look, not for runs: reads through the ids of every dataset.
   */
  findConversations(
    conversationId: string,
  ): Promise<readonly (CommittedConversation & { readonly datasetId: DatasetId })[]>;

  /**
   * A named hold; its epoch rises with every grant, also after a release. `isAlive` decides about a holder
   * on the asker's host or in the cluster, and hears how long ago it renewed; any other counts as dead when it has not renewed for `ttlMs`.
   */
  acquireLease(
    name: string,
    holder: HolderInfo,
    ttlMs: number,
    isAlive: (holder: HolderInfo, silentMs: number) => boolean,
  ): Promise<LeaseResult>;
  /** @throws DlgforgeError `stale_epoch` when somebody else has it. */
  renewLease(lease: LeaseGrant): Promise<void>;
  releaseLease(lease: LeaseGrant): Promise<void>;
  /** Who would refuse `asker` this lease now; null when it is free, or its holder counts as dead. Takes nothing. */
  leaseHolder(
    name: string,
    asker: HolderInfo,
    ttlMs: number,
    isAlive: (holder: HolderInfo, silentMs: number) => boolean,
  ): Promise<HolderInfo | null>;

  close(): Promise<void>;
}
