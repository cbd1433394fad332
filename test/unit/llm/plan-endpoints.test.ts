import { describe, expect, test } from 'vitest';
import { ROLES, type Role } from '../../../src/dialogue/chat.ts';
import {
  type AgentEntry,
  type EndpointEntry,
  type PlanInput,
  planEndpoints,
} from '../../../src/llm/plan-endpoints.ts';
import { providerNamed, providerOfUrl, resolveProvider, wireModel } from '../../../src/llm/providers.ts';
import { noKey } from '../../../src/llm/settings.ts';
import { completion, sendJson } from '../../support/chat-server.ts';
import { never, portFor, request, roleSettings, serverFor } from './fixtures.ts';

const agent = (changes: Partial<AgentEntry> = {}): AgentEntry => ({
  provider: 'openai',
  model: 'gpt-x',
  base_url: '',
  temperature: null,
  max_tokens: null,
  top_p: null,
  timeout: null,
  max_retries: null,
  extra: {},
  ...changes,
});

interface Changes {
  readonly agents?: Partial<Record<Role, AgentEntry>>;
  readonly endpoints?: readonly (string | EndpointEntry)[];
  readonly keys?: Partial<Record<Role, string>>;
  readonly variables?: Readonly<Record<string, string>>;
}

const input = ({ agents = {}, endpoints = [], keys = {}, variables = {} }: Changes): PlanInput => ({
  agents: { user: agent(), assistant: agent(), judge: agent(), ...agents },
  endpoints,
  activeRoles: ROLES,
  roleKey: (role) => () => keys[role] ?? null,
  variable: (name) => () => variables[name] ?? null,
});

/** name → base URL, roles and key, as a reader of the plan sees them. */
const planned = (changes: Changes): unknown =>
  planEndpoints(input(changes)).endpoints.map(({ name, roles, key }) => [name, [...roles], key()]);

const LOCAL = 'http://127.0.0.1:8000/v1';
const gemini = agent({ provider: 'gemini', model: 'gemini/g-3' });

describe('endpoints', () => {
  test('without a list, there is one for each address and key of the roles', () => {
    const changes = { agents: { judge: gemini }, keys: { user: 'k1', assistant: 'k1', judge: 'k2' } };
    expect(planned(changes)).toEqual([
      ['openai', ['user', 'assistant'], 'k1'],
      ['gemini', ['judge'], 'k2'],
    ]);
    expect(planned({ keys: { user: 'k1', assistant: 'k2', judge: 'k1' } })).toEqual([
      ['openai', ['user', 'judge'], 'k1'],
      ['openai#2', ['assistant'], 'k2'],
    ]);
  });

  test('E3 a list of one role serves that role only', () => {
    const own = agent({ routing: { endpoints: [LOCAL] } });
    expect(planned({ agents: { user: own }, keys: { assistant: 'k', judge: 'k' } })).toEqual([
      [LOCAL, ['user'], null],
      ['openai', ['assistant', 'judge'], 'k'],
    ]);
  });

  test('E5 an endpoint without a key never gets the key of a role', () => {
    const endpoints = [{ base_url: LOCAL }, { base_url: 'http://10.0.0.2:8000/v1', api_key_env: 'MINE' }];
    expect(
      planned({
        endpoints,
        keys: { user: 'secret', assistant: 'secret', judge: 'secret' },
        variables: { MINE: 'm' },
      }),
    ).toEqual([
      [LOCAL, ['user', 'assistant', 'judge'], null],
      ['http://10.0.0.2:8000/v1', ['user', 'assistant', 'judge'], 'm'],
    ]);
  });

  test('E6 a judge with a provider of its own stays there, and the log says so', () => {
    const changes = { agents: { judge: gemini }, endpoints: [LOCAL], keys: { judge: 'g' } };
    expect(planned(changes)).toEqual([
      [LOCAL, ['user', 'assistant'], null],
      ['gemini', ['judge'], 'g'],
    ]);
    expect(planEndpoints(input(changes)).notes).toEqual([
      expect.stringContaining('judge stays at its own provider "gemini"'),
    ]);
  });

  test('E6 an endpoint can name its roles', () => {
    expect(planned({ endpoints: [{ base_url: LOCAL, roles: ['judge'] }] })).toEqual([
      ['openai', ['user', 'assistant'], null],
      [LOCAL, ['judge'], null],
    ]);
  });

  test('E7 a text is an address', () => {
    expect(planned({ endpoints: [`${LOCAL}/`] })).toEqual([[LOCAL, [...ROLES], null]]);
  });

  test('E8 one server in two lists is one endpoint with one limit', () => {
    const listed = (limit: number): AgentEntry =>
      agent({ routing: { endpoints: [{ base_url: LOCAL, name: 'gpu', max_in_flight: limit }] } });
    const { endpoints } = planEndpoints(
      input({ agents: { user: listed(8), assistant: listed(4), judge: listed(4) } }),
    );
    expect(endpoints).toHaveLength(1);
    expect(endpoints[0]).toMatchObject({ name: 'gpu', roles: ROLES, maxInFlight: 4 });
  });

  test('E17 a loopback endpoint needs no key', () => {
    expect(planned({ agents: { user: agent({ provider: 'ollama', model: 'm' }) } })).toContainEqual([
      'ollama',
      ['user'],
      null,
    ]);
  });

  test('H6 model and time-out of an endpoint are kept; names carry no credentials', () => {
    const entry = { base_url: 'http://me:pw@gpu:8000/v1?key=1', model: 'served', timeout_s: 3, weight: 0 };
    const { endpoints } = planEndpoints(input({ endpoints: [entry] }));
    expect(endpoints[0]).toMatchObject({
      name: 'http://gpu:8000/v1',
      model: 'served',
      timeoutMs: 3000,
      weight: 1e-6,
      maxInFlight: 64,
    });
  });

  test.each([
    [
      { user: agent({ provider: 'nonesuch' }) },
      /llm\.agents\.user: Provider "nonesuch" is not known\. .*openai, azure, gemini/,
    ],
    [
      { judge: agent({ provider: 'hosted_vllm' }) },
      /llm\.agents\.judge: Provider "hosted_vllm" has no address/,
    ],
    [{ user: agent({ base_url: 'localhost:8000' }) }, /"localhost:8000" is no endpoint address/],
  ])('an address that is missing is said with what to do', (agents, message) => {
    expect(() => planEndpoints(input({ agents }))).toThrow(message);
  });
});

describe('providers', () => {
  test.each([
    ['openai', '', 'gpt-x', 'openai', 'https://api.openai.com/v1'],
    ['', '', 'gemini/g', 'gemini', 'https://generativelanguage.googleapis.com/v1beta/openai'],
    ['', '', 'gpt-x', 'openai', 'https://api.openai.com/v1'],
    ['openai', 'https://api.openai.com/v1', 'm', 'openai', 'https://api.openai.com/v1'],
    ['openai', 'https://x.openai.azure.com/openai/v1', 'm', 'azure', 'https://x.openai.azure.com/openai/v1'],
    ['openai', 'http://gpu:8000/v1/', 'm', 'hosted_vllm', 'http://gpu:8000/v1'],
    ['Gemini', 'https://proxy/v1', 'm', 'gemini', 'https://proxy/v1'],
    ['my-gateway', 'https://gateway/v1', 'm', 'my-gateway', 'https://gateway/v1'],
    ['together_ai', '', 'm', 'together', 'https://api.together.xyz/v1'],
  ])('%j at %j with model %j is %s', (name, baseUrl, model, provider, address) => {
    const resolved = resolveProvider(name, baseUrl, model);
    expect([resolved.provider.name, resolved.baseUrl]).toEqual([provider, address]);
  });

  test.each([
    ['gemini', 'gemini/gemini-3-flash', 'gemini-3-flash'],
    ['openai', 'openai/gpt-5', 'gpt-5'],
    ['hosted_vllm', 'openai/gpt-oss-20b', 'openai/gpt-oss-20b'],
    ['groq', 'openai/gpt-oss-20b', 'openai/gpt-oss-20b'],
    ['groq', 'groq/openai/gpt-oss-20b', 'openai/gpt-oss-20b'],
    ['openrouter', 'openrouter/anthropic/claude', 'anthropic/claude'],
    ['openrouter', 'openrouter/auto', 'openrouter/auto'],
    ['together', 'together_ai/meta/llama', 'meta/llama'],
    ['my-gateway', 'my-gateway/m', 'm'],
  ])('%s is asked for %s as %s', (provider, model, expected) => {
    expect(wireModel(providerNamed(provider), model)).toBe(expected);
  });

  test('an address tells whose quirks to expect', () => {
    expect(providerOfUrl('https://api.groq.com/openai/v1').name).toBe('groq');
    expect(providerOfUrl('http://127.0.0.1:11434/v1').name).toBe('hosted_vllm');
  });
});

describe('E19 the recorded name', () => {
  test('is that of the model that answered', async () => {
    const server = await serverFor((_, response) => sendJson(response, 200, completion()));
    const plan = planEndpoints(
      input({
        endpoints: [
          { base_url: server.url, name: 'a', model: 'small' },
          { base_url: server.url, name: 'b' },
        ],
      }),
    );
    const port = portFor(plan.endpoints, { roles: plan.roles });
    expect(await port.attempt('a', request(), never)).toMatchObject({
      answer: { model: 'small', endpoint: 'a' },
    });
    expect(server.requests[0]?.body['model']).toBe('small');
    expect([port.usedName('user', 'a'), port.usedName('user', 'b'), port.usedName('user')]).toEqual([
      'openai/small',
      'openai/gpt-x',
      'openai/small',
    ]);
  });

  test('follows the rules of 0.1.0', () => {
    const port = portFor([], {
      roles: {
        user: roleSettings({ provider: 'gemini', model: 'gemini/g' }),
        assistant: roleSettings({ provider: '' }),
        judge: roleSettings({ model: '' }),
      },
    });
    expect(ROLES.map((role) => port.usedName(role))).toEqual(['gemini/g', 'm1', 'qa_judge']);
    expect(noKey()).toBeNull();
  });
});
