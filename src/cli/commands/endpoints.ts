import {
  addEndpoint,
  type ChangedEndpoint,
  endEndpoint,
  type EndpointList,
  type EndpointsFlags,
  type ListedEndpoint,
  listEndpoints,
} from '../../bootstrap/cluster/endpoints-control.ts';
import type { EndpointWish } from '../../bootstrap/endpoint-wish.ts';
import { processEnvironment } from '../../config/environment.ts';
import { EXIT } from '../exit-codes.ts';
import { count, table } from '../format.ts';
import { print, say } from '../terminal.ts';

interface Flags extends EndpointsFlags {
  readonly json?: boolean;
}

interface AddFlags extends Flags, Omit<EndpointWish, 'url' | 'timeoutS'> {
  readonly timeout?: number;
  readonly check: boolean;
}

type Given = string | undefined;

/** A configuration that is named as in other commands counts like `--config`. */
const at = <F extends Flags>(config: Given, flags: F): F =>
  config === undefined ? flags : { ...flags, config };

export async function endpointsList(config: Given, flags: Flags): Promise<number> {
  const list = await listEndpoints(at(config, flags), processEnvironment());
  print(flags.json === true ? JSON.stringify(list, null, 2) : listLines(list).join('\n'));
  return EXIT.done;
}

export async function endpointsAdd(url: string, config: Given, flags: AddFlags): Promise<number> {
  const { timeout, check, name, model, weight, maxInFlight, roles, apiKeyEnv } = flags;
  const wish: EndpointWish = { url, name, model, weight, maxInFlight, roles, apiKeyEnv, timeoutS: timeout };
  const added = await addEndpoint(at(config, flags), processEnvironment(), wish, { checks: check });
  return told(added, flags, `is used by run ${added.runId}`);
}

export async function endpointsDrain(name: string, config: Given, flags: Flags): Promise<number> {
  const drained = await endEndpoint(at(config, flags), processEnvironment(), name, 'drain');
  return told(drained, flags, `finishes what it has of run ${drained.runId}, and gets nothing more`);
}

export async function endpointsRemove(name: string, config: Given, flags: Flags): Promise<number> {
  const removed = await endEndpoint(at(config, flags), processEnvironment(), name, 'remove');
  return told(removed, flags, `is removed from run ${removed.runId}; what is in flight there is finished`);
}

function told(changed: ChangedEndpoint, flags: Flags, what: string): number {
  const { endpoint, isOn, waiting } = changed;
  if (flags.json === true) print(JSON.stringify(changed, null, 2));
  say(`${endpoint.name} ${what}${isOn ? ', within a second.' : ', when the run goes on.'}`);
  if (waiting.length > 0)
    say(
      `No endpoint in use serves the ${waiting.join(' and the ')}: such calls wait, and the run stops, resumable, when run.endpoint_patience_s is over. Add one: dlgforge endpoints add <url>`,
    );
  return EXIT.done;
}

function listLines({ runId, status, endpoints, waiting, notLive }: EndpointList): string[] {
  const live = notLive === null;
  if (endpoints.length === 0)
    return [`Run ${runId} (${status}): nothing is known of its endpoints until it has begun.`];
  const head = ['endpoint', 'wanted', 'source', 'roles', 'model', 'weight', 'limit', 'answers'];
  return [
    `Endpoints of run ${runId} (${status})`,
    ...table(
      [...head, ...(live ? ['in flight', 'waiting', 'failed', 'state'] : []), 'address'],
      endpoints.map((row) => [...fixed(row), ...(live ? moving(row) : []), row.baseUrl]),
    ).map((line) => `  ${line}`),
    ...(waiting.length === 0
      ? []
      : [`No endpoint in use serves the ${waiting.join(' and the ')}: such calls wait.`]),
    ...(live ? [] : [`No load and health are shown: ${notLive}.`]),
  ];
}

const fixed = (row: ListedEndpoint): (string | number)[] => [
  row.name,
  { use: 'use', drain: 'drained', remove: 'removed' }[row.wanted],
  row.source,
  row.roles.length === 0 ? 'all' : row.roles.join(', '),
  row.model ?? 'of the role',
  `${row.weight}`,
  row.maxInFlight,
  row.answeredCalls,
];

const STATES = { open_for_traffic: 'well', paused: 'paused', sick: 'circuit open' } as const;

const moving = ({ live }: ListedEndpoint): (string | number)[] =>
  live === null
    ? ['-', '-', '-', '-']
    : [count(live.inFlight), count(live.waiting), count(live.failed), STATES[live.state]];
