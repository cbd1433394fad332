import { expect, test } from 'vitest';
import { createCrew, workerKey } from '../../../../src/actors/coordinator/crew.ts';
import type { WorkerHere, WorkerMessage } from '../../../../src/actors/messages.ts';
import type { ActorRef } from '../../../../src/actors/runtime/types.ts';
import type { Rank } from '../../../../src/dialogue/schedule.ts';

const worker = (node: string): ActorRef<WorkerMessage> => ({ node, path: 'worker', incarnation: 7 });
const rank = (index: number): Rank => ({ index, languageIndex: 0 });
const here = (node: string, held: readonly Rank[] = [], more: Partial<WorkerHere> = {}): WorkerHere => ({
  type: 'WorkerHere',
  worker: worker(node),
  held,
  claiming: [],
  lacks: [],
  trouble: null,
  drained: false,
  ...more,
});

test('what a worker says that it has is its own, and what it leaves out is handed out once', () => {
  const crew = createCrew();
  expect(crew.heard(here('a', [rank(1), rank(2)]))).toEqual({ joined: true, trouble: null, unheld: [] });
  expect([crew.isHeld(rank(1)), crew.isHeld(rank(3))]).toEqual([true, false]);
  expect(crew.isHeldByOther(rank(1), worker('a'))).toBe(false);
  expect(crew.isHeldByOther(rank(1), worker('b'))).toBe(true);
  expect(crew.heard(here('a', [rank(2)]))).toEqual({ joined: false, trouble: null, unheld: [rank(1)] });
  expect(crew.heard(here('a', [rank(2)]))).toEqual({ joined: false, trouble: null, unheld: [] });
});

test('what was granted while a report was on its way stays granted; what is only asked for is nobody’s', () => {
  const crew = createCrew();
  crew.heard(here('a'));
  crew.grant(rank(1), worker('a'));
  expect(crew.heard(here('a', [], { claiming: [rank(1), rank(2)] }))).toEqual({
    joined: false,
    trouble: null,
    unheld: [],
  });
  expect([crew.isHeld(rank(1)), crew.isHeld(rank(2))]).toEqual([true, false]);
  expect(crew.heard(here('a'))).toEqual({ joined: false, trouble: null, unheld: [rank(1)] });
});

test('of two that have the same one, the second keeps it when the first lets go or is lost', () => {
  const crew = createCrew();
  for (const node of ['a', 'b', 'c']) crew.heard(here(node, [rank(1)]));
  expect(crew.heard(here('a')).unheld).toEqual([]);
  expect(crew.lost(workerKey(worker('b')))).toEqual({ name: 'b/worker', held: 1 });
  expect(crew.isHeld(rank(1))).toBe(true);
  crew.lost(workerKey(worker('c')));
  expect(crew.isHeld(rank(1))).toBe(false);
  expect(crew.lost(workerKey(worker('c')))).toBeNull();
});

test('a worker that says nothing for long has nothing any more, and is not waited for; heard again, it has what it says', () => {
  const crew = createCrew();
  crew.heard(here('a', [rank(1)]));
  for (let second = 0; second < 15; second += 1) expect(crew.tick()).toEqual([]);
  expect(crew.isDrained).toBe(false);
  expect(crew.tick()).toEqual([rank(1)]);
  expect(crew.tick()).toEqual([]);
  expect(crew.isDrained).toBe(true);
  crew.heard(here('a', [rank(1)]));
  expect([crew.isHeld(rank(1)), crew.isDrained]).toEqual([true, false]);
});

test('a sweep finds what nobody has had since the last one', () => {
  const crew = createCrew();
  crew.heard(here('a', [rank(1)]));
  expect(crew.sweep([rank(1), rank(2)])).toEqual([]);
  expect(crew.sweep([rank(1), rank(2), rank(3)])).toEqual([rank(2)]);
  crew.grant(rank(2), worker('a'));
  expect(crew.sweep([rank(1), rank(2), rank(3)])).toEqual([rank(3)]);
});

test('only workers that lack nothing count, and the run is drained when all of them say so', () => {
  const crew = createCrew();
  expect([crew.isDrained, crew.ableCount, crew.hasReported([]), crew.hasReported(['a'])]).toEqual([
    true,
    0,
    true,
    false,
  ]);
  crew.heard(here('a', [], { lacks: ['A_KEY'], drained: true }));
  crew.heard(here('b'));
  expect([crew.isDrained, crew.ableCount, crew.hasReported(['a', 'b'])]).toEqual([false, 1, true]);
  crew.heard(here('b', [], { drained: true }));
  expect(crew.isDrained).toBe(true);
});

test('the trouble of one worker is its own; that of the last that could go on is everybody’s', () => {
  const crew = createCrew();
  const trouble = { code: 'endpoint', message: 'no answer' };
  for (const node of ['a', 'b']) crew.heard(here(node));
  crew.heard(here('c', [], { lacks: ['A_KEY'] }));
  expect(crew.heard(here('a', [rank(1)], { trouble }))).toMatchObject({ trouble });
  expect(crew.heard(here('a', [rank(1)], { trouble }))).toMatchObject({ trouble: null });
  expect([crew.ableCount, crew.isAble(workerKey(worker('a'))), crew.troubleOfAll]).toEqual([1, false, null]);
  crew.heard(here('b', [], { trouble }));
  expect([crew.ableCount, crew.troubleOfAll]).toEqual([0, trouble]);
  crew.heard(here('d'));
  expect(crew.troubleOfAll).toBeNull();
});
