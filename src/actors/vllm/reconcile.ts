/**
 * What is to be done about the replicas of a run, and what to say of them, from what every host reports. Pure,
 * and without memory: whoever leads the run next comes to the same.
 */
import type { RunId } from '../../kernel/ids.ts';
import type { RunEndpoint } from '../../ports/store.ts';
import type { HostReport, ReplicaReport } from './host-messages.ts';
import { endpointName } from './endpoint-name.ts';
import { type Place, place, type Room } from './placement.ts';

export interface WantedReplicas {
  readonly runId: RunId;
  readonly count: number;
  /** Whole GPUs of one node; 0: none. */
  readonly gpusPerReplica: number;
  /** Of its servers: a kept one of the same is taken up. */
  readonly orderHash: string;
}

/** One replica as the run sees it. */
export interface Standing {
  readonly index: number;
  readonly node: string | null;
  /** `missing`: no node has it. `unable`: no node that has room can run it. */
  readonly state: ReplicaReport['state'] | 'missing';
  readonly text: string;
  /** Where it serves; null while it does not. */
  readonly endpoint: Pick<RunEndpoint, 'baseUrl' | 'keyVariable'> | null;
}

export interface Reconciled {
  readonly start: readonly Place[];
  readonly stop: readonly Place[];
  /** In order of index. */
  readonly standings: readonly Standing[];
}

interface Found extends ReplicaReport {
  readonly node: string;
}

/**
 * `silent`: nodes that may have replicas and have not said so. Until they have, or are lost, nothing is
 * started, because it might be there already.
 */
export function reconcile(
  wanted: WantedReplicas,
  reports: readonly HostReport[],
  silent: readonly string[],
): Reconciled {
  const { runId, count, gpusPerReplica } = wanted;
  const found: Found[] = reports.flatMap(({ node, replicas }) =>
    replicas.filter((replica) => replica.runId === runId).map((replica) => ({ ...replica, node })),
  );
  const best = new Map<number, Found>();
  const stop: Place[] = [];
  for (const replica of found) {
    const { index, node, state } = replica;
    if (index >= count) stop.push({ node, index });
    // The mark that a node cannot run it stays, so that it is not asked again.
    else if (state !== 'unable') {
      const other = best.get(index);
      if (other === undefined) best.set(index, replica);
      else {
        const [kept, given] = isBetter(replica, other) ? [replica, other] : [other, replica];
        best.set(index, kept);
        stop.push({ node: given.node, index });
      }
    }
  }
  const indexes = Array.from({ length: count }, (_, index) => index);
  const missing = indexes.filter((index) => !best.has(index));
  const unableNodes = new Set(found.filter(({ state }) => state === 'unable').map(({ node }) => node));
  const rooms = reports
    .filter(({ node, isLeaving }) => !isLeaving && !unableNodes.has(node))
    .map((report) => roomOf(wanted, report));
  const start = silent.length > 0 ? [] : place(missing, gpusPerReplica, rooms);
  const starting = new Map(start.map(({ index, node }) => [index, node]));
  const whyUnable = found
    .filter(({ state }) => state === 'unable')
    .map(({ node, text }) => `${node}: ${text}`);
  return {
    start,
    stop,
    standings: indexes.map((index) => {
      const replica = best.get(index);
      if (replica !== undefined) return standingOf(replica);
      const node = starting.get(index) ?? null;
      if (node !== null) return { index, node, state: 'starting', text: 'starting', endpoint: null };
      if (silent.length > 0) {
        const text = `waiting for an answer of ${silent.join(', ')}`;
        return { index, node: null, state: 'missing', text, endpoint: null };
      }
      const isUnable = whyUnable.length > 0 && rooms.length === 0;
      const text = [isUnable ? 'no node can run it' : noRoom(gpusPerReplica), ...new Set(whyUnable)];
      return {
        index,
        node: null,
        state: isUnable ? 'unable' : 'missing',
        text: text.join('\n'),
        endpoint: null,
      };
    }),
  };
}

export const roomOf = ({ runId, orderHash }: WantedReplicas, report: HostReport): Room => ({
  node: report.node,
  freeGpus: report.gpus.filter(({ usedBy }) => usedBy === null).length,
  replicas: report.replicas.filter((replica) => replica.runId === runId).length,
  kept: report.kept.filter((server) => server.orderHash === orderHash).length,
});

const noRoom = (gpus: number): string =>
  gpus === 0 ? 'there is no node' : `no node has ${gpus === 1 ? 'a free GPU' : `${gpus} free GPUs`}`;

const standingOf = ({ index, node, state, text, baseUrl, keyVariable }: Found): Standing => ({
  index,
  node,
  state,
  text,
  endpoint: state === 'serving' && baseUrl !== null ? { baseUrl, keyVariable } : null,
});

const ORDER: readonly ReplicaReport['state'][] = ['serving', 'starting', 'restarting', 'given_up', 'unable'];

/** Two nodes have the same replica: one of them was out of sight for a while. */
const isBetter = (a: Found, b: Found): boolean =>
  ORDER.indexOf(a.state) - ORDER.indexOf(b.state) < 0 || (a.state === b.state && a.node < b.node);

export type EndpointShape = Pick<RunEndpoint, 'model' | 'maxInFlight' | 'roles'>;

/** The rows that are not yet as they have to be. */
export function endpointChanges(
  standings: readonly Standing[],
  shape: EndpointShape,
  stored: readonly RunEndpoint[],
): readonly RunEndpoint[] {
  const managed = new Map(stored.filter(({ source }) => source === 'managed').map((row) => [row.name, row]));
  const changed: RunEndpoint[] = [];
  for (const { index, state, endpoint } of standings) {
    const name = endpointName(index);
    const before = managed.get(name);
    managed.delete(name);
    if (endpoint !== null) {
      const row: RunEndpoint = {
        ...shape,
        ...endpoint,
        name,
        weight: 1,
        timeoutMs: null,
        source: 'managed',
        wanted: 'use',
      };
      if (before === undefined || !isSame(before, row)) changed.push(row);
    } else if (before !== undefined) {
      const wanted = state === 'given_up' || state === 'unable' ? 'remove' : 'drain';
      if (before.wanted !== wanted) changed.push({ ...before, wanted });
    }
  }
  for (const row of managed.values()) if (row.wanted !== 'remove') changed.push({ ...row, wanted: 'remove' });
  return changed;
}

const isSame = (a: RunEndpoint, b: RunEndpoint): boolean =>
  a.baseUrl === b.baseUrl &&
  a.wanted === b.wanted &&
  a.model === b.model &&
  a.keyVariable === b.keyVariable &&
  a.weight === b.weight &&
  a.maxInFlight === b.maxInFlight &&
  a.timeoutMs === b.timeoutMs &&
  [...a.roles].sort().join() === [...b.roles].sort().join();

/** The only host of a run in one process: a person need not be told where a replica is. */
export const THIS_PROCESS = 'local';

/** What a person is told while none serves yet, or one is not well: one line each. */
export const standingLines = (standings: readonly Standing[]): readonly string[] =>
  standings.map(({ index, node, state, text }) => {
    const where = node === null || node === THIS_PROCESS ? '' : ` on ${node}`;
    return `replica ${index}${where}: ${state === 'serving' ? state : text}`;
  });
