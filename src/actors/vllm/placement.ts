/**
 * Where the replicas of a run go. Pure. Where a kept server of it runs first; then whole GPUs of one node for each
 * replica, none twice, spread over the nodes: the one with the fewest replicas of the run first, then the one with
 * the most free GPUs, then by name.
 */
export interface Room {
  readonly node: string;
  readonly freeGpus: number;
  /** Replicas of the run that it has. */
  readonly replicas: number;
  /** Kept servers of it that only have to be taken up. */
  readonly kept: number;
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
      .filter(({ freeGpus, kept }) => kept > 0 || freeGpus >= gpusPerReplica)
      .toSorted(
        (a, b) =>
          Math.min(b.kept, 1) - Math.min(a.kept, 1) ||
          a.replicas - b.replicas ||
          b.freeGpus - a.freeGpus ||
          (a.node < b.node ? -1 : 1),
      );
    if (best === undefined) break;
    if (best.kept > 0) best.kept -= 1;
    else best.freeGpus -= gpusPerReplica;
    best.replicas += 1;
    places.push({ node: best.node, index });
  }
  return places;
}

/** How many more replicas there is room for. */
export function roomFor(gpusPerReplica: number, rooms: readonly Room[]): number {
  if (gpusPerReplica === 0) return rooms.length === 0 ? 0 : Number.POSITIVE_INFINITY;
  return rooms.reduce((sum, { freeGpus, kept }) => sum + kept + Math.floor(freeGpus / gpusPerReplica), 0);
}
