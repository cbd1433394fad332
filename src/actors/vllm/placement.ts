/**
 * Where the replicas of a run go. Pure. Whole GPUs of one node for each replica, none twice; spread over the
 * nodes: the one with the fewest replicas of the run first, then the one with the most free GPUs, then by name.
 */
export interface Room {
  readonly node: string;
  readonly freeGpus: number;
  /** Replicas of the run that it has. */
  readonly replicas: number;
}

export interface Place {
  readonly node: string;
  readonly index: number;
}

/** In order of `indexes`; those for which there is no room are left out. */
export function place(
  indexes: readonly number[],
  gpusPerReplica: number,
  rooms: readonly Room[],
): readonly Place[] {
  const left = rooms.map((room) => ({ ...room }));
  const places: Place[] = [];
  for (const index of indexes) {
    const [best] = left
      .filter(({ freeGpus }) => freeGpus >= gpusPerReplica)
      .toSorted((a, b) => a.replicas - b.replicas || b.freeGpus - a.freeGpus || (a.node < b.node ? -1 : 1));
    if (best === undefined) break;
    best.freeGpus -= gpusPerReplica;
    best.replicas += 1;
    places.push({ node: best.node, index });
  }
  return places;
}

/** How many replicas there is room for. */
export const roomFor = (gpusPerReplica: number, freeGpus: readonly number[]): number =>
  gpusPerReplica === 0
    ? freeGpus.length === 0
      ? 0
      : Number.POSITIVE_INFINITY
    : freeGpus.reduce((sum, free) => sum + Math.floor(free / gpusPerReplica), 0);
