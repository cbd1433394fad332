import { distance } from 'fastest-levenshtein';
import { z } from 'zod';
import type { Role } from '../dialogue/chat.ts';
import type { EndpointHealth } from '../ports/model.ts';
import {
  type FailedAttempt,
  failureOfConnection,
  failureOfStatus,
  httpFailureOf,
} from './attempt-failure.ts';
import type { ModelEndpoint } from './model-endpoint.ts';
import { readServerError } from './server-error.ts';
import { messageOf } from '../kernel/errors.ts';

const LIST_TIMEOUT_MS = 10_000;
/** A model that is loaded on first use takes its time. */
const PROBE_TIMEOUT_MS = 120_000;
const SHOWN_MODELS = 5;

const modelList = z.object({ data: z.array(z.object({ id: z.string() })) });

export interface AskedModel {
  readonly role: Role;
  readonly model: string;
}

/**
 * Can this endpoint be used for what the roles ask for? Asks for the list of models, and where that is
 * missing or leaves one out, for one token of it.
 */
export async function checkEndpoint(
  endpoint: ModelEndpoint,
  asked: readonly AskedModel[],
  signal: AbortSignal,
  mayPay = true,
): Promise<EndpointHealth> {
  const models = [...new Set(asked.map(({ model }) => model))];
  const startedAtMs = Date.now();
  try {
    const served = endpoint.provider.listsModels ? await listedModels(endpoint, signal) : null;
    const problems = new Map<string, EndpointHealth>();
    for (const model of models) {
      if (served?.includes(model)) continue;
      if (!mayPay && served?.some((listed) => isVersionOf(listed, model))) continue;
      const problem = mayPay
        ? await probe(endpoint, model, served, signal)
        : withoutProbe(endpoint, model, served);
      if (problem !== null) problems.set(model, problem);
    }
    return worst(asked, problems) ?? { type: 'healthy', models: served ?? models };
  } catch (error) {
    return unhealthy(endpoint, failureOf(error, startedAtMs));
  }
}

/** Whether anybody is there: what it says to the request is not looked at, unless it is in trouble itself. */
export async function checkReachable(endpoint: ModelEndpoint, signal: AbortSignal): Promise<EndpointHealth> {
  if (!endpoint.provider.listsModels) return REACHABLE;
  const startedAtMs = Date.now();
  try {
    await listedModels(endpoint, signal);
    return REACHABLE;
  } catch (error) {
    const failure = failureOf(error, startedAtMs);
    return failure.status !== null && failure.status < 500 ? REACHABLE : unhealthy(endpoint, failure);
  }
}

export const REACHABLE: EndpointHealth = { type: 'healthy', models: [] };

/** Of the models with a problem the first that is not served, with the roles of all those; else the first. */
function worst(
  asked: readonly AskedModel[],
  problems: ReadonlyMap<string, EndpointHealth>,
): EndpointHealth | null {
  const all = [...problems.values()];
  const missing = all.find(({ type }) => type === 'unhealthy');
  if (missing?.type !== 'unhealthy') return all[0] ?? null;
  const lacking = asked.filter(({ model }) => problems.get(model)?.type === 'unhealthy');
  if (lacking.length === asked.length) return missing;
  return { ...missing, roles: lacking.map(({ role }) => role) };
}

/** `llama3:latest` serves `llama3`, and a dated model its name without the date. */
function isVersionOf(listed: string, model: string): boolean {
  const rest = listed.startsWith(model) ? listed.slice(model.length) : '';
  return /^(?::latest|-(?:latest|20\d\d.*))$/.test(rest) || model.startsWith(`${listed}:`);
}

function withoutProbe(
  endpoint: ModelEndpoint,
  model: string,
  served: readonly string[] | null,
): EndpointHealth {
  const { name } = endpoint.config;
  if (served !== null && served.length > 0) return notListed(endpoint, model, served);
  return {
    type: 'unproven',
    reason: `${name} does not list its models, so whether it serves "${model}" shows with the first call.`,
    hint: 'Nothing to do when the model id and the key are right.',
    isListMissing: endpoint.provider.listsModels,
  };
}

/** The models that the server lists; null when it has no list. Throws when it cannot be reached or refuses the key. */
async function listedModels(endpoint: ModelEndpoint, signal: AbortSignal): Promise<readonly string[] | null> {
  try {
    const timeout = AbortSignal.any([signal, AbortSignal.timeout(LIST_TIMEOUT_MS)]);
    const response = await endpoint.client.models.list({ signal: timeout }).asResponse();
    const parsed = modelList.safeParse(JSON.parse(await response.text()));
    // Gemini lists `models/<id>` and is asked for `<id>`.
    return parsed.success ? parsed.data.data.map(({ id }) => id.replace(/^models\//, '')) : null;
  } catch (error) {
    const status = httpFailureOf(error)?.status;
    if (error instanceof SyntaxError || status === 404 || status === 405 || status === 501) return null;
    throw error;
  }
}

async function probe(
  endpoint: ModelEndpoint,
  model: string,
  served: readonly string[] | null,
  signal: AbortSignal,
): Promise<EndpointHealth | null> {
  const startedAtMs = Date.now();
  try {
    const timeout = AbortSignal.any([signal, AbortSignal.timeout(PROBE_TIMEOUT_MS)]);
    const messages = [{ role: 'user' as const, content: 'Say OK.' }];
    const limit = { [endpoint.provider.maxTokensField]: 16 };
    await endpoint.client.chat.completions
      .create({ model, messages, ...limit }, { signal: timeout })
      .asResponse();
    return null;
  } catch (error) {
    const failure = failureOf(error, startedAtMs);
    // The server read the request and knows the model: a busy moment or a limit of its own is no reason to stop.
    if (failure.type === 'refused' || (failure.type === 'retry_later' && failure.rateLimited)) return null;
    if (failure.type === 'unusable' && (failure.status === 404 || failure.status === 400))
      return notServed(endpoint, model, served, failure);
    return unhealthy(endpoint, failure);
  }
}

function failureOf(error: unknown, startedAtMs: number): FailedAttempt {
  const failure = httpFailureOf(error);
  if (failure !== null) return failureOfStatus(failure, readServerError(failure.bodyText), Date.now());
  const timedOut = error instanceof Error && /timed? ?out|aborted/i.test(messageOf(error));
  const waitedMs = 1000 * Math.round((Date.now() - startedAtMs) / 1000);
  return failureOfConnection(error, timedOut ? waitedMs : null);
}

function notServed(
  endpoint: ModelEndpoint,
  model: string,
  served: readonly string[] | null,
  failure: FailedAttempt,
): EndpointHealth {
  const { name } = endpoint.config;
  if (served === null || served.length === 0) {
    return {
      type: 'unhealthy',
      reason: `${name} does not serve "${model}": ${endpoint.shown(failure.reason)}.`,
      hint: `Check the model id, and that ${endpoint.shown(endpoint.config.baseUrl)} is the address of the API (it usually ends in /v1).`,
    };
  }
  return notListed(endpoint, model, served);
}

function notListed(endpoint: ModelEndpoint, model: string, served: readonly string[]): EndpointHealth {
  const nearest = served.toSorted((a, b) => distance(a, model) - distance(b, model)).slice(0, SHOWN_MODELS);
  return {
    type: 'unhealthy',
    reason: `${endpoint.config.name} does not serve "${model}".`,
    hint: `Set the model to one that it serves, for example: ${nearest.join(', ')}.`,
  };
}

function unhealthy(endpoint: ModelEndpoint, failure: FailedAttempt): EndpointHealth {
  const { name } = endpoint.config;
  return {
    type: 'unhealthy',
    reason: `${name} cannot be used: ${endpoint.shown(failure.reason)}.`,
    hint: hintFor(endpoint, failure),
    ...(failure.type === 'retry_later' ? { isAway: true } : {}),
    ...(failure.status === null ? {} : { status: failure.status }),
  };
}

function hintFor(endpoint: ModelEndpoint, failure: FailedAttempt): string {
  const { config, provider } = endpoint;
  if (failure.status === 401 || failure.status === 403) {
    const variable = config.keyVariable ?? provider.keyVariable ?? 'its variable';
    return config.key() === null
      ? `It needs a key: export ${provider.keyVariable ?? 'MY_KEY'}=… and name that variable (LLM_<ROLE>_API_KEY_ENV for a role, api_key_env for an endpoint).`
      : `It refuses the key: check the value of ${variable}, and that the key belongs to ${provider.name}.`;
  }
  if (failure.status === 402 || (failure.status === 429 && failure.type === 'unusable'))
    return 'Add credit to the account, or use another key.';
  if (failure.status !== null && failure.status >= 500)
    return 'The server has trouble of its own: try again, or look at its log.';
  if (failure.status !== null) return 'Check base_url; it usually ends in /v1.';
  return startHint(provider.name, config.baseUrl);
}

/** What to type when nothing answers. */
function startHint(provider: string, baseUrl: string): string {
  const address = new URL(baseUrl).host;
  if (provider === 'ollama') return 'Start it with: ollama serve';
  if (provider === 'lm_studio') return 'Start its server with: lms server start';
  if (provider === 'hosted_vllm' || provider === 'vllm') {
    return `Is a server running at ${address}? For vLLM: vllm serve <model> --port ${new URL(baseUrl).port || '8000'}`;
  }
  return `Is ${address} right, and can this machine reach it? Try: curl ${new URL(baseUrl).origin}`;
}
