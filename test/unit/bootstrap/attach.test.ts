/** `llm.backend: vllm_attach` from the written configuration to real servers: the check before the run, and keys. */
import { describe, expect, onTestFinished, test } from 'vitest';
import { checkAttached } from '../../../src/bootstrap/attach.ts';
import { openBackend } from '../../../src/bootstrap/backend.ts';
import { endpointChecks } from '../../../src/bootstrap/doctor/endpoint-checks.ts';
import type { Environment } from '../../../src/config/environment.ts';
import { checkRequirements } from '../../../src/config/requirements.ts';
import { messageOf } from '../../../src/kernel/errors.ts';
import { type Logger, silentLogger } from '../../../src/kernel/logger.ts';
import { MemoryStore } from '../../../src/store/memory-store.ts';
import type { ModelPort } from '../../../src/ports/model.ts';
import { apiError, type ChatServer, completion, sendJson } from '../../support/chat-server.ts';
import { load } from '../config/project.ts';
import { never, request, serverFor } from '../llm/fixtures.ts';

/** A server as vLLM is one: lists its models, to who has its key when it wants one. */
const vllm = (models: readonly string[], key: string | null = null): Promise<ChatServer> =>
  serverFor(({ path, headers }, response) => {
    if (key !== null && headers.authorization !== `Bearer ${key}`)
      return sendJson(response, 401, apiError('Unauthorized'));
    const data = models.map((id) => ({ id, object: 'model', owned_by: 'vllm' }));
    return sendJson(response, 200, path.endsWith('/models') ? { object: 'list', data } : completion());
  });

const fileless = { ...silentLogger, redact: () => undefined, close: () => undefined };

async function nobody(): Promise<string> {
  const server = await serverFor(() => undefined);
  await server.close();
  return server.url;
}

interface Opened {
  readonly port: ModelPort;
  readonly lines: readonly string[];
  readonly check: () => Promise<void>;
}

async function opened(yaml: string, env: Environment = {}): Promise<Opened> {
  const loaded = load(yaml, env);
  const { roles, keys, problems } = checkRequirements(loaded, 'run');
  expect(problems).toEqual([]);
  const lines: string[] = [];
  const logger: Logger = { log: (_level, _category, message) => void lines.push(message) };
  const backend = await openBackend({
    loaded,
    roles,
    keys,
    capabilities: new MemoryStore().capabilities,
    logger,
  });
  onTestFinished(() => backend.close());
  return { port: backend.port, lines, check: () => checkAttached(backend.port, roles, logger) };
}

const attached = (
  endpoints: string,
  agents = 'user: {model: m}, assistant: {model: m}, judge: {model: m}',
): string =>
  `judge: {enabled: true, mode: online}\nllm:\n  backend: vllm_attach\n  agents: {${agents}}\n  routing: {endpoints: ${endpoints}}\n`;

/** Why the run does not start. */
async function refusal({ check }: Opened): Promise<string> {
  try {
    await check();
  } catch (error) {
    return messageOf(error);
  }
  throw new Error('it would have started');
}

describe('the check before the run', () => {
  test('H15 addresses as texts and as mappings are asked for their models, with their own keys', async () => {
    const [plain, guarded] = [await vllm(['m']), await vllm(['m'], 'k2')];
    const run = await opened(
      attached(`["${plain.url}", {name: guarded, base_url: "${guarded.url}", api_key_env: KEY_OF_TWO}]`),
      { KEY_OF_TWO: 'k2' },
    );
    await run.check();
    expect(run.lines).toEqual([]);
    for (const { requests } of [plain, guarded])
      expect(requests.map(({ path }) => path)).toEqual(['/v1/models']);
    expect(plain.requests[0]?.headers.authorization).toBeUndefined();
    expect(guarded.requests[0]?.headers.authorization).toBe('Bearer k2');
  });

  test('goes on without those that cannot be used, and says why, one line each', async () => {
    const [good, other, guarded] = [await vllm(['m']), await vllm(['x', 'y']), await vllm(['m'], 'k')];
    const away = await nobody();
    const page = await serverFor((_, response) => void response.writeHead(404).end('<html>\n\nno\n</html>'));
    const run = await opened(
      attached(
        `[{name: good, base_url: "${good.url}"}, {name: away, base_url: "${away}"}, {name: other, base_url: "${other.url}"}, {name: guarded, base_url: "${guarded.url}"}, {name: page, base_url: "${page.url}"}]`,
      ),
    );
    await run.check();
    expect(run.lines).toHaveLength(4);
    expect(
      run.lines.every((line) => line.startsWith('[llm] going on without ') && !line.includes('\n')),
    ).toBe(true);
    const said = run.lines.join('\n');
    expect(said).toMatch(/without away: cannot be used: connection failed: .*ECONNREFUSED.* vllm serve/);
    expect(said).toMatch(/without other: does not serve "m"\. .*x, y/);
    expect(said).toMatch(/without guarded: .*401.* needs a key/);
    expect(said).toMatch(/without page: .*\/v1\/models.* ends in \/v1/);
  });

  test('does not start when a role has nobody, and names the role, the reasons and what is served', async () => {
    const [one, away] = [await vllm(['m']), await nobody()];
    const run = await opened(
      attached(`["${one.url}", "${away}"]`, 'user: {model: m}, assistant: {model: m}, judge: {model: big}'),
    );
    const message = await refusal(run);
    expect(message).toMatch(/^One or more vLLM endpoints are unhealthy:\n {2}http/);
    expect(message).toContain(`${one.url} (for judge): does not serve "big". `);
    expect(message).toMatch(/for example: m\./);
    expect(message).toContain(away);
    expect(message).toMatch(/Nobody serves: judge\./);
  });

  test('every role is asked for by itself: a server for each model is enough', async () => {
    const [small, big] = [await vllm(['m']), await vllm(['big'])];
    const run = await opened(
      attached(
        `["${small.url}", "${big.url}"]`,
        'user: {model: m}, assistant: {model: m}, judge: {model: big}',
      ),
    );
    await run.check();
    expect(run.lines.map((line) => / \((for [^)]*)\): does not serve "(\w+)"/.exec(line)?.slice(1))).toEqual([
      ['for judge', 'big'],
      ['for user, assistant', 'm'],
    ]);
  });

  test('roles and model of an endpoint count', async () => {
    const [small, big] = [await vllm(['m']), await vllm(['big'])];
    const run = await opened(
      attached(`["${small.url}", {base_url: "${big.url}", roles: [judge], model: big}]`).replace(
        `["${small.url}"`,
        `[{base_url: "${small.url}", roles: [user, assistant]}`,
      ),
    );
    await run.check();
    expect(run.lines).toEqual([]);
  });

  test('what it goes on without is sent nothing, not even by a node that has not looked; it joins when it is well', async () => {
    let models: readonly string[] = ['x'];
    const listing = (): Promise<ChatServer> =>
      serverFor(({ path }, response) =>
        sendJson(
          response,
          200,
          path.endsWith('/models') ? { object: 'list', data: models.map((id) => ({ id })) } : completion(),
        ),
      );
    const [good, other, guarded] = [await vllm(['m']), await listing(), await vllm(['m'], 'k')];
    const unlisted = await serverFor(({ path }, response) =>
      path.endsWith('/models') ? sendJson(response, 404, {}) : sendJson(response, 200, completion()),
    );
    const sick = { other, guarded, unlisted };
    const named = Object.entries(sick).map(([name, { url }]) => `{name: ${name}, base_url: "${url}"}`);
    const endpoints = attached(`["${good.url}", ${named.join(', ')}]`);
    for (const looks of [true, false]) {
      const { port, check } = await opened(endpoints);
      if (looks) await check();
      const statuses = { other: 404, guarded: 401, unlisted: 404 };
      for (const [name, status] of Object.entries(statuses))
        expect(await port.attempt(name, request(), never)).toMatchObject({ type: 'unusable', status });
      for (const { requests } of Object.values(sick))
        expect(new Set(requests.map(({ path }) => path))).toEqual(new Set(['/v1/models']));
      expect(await port.attempt(good.url, request(), never)).toMatchObject({ type: 'answered' });
      if (looks) continue;
      models = ['m'];
      for (let call = 0; call < 3; call += 1)
        expect(await port.attempt('other', request(), never)).toMatchObject({ type: 'answered' });
      const paths = other.requests.map(({ path }) => path);
      expect(paths.slice(-4)).toEqual(['/v1/models', ...Array<string>(3).fill('/v1/chat/completions')]);
    }
  });

  test('endpoints are asked at the same time', async () => {
    let arrived = 0;
    const all = Promise.withResolvers<void>();
    const meeting = async (): Promise<ChatServer> =>
      serverFor(async (_, response) => {
        arrived += 1;
        if (arrived === 3) all.resolve();
        await all.promise;
        sendJson(response, 200, { object: 'list', data: [{ id: 'm' }] });
      });
    const urls = await Promise.all([meeting(), meeting(), meeting()]);
    const run = await opened(attached(JSON.stringify(urls.map(({ url }) => url))));
    await run.check();
    expect(arrived).toBe(3);
  });

  test.each(['/v1', '/v1/', '', '/'])(
    'an old configuration with llm.mode works, with addresses that end in "%s"',
    async (end) => {
      const server = await vllm(['m']);
      const run = await opened(
        `llm:\n  mode: vllm_attach\n  agents: {user: {model: m}, assistant: {model: m}, judge: {model: m}}\n  routing:\n    endpoints:\n      - "${new URL(server.url).origin}${end}"\n`,
      );
      await run.check();
      for (const { name } of run.port.endpoints) await run.port.attempt(name, request(), never);
      expect(server.requests.map(({ path }) => path)).toEqual(['/v1/models', '/v1/chat/completions']);
    },
  );
});

test('doctor tells a server that can be spared from one that is needed', async () => {
  const [good, judges, away] = [await vllm(['m']), await vllm(['big']), await nobody()];
  const found = async (endpoints: string, judge: string) => {
    const loaded = load(
      attached(endpoints, `user: {model: m}, assistant: {model: m}, judge: {model: ${judge}}`),
    );
    const checks = await endpointChecks({ loaded, logger: fileless }, checkRequirements(loaded, 'run'));
    return checks.map(({ outcome }) => outcome);
  };
  expect(await found(`["${good.url}", "${away}"]`, 'm')).toEqual(['ok', 'warning']);
  expect(await found(`["${good.url}", "${judges.url}"]`, 'big')).toEqual(['warning', 'warning']);
  expect(await found(`["${good.url}", "${away}"]`, 'big')).toEqual(['problem', 'problem']);
});

describe('E5, H7 keys', () => {
  test('an endpoint without a key of its own is sent none, whatever keys the roles and the process have', async () => {
    const [bare, own, inline] = [await vllm(['m']), await vllm(['m']), await vllm(['m'])];
    const run = await opened(
      attached(
        `["${bare.url}", {base_url: "${own.url}", api_key_env: MINE}, {base_url: "${inline.url}", api_key: sk-inline}]`,
        'user: {model: m, provider: openai}, assistant: {model: m, provider: openai}, judge: {model: m}',
      ),
      {
        OPENAI_API_KEY: 'sk-provider',
        LLM_USER_API_KEY: 'sk-role',
        LLM_API_KEY: 'sk-shared',
        MINE: 'sk-mine',
      },
    );
    await run.check();
    for (const { name } of run.port.endpoints)
      expect(await run.port.attempt(name, request(), never)).toMatchObject({ type: 'answered' });
    const sent = ({ requests }: ChatServer): unknown[] =>
      requests.map(({ headers }) => headers.authorization ?? null);
    expect([sent(bare), sent(own), sent(inline)]).toEqual([
      [null, null],
      ['Bearer sk-mine', 'Bearer sk-mine'],
      ['Bearer sk-inline', 'Bearer sk-inline'],
    ]);
    expect(JSON.stringify(bare.requests)).not.toContain('sk-');
  });
});

describe('H6 fields of an endpoint', () => {
  test.for(['timeout', 'timeout_s'])(
    'name, weight, max_in_flight, model and %s are obeyed',
    async (field) => {
      const silent = await serverFor(({ path }, response) =>
        path.endsWith('/models') ? sendJson(response, 200, { data: [{ id: 'served' }] }) : undefined,
      );
      const { port } = await opened(
        attached(
          `[{name: gpu, base_url: "${silent.url}", weight: 2.5, max_in_flight: 3, model: served, ${field}: 0.1}]`,
        ),
      );
      expect(port.endpoints).toMatchObject([{ name: 'gpu', weight: 2.5, maxInFlight: 3 }]);
      expect(await port.attempt('gpu', request(), never)).toMatchObject({
        type: 'retry_later',
        cause: 'timeout',
      });
      expect(silent.requests.at(-1)?.body['model']).toBe('served');
    },
  );

  test('the limit is 64 where none is named', async () => {
    const { port } = await opened(attached(`["${(await vllm(['m'])).url}"]`));
    expect(port.endpoints).toMatchObject([{ maxInFlight: 64 }]);
  });
});
