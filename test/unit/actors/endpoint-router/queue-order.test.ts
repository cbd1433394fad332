/** Who of the waiting is served next: by rank, conversations in turn, first deadline first. */
import { describe, expect, test } from 'vitest';
import type { Decision, PermitRequest } from '../../../../src/actors/endpoint-router/permits.ts';
import { Pool } from '../../../../src/actors/endpoint-router/pool.ts';
import { ROLES } from '../../../../src/dialogue/chat.ts';

/** One endpoint of a few slots that serves one call per step; what was served, in order. */
function queueOf(slots: number, queueCapacity = 1_000) {
  const pool = new Pool({
    runs: [{ runId: 'R', endpoints: [{ name: 'a', roles: ROLES, weight: 1, maxInFlight: slots }] }],
    queueCapacity,
  });
  const served: string[] = [];
  const note = (decisions: readonly Decision[]): readonly Decision[] => {
    for (const { type, ticket } of decisions) if (type === 'granted') served.push(ticket);
    return decisions;
  };
  let next = 0;
  return {
    served,
    ask(ticket: string, changes: Partial<PermitRequest> = {}): Decision | undefined {
      const request = { ticket, runId: 'R', role: 'user' as const, conversation: ticket, priority: 0 };
      const times = { deadlineAtMs: 1e6, leaseMs: 1e6, avoid: null };
      return note(pool.acquire({ ...request, ...times, ...changes }, 0)).find(
        (decision) => decision.ticket === ticket,
      );
    },
    /** The longest-served call comes back. */
    step(): void {
      note(pool.release(served[next] as string, { type: 'answered' }, 0));
      next += 1;
    },
    drain(): readonly string[] {
      while (next < served.length) this.step();
      return served;
    },
  };
}

describe('the order of waiting calls', () => {
  test('among equals the earliest deadline goes first, then the oldest', () => {
    const queue = queueOf(1);
    queue.ask('running');
    for (const [ticket, deadlineAtMs] of [
      ['late', 9_000],
      ['soon', 2_000],
      ['soon, but younger', 2_000],
      ['next', 5_000],
    ] as const)
      queue.ask(ticket, { deadlineAtMs });
    expect(queue.drain()).toEqual(['running', 'soon', 'soon, but younger', 'next', 'late']);
  });

  test('a conversation with many calls does not crowd out the others', () => {
    const queue = queueOf(1);
    queue.ask('running');
    for (let call = 0; call < 20; call += 1) queue.ask(`flood-${call}`, { conversation: 'flood' });
    queue.ask('other-0', { conversation: 'other' });
    queue.ask('other-1', { conversation: 'other' });
    queue.ask('third-0', { conversation: 'third' });
    const order = queue.drain();
    expect(order.slice(1, 6)).toEqual(['flood-0', 'other-0', 'third-0', 'flood-1', 'other-1']);
    expect(order).toHaveLength(24);
    // Each conversation's own calls stay in order.
    const flood = order.filter((ticket) => ticket.startsWith('flood'));
    expect(flood).toEqual(Array.from({ length: 20 }, (_, call) => `flood-${call}`));
  });

  test('one that has waited its turn is not overtaken by conversations that come later', () => {
    const queue = queueOf(1);
    queue.ask('running');
    queue.ask('a-0', { conversation: 'a' });
    queue.ask('a-1', { conversation: 'a' });
    // A new conversation each time a call comes back: the second of `a` is served within two of them.
    for (let fresh = 0; fresh < 6; fresh += 1) {
      queue.step();
      queue.ask(`new-${fresh}`);
    }
    expect(queue.served.indexOf('a-1')).toBeLessThanOrEqual(3);
  });

  test('languages advance together, because ranks take turns among them', () => {
    const languages = 3;
    const turns = 4;
    const queue = queueOf(4);
    const asked = new Map<string, number>();
    const askNext = (conversation: string, priority: number): void => {
      const turn = (asked.get(conversation) ?? 0) + 1;
      asked.set(conversation, turn);
      if (turn <= turns) queue.ask(`${conversation}/${turn}`, { conversation, priority });
    };
    const rank = new Map<string, number>();
    for (let index = 0; index < 10; index += 1)
      for (let language = 0; language < languages; language += 1)
        rank.set(`${language}-${index}`, index * languages + language);
    // The language that asks last is not the one that is served last.
    for (const [conversation, priority] of [...rank].reverse()) askNext(conversation, priority);
    const servedOf = new Map<string, number>();
    let apart = 0;
    for (let step = 0; step < 10 * languages * turns; step += 1) {
      const ticket = queue.served[step] as string;
      const [conversation = ''] = ticket.split('/');
      const language = conversation.slice(0, 1);
      servedOf.set(language, (servedOf.get(language) ?? 0) + 1);
      const counts = ['0', '1', '2'].map((each) => servedOf.get(each) ?? 0);
      apart = Math.max(apart, Math.max(...counts) - Math.min(...counts));
      queue.step();
      askNext(conversation, rank.get(conversation) as number);
    }
    expect([...servedOf.values()]).toEqual([40, 40, 40]);
    expect(apart).toBeLessThanOrEqual(2 * turns);
  });

  test('the queue is bounded', () => {
    const queue = queueOf(1, 2);
    for (const ticket of ['running', 'first', 'second']) queue.ask(ticket);
    expect(queue.ask('third')).toMatchObject({ rejection: { type: 'queue_full' } });
  });
});
