/**
 * What a person asks of the endpoints of a run: checked against what the run has, and made the row that its
 * store is to hold. Pure.
 */
import { maxInFlightOf, modelOf, rolesFor } from '../config/roles.ts';
import { AGENT_ROLES, type AgentRole, type Config } from '../config/schema.ts';
import { DlgforgeError } from '../kernel/errors.ts';
import { shownUrl } from '../llm/plan-endpoints.ts';
import { checkedUrl } from '../llm/providers.ts';
import type { RunEndpoint } from '../ports/store.ts';

/** As it was typed. */
export interface EndpointWish {
  readonly url: string;
  readonly name?: string | undefined;
  readonly model?: string | undefined;
  readonly weight?: number | undefined;
  readonly maxInFlight?: number | undefined;
  /** Comma-separated. */
  readonly roles?: string | undefined;
  readonly apiKeyEnv?: string | undefined;
  readonly timeoutS?: number | undefined;
}

const NAME_MAX = 200;

/**
 * The row for it. An endpoint that was drained or removed comes back under its name, or by its address alone.
 * @throws DlgforgeError `usage`.
 */
export function rowOfWish(wish: EndpointWish, known: readonly RunEndpoint[], config: Config): RunEndpoint {
  const baseUrl = plainUrl(wish.url);
  const roles = rolesOf(wish.roles, config);
  const name = wish.name?.trim() || nameAt(baseUrl, known) || shownUrl(baseUrl);
  if (name.length > NAME_MAX || /\p{Cc}/u.test(name) || !name.isWellFormed())
    throw off(`--name may have ${NAME_MAX} characters, none of them a control character.`);
  const before = known.find((row) => row.name === name);
  if (before?.source === 'managed') throw managed(name);
  if (before?.source === 'configured') return broughtBack(before, baseUrl, wish);
  const row: RunEndpoint = {
    name,
    baseUrl,
    model: wish.model?.trim() || null,
    keyVariable: variableOf(wish.apiKeyEnv),
    weight: positive(wish.weight ?? 1, '--weight'),
    maxInFlight: wholeNumber(wish.maxInFlight ?? maxInFlightOf(config, null), '--max-in-flight'),
    roles,
    timeoutMs: wish.timeoutS === undefined ? null : 1000 * positive(wish.timeoutS, '--timeout'),
    source: 'added',
    wanted: 'use',
  };
  refuseAnother(row, before);
  refuseTwice(row, known);
  return row;
}

/** The row of an endpoint that is to be drained or removed. @throws DlgforgeError `usage`. */
export function rowToChange(
  named: string,
  wanted: 'drain' | 'remove',
  known: readonly RunEndpoint[],
): RunEndpoint {
  const row = known.find(({ name }) => name === named) ?? onlyOneAt(named, known);
  if (row === undefined) {
    const names = known.filter((one) => one.wanted !== 'remove').map((one) => one.name);
    throw off(
      names.length === 0
        ? `There is no endpoint ${named}: nothing is known of the endpoints of this run until it has begun.`
        : `There is no endpoint ${named}. The run has: ${names.join(', ')}.`,
    );
  }
  if (row.source === 'managed') throw managed(row.name);
  return { ...row, wanted };
}

/** Models of one server may be several endpoints; then the name is needed. */
function onlyOneAt(address: string, known: readonly RunEndpoint[]): RunEndpoint | undefined {
  if (!/^https?:\/\//i.test(address) || !URL.canParse(address)) return undefined;
  const there = known.filter((row) => row.wanted !== 'remove' && isAt(row, checkedUrl(address)));
  return there.length === 1 ? there[0] : undefined;
}

/** The roles of the run that no endpoint in use serves. */
export function rolesLeftWaiting(rows: readonly RunEndpoint[], config: Config): readonly AgentRole[] {
  const used = rows.filter(({ wanted }) => wanted === 'use');
  return rolesFor(config, 'run').filter(
    (role) => !used.some(({ roles }) => roles.length === 0 || roles.includes(role)),
  );
}

/** What each role asks an endpoint for, where it names no model of its own. */
export const modelsOf = (config: Config): Readonly<Record<AgentRole, string>> => ({
  user: modelOf(config, 'user'),
  assistant: modelOf(config, 'assistant'),
  judge: modelOf(config, 'judge'),
});

/** It is kept in the store, shown and logged, so it may hold no credentials (I8). */
function plainUrl(text: string): string {
  const url = checkedUrl(text.trim());
  const { username, password, search, hash } = new URL(url);
  if (username === '' && password === '' && search === '' && hash === '') return url;
  throw off(
    'The address may hold no user, password or query: it is kept in the store. Name the variable that holds the key with --api-key-env.',
  );
}

function rolesOf(text: string | undefined, config: Config): AgentRole[] {
  const given = (text ?? '')
    .split(',')
    .map((role) => role.trim())
    .filter((role) => role !== '');
  const unknown = given.filter((role) => !AGENT_ROLES.some((known) => known === role));
  if (unknown.length > 0) throw off(`--roles: ${unknown.join(', ')} is none of ${AGENT_ROLES.join(', ')}.`);
  const roles = AGENT_ROLES.filter((role) => given.includes(role));
  const active = rolesFor(config, 'run');
  if (roles.length > 0 && !roles.some((role) => active.includes(role)))
    throw off(`--roles: the run has no ${roles.join(' and no ')}; it has ${active.join(', ')}.`);
  return roles;
}

/** One that does not serve now is meant by its address. */
const nameAt = (baseUrl: string, known: readonly RunEndpoint[]): string | undefined =>
  known.find((row) => row.wanted !== 'use' && row.source !== 'managed' && isAt(row, baseUrl))?.name;

const isAt = (row: RunEndpoint, baseUrl: string): boolean => shownUrl(row.baseUrl) === shownUrl(baseUrl);

function broughtBack(before: RunEndpoint, baseUrl: string, wish: EndpointWish): RunEndpoint {
  const given = [wish.model, wish.weight, wish.maxInFlight, wish.roles, wish.apiKeyEnv, wish.timeoutS];
  if (!isAt(before, baseUrl) || given.some((value) => value !== undefined)) {
    throw off(
      `${before.name} is an endpoint of the configuration, at ${before.baseUrl}: it comes back as it is configured. Give another one a --name of its own.`,
    );
  }
  return { ...before, wanted: 'use' };
}

/** Permits and records know an endpoint by its name. */
function refuseAnother(row: RunEndpoint, before: RunEndpoint | undefined): void {
  if (before === undefined) return;
  if (before.model !== row.model)
    throw off(
      `${row.name} has answered as ${before.model ?? 'the model of each role'} in this run; give an endpoint with another model another --name.`,
    );
  if (before.wanted === 'use' && !isAt(before, row.baseUrl))
    throw off(
      `${row.name} is in use at ${before.baseUrl}: remove it first (dlgforge endpoints remove ${row.name}), or give another --name.`,
    );
}

function refuseTwice(row: RunEndpoint, known: readonly RunEndpoint[]): void {
  const same = known.find(
    (other) =>
      other.name !== row.name &&
      other.wanted !== 'remove' &&
      isAt(other, row.baseUrl) &&
      (other.model === row.model || row.model === null || other.model === null),
  );
  if (same === undefined) return;
  throw off(
    `${row.baseUrl} is the endpoint ${same.name} already${same.wanted === 'drain' ? '; it comes back with the --name of its own' : ''}.`,
  );
}

function variableOf(text: string | undefined): string | null {
  if (text === undefined || text.trim() === '') return null;
  const name = text.trim();
  if (/^[A-Za-z_][A-Za-z0-9_]{0,199}$/.test(name)) return name;
  throw off('--api-key-env is the name of an environment variable, never the key itself.');
}

function positive(value: number, flag: string): number {
  if (Number.isFinite(value) && value > 0) return value;
  throw off(`${flag} must be a number above 0.`);
}

function wholeNumber(value: number, flag: string): number {
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw off(`${flag} must be a whole number above 0.`);
}

const off = (text: string): DlgforgeError => new DlgforgeError('usage', text);

const managed = (name: string): DlgforgeError =>
  off(`${name} is a server that the run starts and stops itself, and uses while it is well.`);
