/**
 * The workers of a run and which conversation is with whom, from what they say and what they were granted.
 *
 * Owns: the workers that have reported and are not lost, and what each of them has.
 * Invariants: 1. what a worker was granted is its own until a report of it, sent after it knew, leaves it
 * out; 2. whatever leaves a worker's hands is handed out by `Change`, once, so that somebody sees to it.
 * That two workers have one conversation cannot be ruled out here; the journal lets only one of them write (I2).
 */
import type { Rank } from '../../dialogue/schedule.ts';
import type { RunTrouble, WorkerHere, WorkerMessage, WorkerView } from '../messages.ts';
import type { ActorRef } from '../runtime/types.ts';

/** A worker that has not reported for this many ticks has what it has no more, although its node seems alive. */
const SILENT_TICKS = 15;

interface Member {
  readonly ref: ActorRef<WorkerMessage>;
  /** By name of the rank. */
  held: Map<string, Rank>;
  lacks: readonly string[];
  trouble: RunTrouble | null;
  drained: boolean;
  silentTicks: number;
}

export interface Change {
  /** True for a worker that was not known. */
  readonly joined: boolean;
  /** What it met, when it has just become of no use to the run. */
  readonly trouble: RunTrouble | null;
  /** In nobody's hands any more. */
  readonly unheld: readonly Rank[];
}

export interface Crew {
  heard(here: WorkerHere): Change;
  /** Null when it was not known. */
  lost(key: string): { readonly name: string; readonly held: number } | null;
  /** To be called every second. */
  tick(): readonly Rank[];
  /** Those of `ranks` that nobody has, and nobody had at the last sweep. */
  sweep(ranks: readonly Rank[]): readonly Rank[];
  grant(rank: Rank, worker: ActorRef<WorkerMessage>): void;
  isHeld(rank: Rank): boolean;
  isHeldByOther(rank: Rank, worker: ActorRef<WorkerMessage>): boolean;
  /** Whether it is here and takes conversations. */
  isAble(key: string): boolean;
  /** Every worker on these nodes has reported; `nodes` are those believed alive. */
  hasReported(nodes: readonly string[]): boolean;
  readonly refs: readonly ActorRef<WorkerMessage>[];
  /** Workers that can take conversations. */
  readonly ableCount: number;
  /** What the last of them met, when no worker is left that could go on; null while one can, or none has tried. */
  readonly troubleOfAll: RunTrouble | null;
  readonly isDrained: boolean;
  views(): readonly WorkerView[];
}

export const workerKey = ({ node, path, incarnation }: ActorRef<never>): string =>
  `${node}/${path}/${incarnation}`;
export const workerName = ({ node, path }: ActorRef<never>): string => `${node}/${path}`;
export const rankName = ({ index, languageIndex }: Rank): string => `${languageIndex}-${index}`;

const isAble = ({ lacks, trouble }: Member): boolean => lacks.length === 0 && trouble === null;

export function createCrew(): Crew {
  const members = new Map<string, Member>();
  let unheldAtSweep = new Set<string>();

  const isHeld = (rank: Rank): boolean => {
    const name = rankName(rank);
    return [...members.values()].some(({ held }) => held.has(name));
  };
  const unheldOf = (ranks: Iterable<Rank>): Rank[] => [...ranks].filter((rank) => !isHeld(rank));

  const joined = (here: WorkerHere): Member => {
    const { worker: ref, lacks, drained } = here;
    const member: Member = { ref, held: new Map(), lacks, trouble: null, drained, silentTicks: 0 };
    members.set(workerKey(ref), member);
    return member;
  };

  return {
    heard(here) {
      const known = members.get(workerKey(here.worker));
      const member = known ?? joined(here);
      const before = member.held;
      const held = new Map(here.held.map((rank) => [rankName(rank), rank]));
      // Invariant 1: it may have been granted while this report was on its way.
      for (const rank of here.claiming) if (before.has(rankName(rank))) held.set(rankName(rank), rank);
      const { lacks, drained, trouble } = here;
      const met = member.trouble === null ? trouble : null;
      Object.assign(member, { held, lacks, drained, trouble, silentTicks: 0 });
      const gone = [...before].filter(([name]) => !held.has(name)).map(([, rank]) => rank);
      return { joined: known === undefined, trouble: met, unheld: unheldOf(gone) };
    },
    lost(key) {
      const member = members.get(key);
      if (member === undefined) return null;
      members.delete(key);
      const { ref, held } = member;
      return { name: workerName(ref), held: held.size };
    },
    tick() {
      const gone: Rank[] = [];
      for (const member of members.values()) {
        member.silentTicks += 1;
        if (member.silentTicks <= SILENT_TICKS) continue;
        gone.push(...member.held.values());
        member.held = new Map();
      }
      return unheldOf(gone);
    },
    sweep(ranks) {
      const unheld = unheldOf(ranks);
      const again = unheld.filter((rank) => unheldAtSweep.has(rankName(rank)));
      unheldAtSweep = new Set(unheld.map(rankName));
      return again;
    },
    grant(rank, worker) {
      members.get(workerKey(worker))?.held.set(rankName(rank), rank);
    },
    isHeld,
    isHeldByOther(rank, worker) {
      const [name, own] = [rankName(rank), workerKey(worker)];
      return [...members].some(([key, { held }]) => key !== own && held.has(name));
    },
    isAble(key) {
      const member = members.get(key);
      return member !== undefined && isAble(member);
    },
    hasReported(nodes) {
      const reported = new Set([...members.values()].map(({ ref }) => ref.node));
      return nodes.every((node) => reported.has(node));
    },
    get refs() {
      return [...members.values()].map(({ ref }) => ref);
    },
    get ableCount() {
      return [...members.values()].filter(isAble).length;
    },
    get troubleOfAll() {
      const all = [...members.values()];
      return all.some(isAble) ? null : (all.findLast(({ trouble }) => trouble !== null)?.trouble ?? null);
    },
    get isDrained() {
      return [...members.values()].every(({ drained, silentTicks }) => drained || silentTicks > SILENT_TICKS);
    },
    views: () =>
      [...members.values()].map(({ ref, held, lacks, drained }) => ({
        worker: workerName(ref),
        conversations: held.size,
        lacks,
        drained,
      })),
  };
}
