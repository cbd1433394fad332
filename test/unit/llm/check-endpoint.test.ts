import { describe, expect, test } from 'vitest';
import type { EndpointConfig } from '../../../src/llm/settings.ts';
import type { EndpointHealth } from '../../../src/ports/model.ts';
import { type Answer, apiError, type ChatServer, completion, sendJson } from '../../support/chat-server.ts';
import { endpointAt, never, portFor, serverFor } from './fixtures.ts';

const models = (...ids: readonly string[]) => ({
  object: 'list',
  data: ids.map((id) => ({ id, object: 'model' })),
});
const unknown = apiError('The model does not exist', { code: 'model_not_found' });

async function checked(
  answer: Answer,
  changes: Partial<EndpointConfig> = {},
): Promise<{ readonly health: EndpointHealth; readonly server: ChatServer }> {
  const server = await serverFor(answer);
  return { health: await portFor([endpointAt(server.url, changes)]).check('one', never), server };
}

test('H7 an endpoint that lists the model and takes its key is healthy', async () => {
  const { health, server } = await checked(
    ({ headers }, response) =>
      headers.authorization === 'Bearer k'
        ? sendJson(response, 200, models('m1'))
        : sendJson(response, 401, apiError('no')),
    { key: () => 'k' },
  );
  expect(health).toEqual({ type: 'healthy', models: ['m1'] });
  expect(server.requests.map(({ path }) => path)).toEqual(['/v1/models']);
});

test('a model that is not listed but served is fine', async () => {
  const { health } = await checked(({ path }, response) =>
    sendJson(response, 200, path.endsWith('/models') ? models('other') : completion()),
  );
  expect(health.type).toBe('healthy');
});

test('a model that is not served is said with those that are', async () => {
  const { health } = await checked(({ path }, response) =>
    path.endsWith('/models')
      ? sendJson(response, 200, models('zzzzzz', 'm2'))
      : sendJson(response, 404, unknown),
  );
  expect(health).toEqual({
    type: 'unhealthy',
    reason: 'one does not serve "m1".',
    hint: 'Set the model to one that it serves, for example: m2, zzzzzz.',
  });
});

test('without a list of models, one token of the model is asked for', async () => {
  const { health, server } = await checked(({ path }, response) =>
    path.endsWith('/models') ? sendJson(response, 404, {}) : sendJson(response, 200, completion()),
  );
  expect(health).toEqual({ type: 'healthy', models: ['m1'] });
  expect(server.requests).toHaveLength(2);
});

test.each<[Partial<EndpointConfig>, RegExp]>([
  [{}, /needs a key: export MY_KEY=…/],
  [{ keyVariable: 'NODE_KEY', key: () => 'sk-wrong' }, /check the value of NODE_KEY/],
  [{ provider: 'groq', key: () => 'sk-wrong' }, /refuses the key: check the value of GROQ_API_KEY/],
])('a key that is missing or refused is said with the variable', async (changes, hint) => {
  const { health } = await checked(
    (_, response) => sendJson(response, 401, apiError('Incorrect API key provided: sk-wrong')),
    changes,
  );
  expect(health).toMatchObject({ type: 'unhealthy', hint: expect.stringMatching(hint) });
  if (changes.key !== undefined) expect(JSON.stringify(health)).not.toContain('sk-wrong');
});

describe('when nothing may be paid for', () => {
  const listing =
    (...ids: readonly string[]): Answer =>
    ({ path }, response) =>
      path.endsWith('/models') ? sendJson(response, 200, models(...ids)) : sendJson(response, 500, {});

  async function freely(answer: Answer): Promise<EndpointHealth> {
    const server = await serverFor(answer);
    const health = await portFor([endpointAt(server.url)]).check('one', never, { mayPay: false });
    expect(server.requests.map(({ path }) => path)).toEqual(['/v1/models']);
    return health;
  }

  test.for(['m1', 'm1:latest', 'm1-2026-01-31'])('a server that lists %s is healthy', async (listed) => {
    expect((await freely(listing(listed))).type).toBe('healthy');
  });

  test.for(['m10', 'm1-mini'])('one that only lists %s does not serve the model', async (listed) => {
    expect(await freely(listing(listed))).toMatchObject({
      type: 'unhealthy',
      reason: 'one does not serve "m1".',
    });
  });

  test('one without a list proves nothing', async () => {
    const health = await freely((_request, response) => sendJson(response, 404, {}));
    expect(health).toMatchObject({ type: 'unproven', reason: expect.stringContaining('"m1"') });
  });
});

test('nobody at the address is said with what to start', async () => {
  const server = await serverFor(() => undefined);
  await server.close();
  const health = await portFor([endpointAt(server.url, { provider: 'hosted_vllm' })]).check('one', never);
  expect(health).toMatchObject({
    type: 'unhealthy',
    reason: expect.stringContaining('ECONNREFUSED'),
    hint: expect.stringMatching(/vllm serve <model> --port \d+/),
  });
});
