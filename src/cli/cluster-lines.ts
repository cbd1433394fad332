/** A cluster for people: tables of nodes, runs and endpoints, and the tree of actors. */
import type { ClusterStatus, NodeStatus, NodeTree } from '../bootstrap/cluster/status.ts';
import { replicaLines } from '../bootstrap/vllm/shown-replicas.ts';
import { count, decimal, duration, table } from './format.ts';

export function statusLines(status: ClusterStatus): string[] {
  const { nodes, runs, endpoints, queued, problems } = status;
  return [
    `Cluster ${status.namespace}: ${count(nodes.length)} ${nodes.length === 1 ? 'node' : 'nodes'}, ${count(runs.length)} ${runs.length === 1 ? 'run' : 'runs'}, ${queued === null ? 'queue unknown' : `${count(queued)} conversations queued`}`,
    ...nodeLines(nodes).map(indented),
    ...(runs.length === 0 ? [] : ['Runs', ...runLines(runs).map(indented)]),
    ...(endpoints.length === 0
      ? []
      : [
          'Endpoints',
          ...table(
            ['endpoint', 'in flight', 'limit', 'waiting', 'state'],
            endpoints.map((row) => [
              row.endpoint,
              row.inFlight,
              row.maxInFlight,
              row.waiting ?? 0,
              row.state,
            ]),
          ).map(indented),
        ]),
    ...problems.map((problem) => `Could not be told: ${problem}`),
  ];
}

/** Of the node and its workers. */
function actorsOf({ status, workers }: NodeStatus): number {
  return [status, ...workers.map((worker) => worker.status)].reduce(
    (sum, { actors }) => sum + (typeof actors === 'number' ? actors : 0),
    0,
  );
}

export function nodeLines(nodes: readonly NodeStatus[]): string[] {
  if (nodes.length === 0) return ['no nodes'];
  const number = (value: unknown): string => (typeof value === 'number' ? decimal(value) : '-');
  return [
    ...table(
      ['node', 'kind', 'version', 'heartbeat', 'up', 'workers', 'actors', 'GPUs', 'load', 'leads'],
      nodes.map((node) => [
        node.node,
        node.kind + (node.status['draining'] === true ? ' (draining)' : ''),
        node.build,
        `${decimal(node.heartbeatAgeMs / 1000)} s`,
        duration(Date.now() - Date.parse(node.startedAt)),
        `${node.workers.length}`,
        actorsOf(node),
        gpusOf(node),
        number(node.status['load']),
        node.leads.join(', '),
      ]),
    ),
    ...nodes.flatMap((node) => [
      ...lackLines(node),
      ...endpointLines(node),
      ...replicaLines(node.node, node.status),
    ]),
  ];
}

/** Those that model servers have, of those that it offers. */
function gpusOf({ status: { gpus, gpusUsed } }: NodeStatus): string {
  if (typeof gpus !== 'number') return '-';
  return typeof gpusUsed === 'number' && gpusUsed > 0 ? `${gpusUsed} of ${gpus}` : String(gpus);
}

/** A worker without a key takes no conversations, and a person should know which key. */
function lackLines({ workers }: NodeStatus): string[] {
  return workers.flatMap(({ node, status }) => {
    const lacks = status['lacks'];
    return Array.isArray(lacks) && lacks.length > 0
      ? [`${node} takes no conversations: it lacks ${lacks.join(', ')}`]
      : [];
  });
}

/** Keys of single endpoints that a worker lacks, and roles without an endpoint in use. */
function endpointLines({ workers }: NodeStatus): string[] {
  return workers.flatMap(({ node, status }) => {
    const troubles = status['endpointTroubles'];
    return Array.isArray(troubles) ? troubles.map((text) => `${node}: ${String(text)}`) : [];
  });
}

function runLines(runs: ClusterStatus['runs']): string[] {
  return runs.flatMap((run) => [
    `${run.id}  ${run.status}, ${run.leader === null ? 'waiting for a leader' : `led by ${run.leader} (epoch ${run.epoch})`}`,
    `    ${run.languages.map(({ language, committed, target }) => `${language} ${count(committed)}/${count(target)}`).join(', ')}; ${count(run.turns)} turns, ${count(run.calls)} calls`,
  ]);
}

export function treeLines(nodes: readonly NodeTree[]): string[] {
  return nodes.flatMap(({ node, kind, actors, problem }) => [
    `${node} (${kind})`,
    ...(problem === null ? [] : [`  does not answer: ${problem}`]),
    ...actors.map((actor) => {
      const parts = actor.path.split('/');
      const restarts = actor.restarts === 0 ? '' : `, ${count(actor.restarts)} restarts`;
      const error = actor.lastError === null ? '' : `, last error: ${actor.lastError.split('\n')[0]}`;
      const busy = actor.mailboxLength === 0 ? '' : `, ${count(actor.mailboxLength)} waiting`;
      return `${'  '.repeat(parts.length)}${decodeURIComponent(parts.at(-1) ?? '')}  [${actor.kind}] ${actor.state}${busy}${restarts}${error}`;
    }),
  ]);
}

const indented = (line: string): string => `  ${line}`;
