/** `prefix_affinity`: where a conversation goes, when it leaves, and what moves when replicas come and go. */
import { describe, expect, test } from 'vitest';
import type { PermitOutcome } from '../../../../src/actors/endpoint-router/endpoint-state.ts';
import type { Decision } from '../../../../src/actors/endpoint-router/permits.ts';
import { Pool } from '../../../../src/actors/endpoint-router/pool.ts';
import { ROLES, type Role } from '../../../../src/dialogue/chat.ts';
import type { EndpointSpec } from '../../../../src/ports/model.ts';

const answered: PermitOutcome = { type: 'answered' };
const failed: PermitOutcome = { type: 'failed', retryAfterMs: null };
const replica = (name: string, changes: Partial<EndpointSpec> = {}): EndpointSpec => ({
  name,
  roles: ROLES,
  weight: 1,
  maxInFlight: 16,
  ...changes,
});
const named = (...names: readonly string[]): EndpointSpec[] => names.map((name) => replica(name));

/** A router with its time; every replica has answered often enough to be past its careful start. */
function routerOf(replicas: readonly EndpointSpec[]) {
  const pool = new Pool({ runs: [{ runId: 'R', endpoints: replicas, strategy: 'prefix_affinity' }] });
  const state = { nowMs: 0, tickets: 0 };
  const placed = new Map<string, string>();
  const note = (decisions: readonly Decision[]): void => {
    for (const decision of decisions)
      if (decision.type === 'granted') placed.set(decision.ticket, decision.endpoint);
  };
  const it = {
    pool,
    /** A call that is under way: its ticket. */
    begin(conversation: string, role: Role = 'user'): string {
      state.tickets += 1;
      const ticket = `t${state.tickets}`;
      const request = { ticket, runId: 'R', role, conversation, priority: 0, avoid: null };
      note(pool.acquire({ ...request, deadlineAtMs: 1e12, leaseMs: 1e12 }, state.nowMs));
      return ticket;
    },
    end(ticket: string, outcome: PermitOutcome = answered, afterMs = 0): void {
      state.nowMs += afterMs;
      note(pool.release(ticket, outcome, state.nowMs));
    },
    where: (ticket: string): string | undefined => placed.get(ticket),
    /** A whole call: who answered it. */
    call(conversation: string, role: Role = 'user'): string | undefined {
      const ticket = it.begin(conversation, role);
      it.end(ticket);
      return placed.get(ticket);
    },
    change: (make: (nowMs: number) => readonly Decision[]): void => note(make(state.nowMs)),
    advance(ms: number): void {
      state.nowMs += ms;
      note(pool.tick(state.nowMs));
    },
  };
  for (let call = 0; call < 40 * replicas.length; call += 1) it.call(`warm-${call}`);
  return it;
}

const conversations = Array.from({ length: 300 }, (_, number) => `c${number}`);

describe('a conversation', () => {
  test('E1 stays where it was served, in all roles', () => {
    const it = routerOf(named('a', 'b', 'c'));
    const homes = new Map(conversations.map((name) => [name, it.call(name)]));
    expect(new Set(homes.values()).size).toBe(3);
    for (const role of ROLES)
      for (const name of conversations) expect(it.call(name, role)).toBe(homes.get(name));
  });

  test('a role goes back to where its own prompt was served, not where another role had to go', () => {
    const it = routerOf([replica('a', { roles: ['user', 'judge'] }), replica('b', { roles: ['judge'] })]);
    const homes = conversations.map((name) => [it.call(name, 'user'), it.call(name, 'judge')]);
    expect(homes.every(([user, judge]) => user === 'a' && judge === 'a')).toBe(true);
    const other = routerOf([replica('a', { roles: ['user'] }), replica('b', { roles: ['judge'] })]);
    for (const name of conversations) {
      expect([other.call(name, 'judge'), other.call(name, 'user'), other.call(name, 'judge')]).toEqual([
        'b',
        'a',
        'b',
      ]);
    }
  });

  test('leaves a replica that is loaded far above the least loaded, however much room it has', () => {
    const it = routerOf([replica('a', { maxInFlight: 64 }), replica('b', { maxInFlight: 64 })]);
    const mine = conversations.filter((name) => it.call(name) === 'a').slice(0, 40);
    const tickets = mine.map((name) => it.begin(name));
    const stayed = tickets.filter((ticket) => it.where(ticket) === 'a').length;
    // Twice the least loaded and a few more: neither all, nor half and half.
    expect(stayed).toBeGreaterThan(20);
    expect(stayed).toBeLessThan(32);
  });

  test('stays when others are loaded as much', () => {
    const it = routerOf(named('a', 'b'));
    const homes = new Map(conversations.map((name) => [name, it.call(name)]));
    const of = (home: string): string[] => conversations.filter((name) => homes.get(name) === home);
    const [ofA, ofB] = [of('a'), of('b')];
    for (let each = 0; each < 16; each += 1)
      for (const name of [ofA[each], ofB[each]] as string[])
        expect(it.where(it.begin(name))).toBe(homes.get(name));
  });

  test('leaves a replica that is sick, and goes elsewhere for good', () => {
    const it = routerOf(named('a', 'b'));
    const mine = conversations.filter((name) => it.call(name) === 'a').slice(0, 6);
    for (const name of mine) {
      const ticket = it.begin(name);
      it.end(ticket, it.where(ticket) === 'a' ? failed : answered);
    }
    for (const name of mine) expect(it.call(name)).toBe('b');
    it.advance(5_000);
    for (const name of mine) expect(it.call(name)).toBe('b');
  });

  test('leaves a replica that answers ten times slower than another', () => {
    const it = routerOf(named('a', 'b'));
    const mine = conversations.filter((name) => it.call(name) === 'a').slice(0, 30);
    for (const name of mine) {
      const ticket = it.begin(name);
      it.end(ticket, answered, it.where(ticket) === 'a' ? 1_000 : 100);
    }
    const moved = mine.filter((name) => it.call(name) === 'b');
    expect(moved.length).toBeGreaterThan(25);
  });
});

describe('when replicas come and go', () => {
  const placesOf = (it: ReturnType<typeof routerOf>): ReadonlyMap<string, string | undefined> =>
    new Map(conversations.map((name) => [name, it.call(name)]));
  const movedBetween = (
    before: ReadonlyMap<string, string | undefined>,
    after: ReadonlyMap<string, string | undefined>,
  ): string[] => conversations.filter((name) => before.get(name) !== after.get(name));

  test('one that joins moves no conversation that is under way', () => {
    const it = routerOf(named('a', 'b'));
    const before = placesOf(it);
    it.change((nowMs) => it.pool.addEndpoint('R', replica('c'), nowMs));
    expect(movedBetween(before, placesOf(it))).toEqual([]);
    const fresh = Array.from({ length: 90 }, (_, number) => it.call(`fresh-${number}`));
    expect(fresh.filter((place) => place === 'c').length).toBeGreaterThan(15);
  });

  test.for(['drained', 'removed'])('one that is %s moves its own conversations and no others', (how) => {
    const it = routerOf(named('a', 'b', 'c'));
    const before = placesOf(it);
    it.change((nowMs) =>
      how === 'drained' ? it.pool.drainEndpoint('R', 'c', nowMs) : it.pool.removeEndpoint('R', 'c', nowMs),
    );
    const after = placesOf(it);
    expect(movedBetween(before, after)).toEqual(conversations.filter((name) => before.get(name) === 'c'));
    // They are spread over those that are left.
    const moved = movedBetween(before, after).filter((name) => after.get(name) === 'a').length;
    expect(moved).toBeGreaterThan(20);
  });

  test('a new router, which remembers nothing, sends them to the same replicas', () => {
    const first = placesOf(routerOf(named('a', 'b', 'c', 'd')));
    expect(movedBetween(first, placesOf(routerOf(named('d', 'b', 'a', 'c'))))).toEqual([]);
    // With one replica more, only what the new one gets moves.
    const grown = placesOf(routerOf(named('a', 'b', 'c', 'd', 'e')));
    const moved = movedBetween(first, grown);
    expect(moved.every((name) => grown.get(name) === 'e')).toBe(true);
    expect(moved.length).toBeGreaterThan(30);
    expect(moved.length).toBeLessThan(100);
  });

  test('homes follow the weights', () => {
    const places = placesOf(routerOf([replica('a', { weight: 3 }), replica('b')]));
    const share = [...places.values()].filter((place) => place === 'a').length / conversations.length;
    expect(share).toBeGreaterThan(0.68);
    expect(share).toBeLessThan(0.82);
  });
});
