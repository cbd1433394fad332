/** Endpoints that fail now and then, fall silent, or may not be there: what they still get, and who finds out. */
import { describe, expect, test } from 'vitest';
import { createModelCalls, type ModelCalls } from '../../../../src/actors/endpoint-router/model-calls.ts';
import type { PermitOutcome } from '../../../../src/actors/endpoint-router/endpoint-state.ts';
import type { Decision, RunRegistration } from '../../../../src/actors/endpoint-router/permits.ts';
import { Pool } from '../../../../src/actors/endpoint-router/pool.ts';
import { createLocalRouter } from '../../../../src/actors/endpoint-router/router.ts';
import { ROLES } from '../../../../src/dialogue/chat.ts';
import { silentLogger } from '../../../../src/kernel/logger.ts';
import { uniform } from '../../../../src/kernel/random.ts';
import type { EndpointSpec } from '../../../../src/ports/model.ts';
import { apiError, type ChatServer, completion, sendJson } from '../../../support/chat-server.ts';
import { SimulatedClock } from '../../../support/simulated-clock.ts';
import { endpointAt, never, portFor, rememberedFormats, request, serverFor } from '../../llm/fixtures.ts';

const answered: PermitOutcome = { type: 'answered' };
const failed: PermitOutcome = { type: 'failed', retryAfterMs: null };
const spec = (name: string, maxInFlight = 64): EndpointSpec => ({
  name,
  roles: ROLES,
  weight: 1,
  maxInFlight,
});

function poolOf(specs: readonly EndpointSpec[], run: Partial<RunRegistration> = {}) {
  const pool = new Pool({ runs: [{ runId: 'R', endpoints: specs, ...run }] });
  const granted = new Map<string, Extract<Decision, { type: 'granted' }>>();
  const state = { nowMs: 0, tickets: 0 };
  const note = (decisions: readonly Decision[]): void => {
    for (const decision of decisions) if (decision.type === 'granted') granted.set(decision.ticket, decision);
  };
  return {
    ask(avoid: string | null = null): string {
      state.tickets += 1;
      const ticket = `t${state.tickets}`;
      const wish = { ticket, runId: 'R', role: 'user' as const, conversation: ticket, priority: 0, avoid };
      note(pool.acquire({ ...wish, deadlineAtMs: 1e12, leaseMs: 1e12 }, state.nowMs));
      return ticket;
    },
    release: (ticket: string, outcome: PermitOutcome = answered): void =>
      note(pool.release(ticket, outcome, state.nowMs)),
    advance(ms: number): void {
      state.nowMs += ms;
      note(pool.tick(state.nowMs));
    },
    where: (ticket: string): string | null => granted.get(ticket)?.endpoint ?? null,
    isProbe: (ticket: string): boolean => granted.get(ticket)?.isProbe === true,
    stateOf: (name: string) => pool.stats(state.nowMs).find(({ endpoint }) => endpoint === name)?.state,
    now: () => state.nowMs,
  };
}

describe('no progress', () => {
  const silentFor = (it: ReturnType<typeof poolOf>, ms: number): string[] => {
    const running = [it.ask(), it.ask(), it.ask()];
    it.advance(ms);
    return running;
  };

  test('an endpoint from which nothing comes back gets nothing more, long before its calls time out', () => {
    const it = poolOf([spec('a')]);
    silentFor(it, 119_999);
    expect(it.where(it.ask())).toBe('a');
    it.advance(1);
    expect(it.where(it.ask())).toBeNull();
    expect(it.stateOf('a')).toBe('sick');
  });

  test('the first time-out after that opens the circuit', () => {
    const it = poolOf([spec('a')]);
    const [first, second, third] = silentFor(it, 200_000) as [string, string, string];
    it.release(first, failed);
    const next = it.ask();
    it.release(second, failed);
    it.release(third, failed);
    expect(it.where(next)).toBeNull();
    it.advance(1_000);
    expect([it.where(next), it.isProbe(next)]).toEqual(['a', true]);
  });

  test('an answer takes it back as it was: it was slow, and is given more time from then on', () => {
    const it = poolOf([spec('a')]);
    const [first = ''] = silentFor(it, 200_000);
    const waiting = Array.from({ length: 20 }, () => it.ask());
    expect(waiting.every((ticket) => it.where(ticket) === null)).toBe(true);
    it.release(first);
    expect(waiting.every((ticket) => it.where(ticket) === 'a')).toBe(true);
    it.advance(4 * 200_000 - 1);
    expect(it.where(it.ask())).toBe('a');
    it.advance(1);
    expect(it.where(it.ask())).toBeNull();
  });

  test('an idle endpoint is not silent', () => {
    const it = poolOf([spec('a')]);
    it.release(it.ask());
    it.advance(10_000_000);
    expect(it.where(it.ask())).toBe('a');
  });

  test('the others carry on meanwhile', () => {
    const it = poolOf([spec('a'), spec('b')]);
    const silent = it.ask('b');
    expect(it.where(silent)).toBe('a');
    it.advance(120_000);
    const rest = Array.from({ length: 10 }, () => it.ask());
    it.release(rest[0] as string);
    for (const ticket of rest.slice(0, 4)) expect(it.where(ticket)).toBe('b');
  });
});

test('E4 an endpoint that fails every second time, at once, attracts nothing beside one that takes 5 s', () => {
  const it = poolOf([spec('shaky'), spec('steady')]);
  const running: { readonly ticket: string; readonly endsAtMs: number }[] = [];
  const share = { shaky: 0, steady: 0 };
  // Both are past their careful start.
  for (let call = 0; call < 400; call += 1) it.release(it.ask(call % 2 === 0 ? 'shaky' : 'steady'));
  for (let call = 0; call < 1_000; call += 1) {
    let ticket = it.ask();
    while (it.where(ticket) === 'shaky') {
      share.shaky += 1;
      const isAnswered = uniform(['shaky', share.shaky]) < 0.5;
      it.release(ticket, isAnswered ? answered : failed);
      if (isAnswered) break;
      ticket = it.ask('shaky');
    }
    if (it.where(ticket) === 'steady') {
      share.steady += 1;
      running.push({ ticket, endsAtMs: it.now() + 5_000 });
    }
    it.advance(200);
    while (running[0] !== undefined && running[0].endsAtMs <= it.now())
      it.release(running.shift()?.ticket as string);
  }
  // Twenty-five calls at a time are at the other: one that only looked at those in flight would send all here.
  expect(share.shaky).toBeLessThan(250);
  expect(share.steady).toBeGreaterThan(800);
});

describe('whether anybody is there', () => {
  const models = { object: 'list', data: [{ id: 'm1' }] };
  /** Serves when `isUp()`, otherwise closes connections; its chat may be broken while its list of models works. */
  const replica = (isUp: () => boolean, chat: () => boolean = () => true): Promise<ChatServer> =>
    serverFor(({ path }, response) => {
      if (!isUp()) return void response.socket?.destroy();
      if (path.endsWith('/models')) return sendJson(response, 200, models);
      return chat() ? sendJson(response, 200, completion()) : sendJson(response, 500, apiError('broken'));
    });
  const chats = ({ requests }: ChatServer): number =>
    requests.filter(({ path }) => path.endsWith('/completions')).length;

  function callsOver(
    servers: readonly ChatServer[],
    clock: SimulatedClock,
    run: Partial<RunRegistration>,
  ): ModelCalls {
    const endpoints = servers.map(({ url }, index) => endpointAt(url, { name: `r${index}` }));
    const known = Object.fromEntries(servers.map(({ url }) => [`${url} m1`, 'json_schema' as const]));
    const port = portFor(endpoints, { capabilities: rememberedFormats(known) });
    const pool = new Pool({ runs: [{ runId: 'R', endpoints: port.endpoints, ...run }] });
    const router = createLocalRouter(pool, clock, 'R');
    return createModelCalls({
      router,
      port,
      clock,
      patienceMs: 600_000,
      logger: silentLogger,
      random: () => 0,
    });
  }

  const call = (calls: ModelCalls, conversation: string) =>
    calls.call(request(), { conversation, priority: 0, signal: never });

  test('is asked before a server that was away at the start is sent anything; it joins when it answers', async () => {
    let isUp = false;
    const [away, there] = [await replica(() => isUp), await replica(() => true)];
    const clock = new SimulatedClock();
    const calls = callsOver([away, there], clock, { asksFirst: true });
    const first = await Promise.all(Array.from({ length: 20 }, (_, index) => call(calls, `c${index}`)));
    expect(first.every((result) => result.type === 'answered' && result.answer.endpoint === 'r1')).toBe(true);
    expect([chats(away), chats(there)]).toEqual([0, 20]);
    expect(away.requests.length).toBeLessThanOrEqual(4);
    // Nobody tried it as an attempt: no retries are counted against the calls.
    expect(calls.counted()).toMatchObject({ attempts: 20, calls: 20 });
    isUp = true;
    clock.advance(30_000);
    for (let number = 0; number < 10; number += 1) await call(calls, `later-${number}`);
    expect(chats(away)).toBeGreaterThan(0);
  });

  test('is asked of one whose circuit is open, and not of others', async () => {
    let isUp = true;
    let isWell = false;
    const [one, other] = [
      await replica(
        () => isUp,
        () => isWell,
      ),
      await replica(() => true),
    ];
    const clock = new SimulatedClock();
    const calls = callsOver([one, other], clock, {});
    await Promise.all(Array.from({ length: 8 }, (_, number) => call(calls, `c${number}`)));
    const paid = chats(one);
    expect(one.requests.length).toBe(paid);
    isUp = false;
    for (let round = 0; round < 5; round += 1) {
      clock.advance(31_000);
      await call(calls, `away-${round}`);
    }
    expect(chats(one)).toBe(paid);
    expect(one.requests.length).toBeGreaterThan(paid);
    [isUp, isWell] = [true, true];
    clock.advance(31_000);
    for (let number = 0; number < 10; number += 1) await call(calls, `back-${number}`);
    expect(chats(one)).toBeGreaterThan(paid);
    expect(other.requests.every(({ path }) => path.endsWith('/completions'))).toBe(true);
  });
});
