import { KEY_NAME_VARIABLES } from './environment-table.ts';
import type { Environment } from './environment.ts';
import { Findings, type ConfigProblem } from './problem.ts';
import { customaryKeyVariable, isLoopback, staysHere } from './provider-keys.ts';
import { endpointsOf, servedByUs } from './roles.ts';
import type { AgentRole, Config } from './schema.ts';
import { Secret } from './secret.ts';
import type { Origin } from './source.ts';
import { isVariableName, VARIABLE_NAME_RULE } from './variable-name.ts';

export interface Credentials {
  /** The provider key of each role that was asked for; null where none is needed or there is none. */
  readonly keys: Readonly<Record<AgentRole, Secret | null>>;
  /** The variable that each key was found in. */
  readonly variables: Readonly<Record<AgentRole, string | null>>;
  readonly problems: readonly ConfigProblem[];
  readonly notices: readonly string[];
}

/** The value of a variable, trimmed; null when it is missing or blank. */
export function readSecret(environment: Environment, name: string): Secret | null {
  const value = environment[name]?.trim() ?? '';
  return value === '' ? null : new Secret(value);
}

export const serperKey = (environment: Environment): Secret | null =>
  readSecret(environment, 'SERPER_API_KEY');

/** The token for pushing, from the two names that the hub's own tools know. */
export const hubToken = (environment: Environment): Secret | null =>
  readSecret(environment, 'HF_TOKEN') ?? readSecret(environment, 'HUGGINGFACE_HUB_TOKEN');

/**
 * Finds the key of every role in `roles`. A role whose requests stay on this machine, go to servers
 * of our own, or go to listed endpoints (which name their own keys) needs none.
 */
export function resolveCredentials(
  config: Config,
  environment: Environment,
  roles: readonly AgentRole[],
): Credentials {
  const findings = new Findings();
  const keys: Record<AgentRole, Secret | null> = { user: null, assistant: null, judge: null };
  const variables: Record<AgentRole, string | null> = { user: null, assistant: null, judge: null };
  const listed = new Set(
    roles.filter((role) => !servedByUs(config, role)).flatMap((role) => endpointsOf(config, role)),
  );
  for (const endpoint of listed) checkEndpointKey(endpoint, environment, findings);
  for (const role of roles) {
    if (servedByUs(config, role) || endpointsOf(config, role).length > 0) continue;
    const found = keyOf(config, environment, role, findings);
    keys[role] = found?.key ?? null;
    variables[role] = found?.variable ?? null;
  }
  return { keys, variables, problems: findings.problems, notices: findings.notices };
}

type ListedEndpoint = ReturnType<typeof endpointsOf>[number];

/** An endpoint that names no key gets none: the key of a role stays with that role's provider. */
function checkEndpointKey(endpoint: ListedEndpoint, environment: Environment, findings: Findings): void {
  const name = endpoint.name || endpoint.base_url;
  const variable = endpoint.api_key_env.trim();
  if (endpoint.api_key !== null || isLoopback(endpoint.base_url)) return;
  if (variable === '') {
    findings.notice(
      null,
      `The endpoint \`${shown(name)}\` is called without a key: it names none (\`api_key_env\`).`,
    );
  } else if (readSecret(environment, variable) === null) {
    const message = `Missing or empty environment variable \`${variable}\` (\`api_key_env\` of the endpoint \`${shown(name)}\`).`;
    findings.problem(fromVariable(variable), message, {
      keyPath: 'llm.routing.endpoints',
      hint: `Set ${variable} to the key of this endpoint.`,
    });
  }
}

const shown = (text: string): string => text.replace(/\/\/[^/\s@]*@/, '//***@');

interface FoundKey {
  readonly key: Secret;
  readonly variable: string;
}

function keyOf(
  config: Config,
  environment: Environment,
  role: AgentRole,
  findings: Findings,
): FoundKey | null {
  const agent = config.llm.agents[role];
  const local = staysHere(agent);
  const mapping = mappingOf(environment, role, findings);
  if (mapping !== null && !isVariableName(mapping.secret)) {
    findings.problem(fromVariable(mapping.variable), `\`${mapping.variable}\` ${VARIABLE_NAME_RULE}`, {
      keyPath: `llm.agents.${role}`,
      hint: `Put the key into a variable of its own, for example OPENAI_API_KEY, and set ${mapping.variable}=OPENAI_API_KEY.`,
    });
    return null;
  }
  if (mapping !== null) {
    const key = readSecret(environment, mapping.secret);
    if (key === null && !local) reportMissingSecret(role, mapping, findings);
    return key === null ? null : { key, variable: mapping.secret };
  }
  if (local) return null;
  const customary = customaryKeyVariable(agent);
  const key = customary === null ? null : readSecret(environment, customary);
  if (customary !== null && key !== null) return { key, variable: customary };
  reportMissingMapping(role, customary, findings);
  return null;
}

/** The variable that is wanted for a role's own address; null where no key is needed. */
export function wantedKeyVariable(config: Config, environment: Environment, role: AgentRole): string | null {
  if (servedByUs(config, role) || endpointsOf(config, role).length > 0) return null;
  const agent = config.llm.agents[role];
  if (staysHere(agent)) return null;
  const mapping = mappingOf(environment, role, new Findings());
  return mapping?.secret ?? customaryKeyVariable(agent) ?? KEY_NAME_VARIABLES[role].name;
}

interface Mapping {
  readonly variable: string;
  readonly secret: string;
}

/** Which variable holds the key, by the variable that says so; its older name counts when it is alone. */
function mappingOf(environment: Environment, role: AgentRole, findings: Findings): Mapping | null {
  const { name, older } = KEY_NAME_VARIABLES[role];
  const [current, old] = [environment[name]?.trim() ?? '', environment[older]?.trim() ?? ''];
  if (old !== '') {
    const both = current !== '' && current !== old ? ` Both are set and differ: ${name} counts.` : '';
    findings.notice(null, `Deprecated: the variable ${older} is now ${name}.${both}`);
  }
  if (current !== '') return { variable: name, secret: current };
  return old === '' ? null : { variable: older, secret: old };
}

const fromVariable = (variable: string): Origin => ({ type: 'environment', variable });

function reportMissingMapping(role: AgentRole, customary: string | null, findings: Findings): void {
  const { name } = KEY_NAME_VARIABLES[role];
  const example = customary ?? 'MY_PROVIDER_API_KEY';
  const shorter = customary === null ? '' : ` Or set ${customary} alone.`;
  findings.problem(
    fromVariable(name),
    `Missing required API key mapping environment variable \`${name}\` for agent \`${role}\`.`,
    {
      keyPath: `llm.agents.${role}`,
      hint: `Put the key into a variable and name it, in the environment or in .env: ${example}=<key> and ${name}=${example}.${shorter}`,
    },
  );
}

function reportMissingSecret(role: AgentRole, { variable, secret }: Mapping, findings: Findings): void {
  const message = `Missing or empty provider API key environment variable \`${secret}\` (configured by \`${variable}\`) for agent \`${role}\`.`;
  findings.problem(fromVariable(secret), message, {
    keyPath: `llm.agents.${role}`,
    hint: `Set ${secret} in the environment or in .env, or let ${variable} name the variable that holds the key.`,
  });
}
