/** The endpoints of a port change while its calls are under way. */
import { describe, expect, it } from 'vitest';
import { completion, sendJson } from '../../support/chat-server.ts';
import { endpointAt, never, portFor, request, roleSettings, serverFor } from './fixtures.ts';

const answering = (content: string) =>
  serverFor((_, response) => sendJson(response, 200, completion(content)));

describe('a port whose endpoints change', () => {
  it('asks those of now, and sends nothing to others', async () => {
    const [first, second] = [await answering('first'), await answering('second')];
    const port = portFor([endpointAt(first.url)]);
    port.setEndpoints([endpointAt(second.url, { name: 'two' })]);
    expect(port.endpoints.map(({ name }) => name)).toEqual(['two']);
    expect(await port.attempt('two', request(), never)).toMatchObject({
      type: 'answered',
      answer: { content: 'second', endpoint: 'two' },
    });
    expect(await port.attempt('one', request(), never)).toEqual({
      type: 'elsewhere',
      reason: 'one is not known here',
    });
    port.setEndpoints([endpointAt(second.url)]);
    expect(await port.attempt('one', request(), never)).toMatchObject({ answer: { content: 'second' } });
    expect([first.requests.length, second.requests.length]).toEqual([0, 2]);
  });

  it('finishes what is under way at an endpoint that is gone, under the name of its model', async () => {
    const asked = Promise.withResolvers<void>();
    const answer = Promise.withResolvers<void>();
    const server = await serverFor(async (_, response) => {
      asked.resolve();
      await answer.promise;
      sendJson(response, 200, completion());
    });
    const port = portFor([endpointAt(server.url, { model: 'its own' })]);
    const attempt = port.attempt('one', request(), never);
    await asked.promise;
    port.setEndpoints([]);
    answer.resolve();
    expect(await attempt).toMatchObject({ type: 'answered', answer: { endpoint: 'one', model: 'its own' } });
    expect(port.usedName('user', 'one')).toBe('openai/its own');
  });

  it('takes its time-outs from the endpoints of now', () => {
    const port = portFor([endpointAt('http://127.0.0.1:1/v1')], {
      roles: { user: roleSettings({ timeoutMs: 5 }) },
    });
    expect(port.timeoutMs('user')).toBe(5);
    const slow = endpointAt('http://127.0.0.1:2/v1', { name: 'slow', roles: ['user'], timeoutMs: 70 });
    port.setEndpoints([endpointAt('http://127.0.0.1:1/v1'), slow]);
    expect(port.timeoutMs('user')).toBe(70);
  });

  it('I8: sends nothing where the key that was named is missing, and says which variable', async () => {
    const server = await answering('never');
    const port = portFor([endpointAt(server.url, { keyVariable: 'MY_KEY' })]);
    const lacking = 'the key of one is missing here: the environment variable MY_KEY is not set';
    expect(await port.attempt('one', request(), never)).toEqual({
      type: 'unusable',
      status: 401,
      reason: lacking,
    });
    expect(await port.check('one', never)).toMatchObject({ type: 'unhealthy', reason: `${lacking}.` });
    expect(server.requests).toEqual([]);
    port.setEndpoints([endpointAt(server.url, { keyVariable: 'MY_KEY', key: () => 'a key' })]);
    expect(await port.attempt('one', request(), never)).toMatchObject({ type: 'answered' });
    expect(server.requests[0]?.headers.authorization).toBe('Bearer a key');
  });
});
