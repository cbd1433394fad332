import { describe, expect, onTestFinished, test } from 'vitest';
import { createModelCalls, type ModelCalls } from '../../../../src/actors/endpoint-router/model-calls.ts';
import { Pool } from '../../../../src/actors/endpoint-router/pool.ts';
import { createLocalRouter } from '../../../../src/actors/endpoint-router/router.ts';
import { type Clock, systemClock } from '../../../../src/kernel/clock.ts';
import { silentLogger } from '../../../../src/kernel/logger.ts';
import { type EndpointConfig, type RoleSettings } from '../../../../src/llm/settings.ts';
import { type Answer, apiError, completion, sendJson } from '../../../support/chat-server.ts';
import { SimulatedClock } from '../../../support/simulated-clock.ts';
import {
  endpointAt,
  never,
  portFor,
  rememberedFormats,
  request,
  roleSettings,
  serverFor,
} from '../../llm/fixtures.ts';

interface Setup {
  readonly endpoints: readonly EndpointConfig[];
  readonly settings?: Partial<RoleSettings>;
  readonly clock?: Clock;
  readonly patienceMs?: number;
}

/** Real HTTP below; the clock of waits and pauses may be simulated, jitter is a tenth of its span. */
function callsOver({
  endpoints,
  settings = {},
  clock = systemClock,
  patienceMs = 600_000,
}: Setup): ModelCalls {
  const role = roleSettings(settings);
  const known = Object.fromEntries(endpoints.map(({ baseUrl }) => [`${baseUrl} m1`, 'json_schema' as const]));
  const port = portFor(endpoints, {
    roles: { user: role, assistant: role, judge: role },
    capabilities: rememberedFormats(known),
  });
  const router = createLocalRouter(
    new Pool({ runs: [{ runId: 'R', endpoints: port.endpoints }] }),
    clock,
    'R',
  );
  onTestFinished(() => router.close());
  return createModelCalls({ router, port, clock, patienceMs, logger: silentLogger, random: () => 0.1 });
}

const options = { conversation: 'c', priority: 0, signal: never };

/** Waits for a state that real sockets bring about. */
async function until(holds: () => boolean): Promise<void> {
  const deadline = Date.now() + 5_000;
  while (!holds()) {
    if (Date.now() > deadline) throw new Error('it does not hold after 5 s');
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const answers: Answer = (_, response) => sendJson(response, 200, completion());
/** Fails the first `count` requests in this way, then answers. */
const after =
  (count: number, fails: Answer): Answer =>
  (seen, response) =>
    seen.number < count ? fails(seen, response) : answers(seen, response);
const status =
  (code: number, headers: Record<string, string> = {}): Answer =>
  (_, response) =>
    sendJson(response, code, apiError('trouble'), headers);

describe('a call is answered in the end', () => {
  test.each<[string, Answer, string]>([
    ['500', status(500), 'server'],
    ['a reset', (_, response) => void response.socket?.resetAndDestroy(), 'connection'],
    ['a stall', () => undefined, 'timeout'],
    [
      'a truncated body',
      (_, response) =>
        void response.writeHead(200, { 'content-length': '99' }).write('{', () => response.destroy()),
      'connection',
    ],
    [
      'a text',
      (_, response) => void response.writeHead(200, { 'content-type': 'text/plain' }).end('hi'),
      'unreadable',
    ],
    ['a 429 without Retry-After', status(429), 'rate_limit'],
  ])('after %s, twice', async (_name, fails, cause) => {
    const server = await serverFor(after(2, fails));
    // Short only where it is waited for: a busy machine takes its time.
    const settings = { timeoutMs: cause === 'timeout' ? 400 : 10_000 };
    const calls = callsOver({ endpoints: [endpointAt(server.url)], settings });
    expect(await calls.call(request(), options)).toMatchObject({
      type: 'answered',
      retries: 2,
    });
    expect(await calls.stats()).toMatchObject({
      calls: 1,
      attempts: 3,
      retries: { [cause]: 2 },
      promptTokens: 10,
      cachedTokens: 8,
      completionTokens: 4,
    });
  });

  test.each(['2', '75'])('after the %s seconds of a Retry-After, not earlier', async (seconds) => {
    const server = await serverFor(after(1, status(429, { 'retry-after': seconds })));
    const clock = new SimulatedClock();
    const calls = callsOver({ endpoints: [endpointAt(server.url)], clock });
    const call = calls.call(request(), options);
    await until(() => clock.nextAtMs === Number(seconds) * 1000);
    clock.advance(Number(seconds) * 1000 - 1);
    await clock.settle();
    expect(server.requests).toHaveLength(1);
    clock.advance(1);
    expect(await call).toMatchObject({ type: 'answered', retries: 1 });
  });

  test('also after a Retry-After that is longer than the patience', async () => {
    const server = await serverFor(after(1, status(429, { 'retry-after': '3600' })));
    const clock = new SimulatedClock();
    const call = callsOver({ endpoints: [endpointAt(server.url)], clock, patienceMs: 60_000 }).call(
      request(),
      options,
    );
    await until(() => clock.nextAtMs === 60_000);
    clock.advance(60_000);
    await until(() => clock.nextAtMs === 3_600_000);
    clock.advance(3_540_000);
    expect(await call).toMatchObject({ type: 'answered' });
  });

  test('by another endpoint when the first is down', async () => {
    const [down, up] = [await serverFor(status(503)), await serverFor(answers)];
    const calls = callsOver({ endpoints: [endpointAt(down.url), endpointAt(up.url, { name: 'two' })] });
    const results = await Promise.all(Array.from({ length: 10 }, () => calls.call(request(), options)));
    expect(results.every((result) => result.type === 'answered' && result.answer.endpoint === 'two')).toBe(
      true,
    );
  });

  test('by another endpoint when the first refuses the key', async () => {
    const [locked, open] = [await serverFor(status(401)), await serverFor(answers)];
    const calls = callsOver({ endpoints: [endpointAt(locked.url), endpointAt(open.url, { name: 'two' })] });
    for (let call = 0; call < 5; call += 1)
      expect(await calls.call(request(), options)).toMatchObject({
        type: 'answered',
        answer: { endpoint: 'two' },
      });
    expect(locked.requests.length).toBeLessThanOrEqual(1);
  });
});

describe('limits', () => {
  test('E2 20 concurrent calls with max_in_flight 1: the server never sees two', async () => {
    const server = await serverFor(
      (_, response) => void setTimeout(() => sendJson(response, 200, completion()), 5),
    );
    const calls = callsOver({ endpoints: [endpointAt(server.url, { maxInFlight: 1 })] });
    await Promise.all(Array.from({ length: 20 }, () => calls.call(request(), options)));
    expect(server.requests).toHaveLength(20);
    expect(server.mostInFlight()).toBe(1);
  });

  test('a call that waits to try again holds no permit', async () => {
    const server = await serverFor(after(1, status(500)));
    const clock = new SimulatedClock();
    const calls = callsOver({ endpoints: [endpointAt(server.url, { maxInFlight: 1 })], clock });
    const unlucky = calls.call(request(), options);
    await until(() => server.requests.length === 1 && clock.nextAtMs !== null && clock.nextAtMs <= 50);
    expect(await calls.call(request(), options)).toMatchObject({ type: 'answered', retries: 0 });
    clock.advance(50);
    expect(await unlucky).toMatchObject({ type: 'answered', retries: 1 });
  });

  test('I1: nothing is sent for a caller that is not to make the call any more, and its permit is free again', async () => {
    const server = await serverFor(after(1, status(500)));
    const calls = callsOver({ endpoints: [endpointAt(server.url, { maxInFlight: 1 })] });
    let asked = 0;
    const confirm = async (): Promise<void> => {
      asked += 1;
      if (asked === 2) throw new Error('another has it');
    };
    await expect(calls.call(request(), { ...options, confirm })).rejects.toThrow('another has it');
    expect(server.requests).toHaveLength(1);
    expect(await calls.call(request(), options)).toMatchObject({ type: 'answered' });
  });

  test('E4 an endpoint that fails fast beside a slow good one gets a few requests of 100', async () => {
    const broken = await serverFor(status(500));
    const slow = await serverFor(
      (_, response) => void setTimeout(() => sendJson(response, 200, completion()), 20),
    );
    const calls = callsOver({ endpoints: [endpointAt(broken.url), endpointAt(slow.url, { name: 'slow' })] });
    const work = Array.from({ length: 10 }, async () => {
      for (let call = 0; call < 10; call += 1) await calls.call(request(), options);
    });
    await Promise.all(work);
    expect(slow.requests).toHaveLength(100);
    expect(broken.requests.length).toBeLessThanOrEqual(6);
  });
});

describe('a call ends without an answer', () => {
  test.each([
    [401, 'credentials'],
    [404, 'endpoint'],
  ])('when %i leaves no endpoint, with what to do', async (code, expected) => {
    const server = await serverFor(status(code));
    const calls = callsOver({ endpoints: [endpointAt(server.url)] });
    await expect(calls.call(request(), options)).rejects.toMatchObject({
      code: expected,
      retryable: false,
      message: expect.stringContaining('dlgforge doctor'),
    });
    expect(server.requests).toHaveLength(1);
  });

  test('when the request is refused', async () => {
    const server = await serverFor((_, response) =>
      sendJson(response, 400, apiError('too long', { code: 'context_length_exceeded' })),
    );
    const calls = callsOver({ endpoints: [endpointAt(server.url)] });
    expect(await calls.call(request(), options)).toMatchObject({
      type: 'refused',
      reason: expect.stringContaining('too long for the model'),
    });
    expect(server.requests).toHaveLength(1);
  });

  test('when the retries that the user allows are used up; rate limits are none of them', async () => {
    const server = await serverFor((seen, response) =>
      (seen.number === 1 ? status(429, { 'retry-after-ms': '1' }) : status(500))(seen, response),
    );
    const calls = callsOver({ endpoints: [endpointAt(server.url)], settings: { maxRetries: 1 } });
    expect(await calls.call(request(), options)).toMatchObject({
      type: 'refused',
      reason: expect.stringContaining('after 2 attempts'),
    });
    expect(server.requests).toHaveLength(3);
  });

  test('when nobody has answered for the whole patience: the run stops and can go on later', async () => {
    const server = await serverFor(status(503));
    const clock = new SimulatedClock();
    const call = callsOver({ endpoints: [endpointAt(server.url)], clock, patienceMs: 120_000 }).call(
      request(),
      options,
    );
    const state = { ended: false };
    const watched = call.catch((error: unknown) => error).finally(() => (state.ended = true));
    while (!state.ended) {
      await until(() => state.ended || (clock.nextAtMs ?? Number.POSITIVE_INFINITY) <= 121_000);
      if (!state.ended) clock.advance((clock.nextAtMs ?? 0) - clock.now());
    }
    expect(await watched).toMatchObject({
      code: 'endpoint',
      retryable: true,
      message: expect.stringContaining('120 s'),
    });
    expect(clock.now()).toBeLessThanOrEqual(121_000);
    expect(server.requests.length).toBeLessThan(40);
  });

  test('when it alone fails while others are answered: it is refused', async () => {
    const server = await serverFor(({ body }, response) =>
      (JSON.stringify(body).includes('poison') ? status(500) : answers)({ body } as never, response),
    );
    const clock = new SimulatedClock();
    const calls = callsOver({ endpoints: [endpointAt(server.url)], clock, patienceMs: 60_000 });
    const poison = calls.call(request('user', { messages: [{ role: 'user', content: 'poison' }] }), options);
    const state = { ended: false };
    void poison.finally(() => (state.ended = true));
    while (!state.ended) {
      await until(() => state.ended || clock.pending > 0);
      if (state.ended) break;
      clock.advance(Math.min(5_000, Math.max(0, (clock.nextAtMs ?? 0) - clock.now())));
      expect(await calls.call(request(), options)).toMatchObject({ type: 'answered' });
    }
    expect(await poison).toMatchObject({
      type: 'refused',
      reason: expect.stringContaining('while other requests were answered'),
    });
  });

  test.each(['waiting for a permit', 'under way', 'waiting to try again'])(
    'when it is cancelled while %s',
    async (where) => {
      const server = await serverFor(where === 'waiting to try again' ? status(500) : () => undefined);
      const calls = callsOver({
        endpoints: [endpointAt(server.url, { maxInFlight: 1 })],
        clock: new SimulatedClock(),
      });
      const other = new AbortController();
      const first =
        where === 'waiting for a permit' ? calls.call(request(), { ...options, signal: other.signal }) : null;
      if (first !== null) await until(() => server.requests.length === 1);
      const abort = new AbortController();
      const call = calls.call(request(), { ...options, signal: abort.signal });
      const ends = expect(call).rejects.toMatchObject({ code: 'cancelled' });
      await until(() => server.requests.length === 1);
      abort.abort();
      await ends;
      other.abort();
      await expect(
        first ?? Promise.reject(Object.assign(new Error('none'), { code: 'cancelled' })),
      ).rejects.toMatchObject({ code: 'cancelled' });
      expect((await calls.stats()).endpoints[0]?.inFlight).toBe(0);
    },
  );
});

describe('an endpoint that this process does not know', () => {
  /** The router grants what the port has not heard of. */
  function callsWithout(known: readonly EndpointConfig[], granted: readonly EndpointConfig[], clock: Clock) {
    const role = roleSettings({ maxRetries: 0 });
    const port = portFor(granted, { roles: { user: role, assistant: role, judge: role } });
    const pool = new Pool({ runs: [{ runId: 'R', endpoints: port.endpoints }] });
    port.setEndpoints(known);
    const router = createLocalRouter(pool, clock, 'R');
    onTestFinished(() => router.close());
    const whyWaiting = () => 'every endpoint of the user is drained';
    const calls = createModelCalls({
      router,
      port,
      clock,
      patienceMs: 3_000,
      logger: silentLogger,
      whyWaiting,
    });
    return { calls, port, pool };
  }

  test('sends the call to another one, and counts as no failure of the row', async () => {
    const server = await serverFor(answers);
    const one = endpointAt(server.url);
    const { calls } = callsWithout(
      [one],
      [endpointAt('http://127.0.0.1:1/v1', { name: 'new' }), one],
      systemClock,
    );
    // With no retry allowed, a failure would refuse the call.
    expect(await calls.call(request(), options)).toMatchObject({ type: 'answered', retries: 0 });
    expect(calls.counted().refused).toBe(0);
  });

  test('makes the call wait until it is known', async () => {
    const server = await serverFor(answers);
    const { calls, port } = callsWithout([], [endpointAt(server.url)], systemClock);
    const call = calls.call(request(), options);
    await until(() => calls.counted().attempts > 0);
    port.setEndpoints([endpointAt(server.url)]);
    expect(await call).toMatchObject({ type: 'answered', retries: 0 });
  });

  test('H: ends the patience of a role with the reason that it waited for', async () => {
    const clock = new SimulatedClock();
    const { calls } = callsWithout([], [endpointAt('http://127.0.0.1:1/v1', { isDraining: true })], clock);
    const call = calls.call(request(), options);
    const failed = expect(call).rejects.toThrow('every endpoint of the user is drained');
    clock.advance(3_000);
    await failed;
  });
});
