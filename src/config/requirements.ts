import { readSecret, resolveCredentials, serperKey, type Credentials } from './credentials.ts';
import { personasFile, promptsDir, seedTopicsFile } from './paths.ts';
import { Findings, type ConfigProblem } from './problem.ts';
import { pushesAfterRun } from './publishing.ts';
import {
  endpointsOf,
  joinsSharedEndpoints,
  judgesOnline,
  modelOf,
  rolesFor,
  servedByUs,
  type RoleCommand,
} from './roles.ts';
import type { AgentRole, Config } from './schema.ts';
import type { LoadedConfig } from './load.ts';

export interface Requirements {
  readonly roles: readonly AgentRole[];
  readonly keys: Credentials['keys'];
  readonly keyVariables: Credentials['variables'];
  readonly problems: readonly ConfigProblem[];
  readonly notices: readonly string[];
}

/**
 * What a command needs beyond a configuration without mistakes: models, endpoints, keys and files.
 * `push` or `export` of the same configuration need none of it, so loading does not ask. Reads
 * variables and looks whether files exist; calls nobody.
 */
export function checkRequirements(
  { config, environment, projectRoot }: LoadedConfig,
  command: RoleCommand,
): Requirements {
  const findings = new Findings();
  const roles = rolesFor(config, command);
  checkModels(config, roles, findings);
  checkBackend(config, roles, findings);
  checkAssets(config, projectRoot, command, findings);
  if (command === 'run') {
    checkTools(config, environment, findings);
    checkPublished(config, findings);
  }
  const credentials = resolveCredentials(config, environment, roles);
  return {
    roles,
    keys: credentials.keys,
    keyVariables: credentials.variables,
    problems: [...findings.problems, ...credentials.problems],
    notices: [...findings.notices, ...credentials.notices],
  };
}

function checkModels(config: Config, roles: readonly AgentRole[], findings: Findings): void {
  const missing = roles.filter((role) => {
    const endpoints = endpointsOf(config, role);
    const atEndpoints = endpoints.length > 0 && endpoints.every(({ model }) => model.trim() !== '');
    return modelOf(config, role) === '' && !atEndpoints;
  });
  const [first] = missing;
  if (first === undefined) return;
  const keys = missing.map((role) => `\`llm.agents.${role}.model\` (LLM_${role.toUpperCase()}_MODEL)`);
  findings.problem(null, `Missing LLM model for required agent(s): ${missing.join(', ')}.`, {
    keyPath: `llm.agents.${first}.model`,
    hint: `Set ${keys.join(', ')}.`,
  });
}

function checkBackend(config: Config, roles: readonly AgentRole[], findings: Findings): void {
  const { backend, vllm } = config.llm;
  const joining = roles.filter(
    (role) => joinsSharedEndpoints(config, role) && endpointsOf(config, role).length === 0,
  );
  if (backend === 'vllm_attach' && joining.length > 0) {
    findings.problem(
      null,
      'llm.backend=vllm_attach requires llm.routing.endpoints with at least one endpoint.',
      {
        keyPath: 'llm.routing.endpoints',
        hint: `Nobody serves: ${joining.join(', ')}. List the servers, for example \`- http://127.0.0.1:8000/v1\`.`,
      },
    );
  }
  if (backend === 'vllm_managed') {
    checkServers(vllm, findings);
    if (!roles.some((role) => servedByUs(config, role)))
      findings.problem(null, 'llm.backend=vllm_managed starts servers that no role would ask.', {
        keyPath: 'llm.backend',
        hint: `Leave \`provider\` of one of ${roles.join(', ')} empty, or choose another backend.`,
      });
  }
}

function checkServers(vllm: Config['llm']['vllm'], findings: Findings): void {
  if (vllm.model.trim() === '') {
    findings.problem(null, 'llm.vllm.model is required when llm.backend=vllm_managed.', {
      keyPath: 'llm.vllm.model',
      hint: 'Name the model that the servers shall serve: a hub id or a folder.',
    });
  }
  const { num_gpus_per_replica: gpus, tensor_parallel_size: parts } = vllm;
  if (gpus > 0 && parts > Math.ceil(gpus)) {
    findings.problem(
      null,
      `llm.vllm.tensor_parallel_size=${parts} splits the model over more GPUs than a server has (llm.vllm.num_gpus_per_replica=${gpus}).`,
      {
        keyPath: 'llm.vllm.num_gpus_per_replica',
        hint: `Set \`llm.vllm.num_gpus_per_replica: ${parts}\`.`,
      },
    );
  }
  if (vllm.extra_args.some((argument) => /^--api[-_]key(=|$)/.test(argument))) {
    findings.problem(null, 'llm.vllm.extra_args holds --api-key: every user of the machine could read it.', {
      keyPath: 'llm.vllm.extra_args',
      hint: 'Leave it out, and set the environment variable VLLM_API_KEY on every node.',
    });
  }
  for (const [name, key] of Object.entries(ADDRESS_KEYS)) {
    if (!vllm.extra_args.some((argument) => argument === name || argument.startsWith(`${name}=`))) continue;
    findings.problem(
      null,
      `llm.vllm.extra_args holds ${name}: each server is given its own, and would be looked for there.`,
      { keyPath: 'llm.vllm.extra_args', hint: `Leave it out, and set \`${key}\`.` },
    );
  }
  if ('VLLM_API_KEY' in vllm.env) {
    findings.problem(null, 'llm.vllm.env holds VLLM_API_KEY: requests would go without that key.', {
      keyPath: 'llm.vllm.env',
      hint: 'Leave it out, and set it in the environment, or in .env, of every node.',
    });
  }
}

/** What servers are told by other keys. */
const ADDRESS_KEYS = { '--host': 'llm.vllm.host', '--port': 'llm.vllm.port_start' };

function checkAssets(config: Config, projectRoot: string, command: RoleCommand, findings: Findings): void {
  const assets = [
    { key: 'prompts.path', what: 'Prompts folder', asset: promptsDir(config, projectRoot), used: true },
    {
      key: 'personas.path',
      what: 'Persona file',
      asset: personasFile(config, projectRoot),
      used: command === 'run' && config.personas.enabled,
    },
    {
      key: 'run.data.seeding.topics.path',
      what: 'Seed topics',
      asset: seedTopicsFile(config, projectRoot),
      used: command === 'run',
    },
  ];
  for (const { key, what, asset, used } of assets) {
    if (!used || asset?.type !== 'missing') continue;
    findings.problem(null, `${what} not found: ${asset.path}`, {
      keyPath: key,
      hint: `Correct \`${key}\`, or leave it out.`,
    });
  }
}

const JUDGED = 'conversations_sharegpt_judged.jsonl';

/** Only a notice: an earlier run may have been judged. */
function checkPublished(config: Config, findings: Findings): void {
  const { source_file: source } = config.saving.hf_push;
  if (!pushesAfterRun(config) || judgesOnline(config) || source.trim() !== JUDGED) return;
  findings.notice(
    null,
    `[hf-push] Nothing of this run will be in ${JUDGED}, which is to be published at its end: it is not judged while it runs. Set \`judge.enabled: true\` and \`judge.mode: online\`, or \`saving.hf_push.source_file: conversations_sharegpt.jsonl\`.`,
  );
}

function checkTools({ tools }: Config, environment: LoadedConfig['environment'], findings: Findings): void {
  const { embeddings, reranker } = tools.retrieval;
  const services = [
    { path: 'tools.retrieval.embeddings', used: embeddings.backend === 'endpoint', ...embeddings },
    {
      path: 'tools.retrieval.reranker',
      used: reranker.enabled && reranker.backend === 'endpoint',
      ...reranker,
    },
  ];
  for (const { path, used, base_url, api_key_env } of services) {
    if (!used) continue;
    if (base_url.trim() === '') {
      findings.problem(null, `\`${path}.base_url\` is required when \`${path}.backend\` is \`endpoint\`.`, {
        keyPath: `${path}.base_url`,
        hint: 'For example http://127.0.0.1:8000/v1.',
      });
    }
    if (api_key_env.trim() !== '' && readSecret(environment, api_key_env.trim()) === null) {
      findings.problem(
        null,
        `Missing or empty environment variable \`${api_key_env.trim()}\` (\`${path}.api_key_env\`).`,
        { keyPath: `${path}.api_key_env`, hint: `Set ${api_key_env.trim()} to the key of this service.` },
      );
    }
  }
  if (tools.web_search.enabled && serperKey(environment) === null) {
    findings.notice(
      null,
      '[preflight] Web search is enabled but SERPER_API_KEY is not set: searches will fail. Set it, or set `tools.web_search.enabled: false`.',
    );
  }
  if (reranker.cmd !== null) {
    findings.notice(
      null,
      '`tools.retrieval.reranker.cmd` has no effect. Serve the reranker and use `backend: endpoint`.',
    );
  }
}
