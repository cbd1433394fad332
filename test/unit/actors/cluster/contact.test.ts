/** When a node may trust what it sees: by what it hears of itself, and whether time has jumped. */
import { expect, test } from 'vitest';
import { Contact } from '../../../../src/actors/cluster/contact.ts';
import type { Clock } from '../../../../src/kernel/clock.ts';

function contactAt(startMs: number) {
  let nowMs = startMs;
  let isConnected = true;
  const clock: Clock = { now: () => nowMs, schedule: () => () => undefined };
  const contact = new Contact(clock, { contactMs: 2_000, warmMs: 1_500, frozenMs: 1_500 }, () => isConnected);
  return {
    contact,
    /** Time passes, and the node ticks all the while. */
    tick: (ms: number): void => {
      for (let left = ms; left > 0; left -= 250) {
        nowMs += Math.min(250, left);
        contact.tick();
      }
    },
    jump: (ms: number): void => {
      nowMs += ms;
    },
    connect: (value: boolean): void => {
      isConnected = value;
    },
  };
}

test('contact begins with the first heartbeat that comes back, and lasts two seconds from its sending', () => {
  const { contact, tick } = contactAt(10_000);
  contact.sent(1);
  tick(500);
  expect(contact.isThere).toBe(false);
  expect(contact.cameBack(1)).toBe(true);
  expect(contact.cameBack(1)).toBe(false);
  tick(1_500);
  expect([contact.isThere, contact.isWarm]).toEqual([true, true]);
  tick(1);
  expect([contact.isThere, contact.isWarm]).toEqual([false, false]);
});

test('a heartbeat that was held up on its way does not count for longer', () => {
  const { contact, tick } = contactAt(0);
  contact.sent(1);
  tick(2_500);
  contact.cameBack(1);
  expect(contact.isThere).toBe(false);
  contact.sent(2);
  contact.cameBack(2);
  contact.cameBack(7);
  expect(contact.isThere).toBe(true);
});

test('after a jump of the clock, forwards or back, only what is sent from then on counts', () => {
  for (const jumpMs of [1_600, 3_600_000, -3_600_000]) {
    const { contact, tick, jump } = contactAt(10_000_000);
    contact.sent(1);
    contact.cameBack(1);
    contact.sent(2);
    jump(jumpMs);
    expect(contact.isThere).toBe(false);
    contact.cameBack(2);
    contact.tick();
    expect(contact.isThere).toBe(false);
    contact.sent(3);
    expect(contact.cameBack(3)).toBe(true);
    expect([contact.isThere, contact.isWarm]).toEqual([true, false]);
    for (let seq = 4; seq < 8; seq += 1) {
      tick(500);
      contact.sent(seq);
      contact.cameBack(seq);
    }
    expect(contact.isWarm).toBe(true);
  }
});

test('a break that nobody looked at makes a node cold all the same', () => {
  const { contact, tick, connect } = contactAt(0);
  contact.sent(1);
  contact.cameBack(1);
  connect(false);
  expect(contact.isThere).toBe(false);
  tick(250);
  connect(true);
  contact.sent(2);
  expect(contact.begun).toBe(1);
  expect(contact.cameBack(2)).toBe(true);
  expect(contact.begun).toBe(2);
  tick(1_250);
  expect(contact.isWarm).toBe(false);
  tick(250);
  expect(contact.isWarm).toBe(true);
});

test('I9: of heartbeats that never come back only so many are remembered', () => {
  const { contact } = contactAt(0);
  for (let seq = 1; seq <= 1_000; seq += 1) contact.sent(seq);
  expect(contact.cameBack(1)).toBe(false);
  expect(contact.cameBack(1_000)).toBe(true);
});
