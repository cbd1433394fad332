/** docs/backends.md: every example loads, needs no more than it says, and goes where it says. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { BACKENDS } from '../../../src/config/schema/llm.ts';
import { customaryKeyVariable } from '../../../src/config/provider-keys.ts';
import { checkRequirements } from '../../../src/config/requirements.ts';
import { endpointPlan, ownKeys } from '../../../src/bootstrap/endpoint-plan.ts';
import { PROVIDER_NAMES, providerNamed } from '../../../src/llm/providers.ts';
import { load } from '../config/project.ts';

const PAGE = readFileSync(new URL('../../../docs/backends.md', import.meta.url), 'utf8');

interface Example {
  readonly heading: string;
  readonly yaml: string;
  /** What the text before it says to export. */
  readonly env: Readonly<Record<string, string>>;
}

/** The YAML examples, with the variables that their section names. */
function examplesOf(page: string): Example[] {
  return page.split(/^#{2,3} /m).flatMap((section) => {
    const heading = section.slice(0, section.indexOf('\n')).trim();
    const exported = [...section.matchAll(/^export (\w+)=(\S+)$/gm)].map(([, name = '', value = '']) => [
      name,
      value,
    ]);
    const keys = [...section.matchAll(/Key: `(\w+)`/g)].map(([, name = '']) => [name, `secret of ${name}`]);
    const env = Object.fromEntries([...keys, ...exported]) as Record<string, string>;
    return [...section.matchAll(/^```yaml\n([\s\S]*?)^```$/gm)].map(([, yaml = '']) => ({
      heading,
      yaml,
      env,
    }));
  });
}

const EXAMPLES = examplesOf(PAGE);
const ROLES_EXAMPLE = 'Roles at different providers';

test('every backend and every provider has an example', () => {
  const configs = EXAMPLES.map(({ yaml }) => load(yaml).config);
  expect(new Set(configs.map(({ llm }) => llm.backend))).toEqual(new Set(BACKENDS));
  const providers = configs.flatMap(({ llm }) => [llm.agents.user.provider, llm.agents.assistant.provider]);
  expect(PROVIDER_NAMES.filter((name) => !providers.includes(name))).toEqual([]);
});

describe('each example', () => {
  test.for(EXAMPLES.map((example, index) => [`${index}: ${example.heading}`, example] as const))(
    '%s works as it stands',
    ([, { heading, yaml, env }]) => {
      const everyKey = Object.fromEntries(
        PROVIDER_NAMES.flatMap((name) => providerNamed(name).keyVariable ?? []).map((name) => [
          name,
          `secret of ${name}`,
        ]),
      );
      const loaded = load(yaml, heading === ROLES_EXAMPLE ? everyKey : env);
      const { problems, roles, keys } = checkRequirements(loaded, 'run');
      expect(problems).toEqual([]);
      const { config } = loaded;
      if (config.llm.backend === 'vllm_managed') return;
      const rehearsalUrl = config.llm.backend === 'rehearsal' ? 'http://127.0.0.1:1' : null;
      const plan = endpointPlan({ config, roles, rehearsalUrl, keys: ownKeys(loaded, keys) });
      for (const role of roles)
        expect(plan.endpoints.some((endpoint) => endpoint.roles.includes(role))).toBe(true);
      if (!PROVIDER_NAMES.includes(heading)) return;
      const provider = providerNamed(heading);
      if (provider.baseUrl !== null) expect(plan.endpoints[0]?.baseUrl).toBe(provider.baseUrl);
      // The key that the section names is the one that is sent, and no other.
      const variable = provider.keyVariable;
      if (variable !== null) expect(plan.endpoints[0]?.key()).toBe(env[variable]);
      if (heading !== 'rehearsal') expect(plan.endpoints[0]?.provider).toBe(heading);
    },
  );
});

test('the configuration knows the key variable of every provider that has an address of its own', () => {
  for (const name of PROVIDER_NAMES) {
    const { baseUrl, keyVariable } = providerNamed(name);
    if (baseUrl === null || keyVariable === null) continue;
    const at = { provider: name, model: 'm', base_url: '' };
    expect([name, customaryKeyVariable(at)]).toEqual([name, keyVariable]);
    expect(customaryKeyVariable({ ...at, provider: '', base_url: baseUrl })).toBe(keyVariable);
    expect(customaryKeyVariable({ ...at, base_url: 'https://elsewhere.example.org/v1' })).toBeNull();
  }
});
