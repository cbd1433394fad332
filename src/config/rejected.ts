import type { Findings } from './problem.ts';
import { nodeAt, type MapNode, type Origin } from './source.ts';

/** Settings of one model for all roles: refused, because every role has its own. */
const GLOBAL_KEYS = [
  'provider',
  'model',
  'base_url',
  'api_key',
  'api_key_env',
  'temperature',
  'max_tokens',
  'top_p',
  'timeout',
  'max_retries',
  'extra',
] as const;
const CREDENTIAL_KEYS = ['api_key', 'api_key_env'] as const;

/** Reports keys that a file must not have, and takes them out so that they are reported once. */
export function rejectKeys(root: MapNode, findings: Findings): void {
  const llm = nodeAt(root, 'llm');
  if (llm?.type !== 'map') return;
  report(
    'Forbidden LLM global key(s) in YAML:',
    takeAll(llm, GLOBAL_KEYS, 'llm'),
    'Set them per role, under `llm.agents.<role>`.',
    findings,
  );
  const agents = llm.entries.get('agents');
  if (agents?.type !== 'map') return;
  const credentials = [...agents.entries].flatMap(([role, agent]) => {
    if (agent.type !== 'map') return [];
    const extra = agent.entries.get('extra');
    const inExtra = extra?.type === 'map' ? takeAll(extra, CREDENTIAL_KEYS, `llm.agents.${role}.extra`) : [];
    return [...takeAll(agent, CREDENTIAL_KEYS, `llm.agents.${role}`), ...inExtra];
  });
  const hint =
    'Keys stay in the environment: LLM_<ROLE>_API_KEY_ENV names the variable that holds the key of a role.';
  report('Forbidden credential key(s) in YAML:', credentials, hint, findings);
}

interface Taken {
  readonly path: string;
  readonly origin: Origin;
}

function takeAll(node: MapNode, names: readonly string[], prefix: string): Taken[] {
  return names.flatMap((name) => {
    const found = node.entries.get(name);
    node.entries.delete(name);
    return found === undefined ? [] : [{ path: `${prefix}.${name}`, origin: found.origin }];
  });
}

function report(start: string, taken: readonly Taken[], hint: string, findings: Findings): void {
  const sorted = [...taken].sort((a, b) => (a.path < b.path ? -1 : 1));
  const [first] = sorted;
  if (first === undefined) return;
  findings.problem(first.origin, `${start} ${sorted.map(({ path }) => `\`${path}\``).join(', ')}.`, {
    keyPath: first.path,
    hint,
  });
}
