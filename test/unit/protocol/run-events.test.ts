import { expect, test } from 'vitest';
import {
  decodeRecord,
  encodeRecord,
  evolveRecord,
  initialRecord,
} from '../../../src/actors/coordinator/record.ts';
import {
  decodeRunEvent,
  type RunEvent,
  runEventsId,
  type SettledEvent,
} from '../../../src/protocol/run-events.ts';

const settled = (more: Partial<SettledEvent> = {}): SettledEvent => ({
  type: 'ConversationSettled',
  languageIndex: 0,
  language: 'english',
  index: 0,
  conversationId: 'R-english-0000',
  outcome: 'committed',
  reason: null,
  detail: '',
  turns: 3,
  committed: 1,
  target: 4,
  dropped: 0,
  commitSeq: 1,
  ...more,
});
const dropped = (commitSeq: number, count: number): SettledEvent =>
  settled({
    outcome: 'dropped',
    reason: 'crashed',
    detail: 'x'.repeat(2_000),
    committed: 1,
    dropped: count,
    commitSeq,
  });

const EVENTS: readonly RunEvent[] = [
  { type: 'CoordinatorStarted', node: 'a', epoch: 3, fresh: true },
  { type: 'WorkerJoined', worker: 'b/worker:R', lacks: ['A_KEY'] },
  settled(),
  {
    type: 'LanguageEnded',
    languageIndex: 0,
    language: 'english',
    how: 'reached',
    committed: 4,
    target: 4,
    dropped: 0,
  },
  { type: 'WorkerLost', worker: 'b/worker:R', conversations: 12 },
  { type: 'RunPaused', reason: 'asked for' },
  { type: 'RunResumed' },
  { type: 'RunEnded', end: { type: 'failed', trouble: { code: 'store', message: 'm' } } },
];

test('what is stored is read back as it was', () => {
  for (const event of EVENTS) expect(decodeRunEvent(JSON.parse(JSON.stringify(event)))).toEqual(event);
});

test('an event of a later release is passed over, one that is broken is not', () => {
  expect(decodeRunEvent({ type: 'SomethingLater', x: 1 })).toEqual({
    type: 'Unknown',
    name: 'SomethingLater',
  });
  const broken = [null, 17, {}, { type: 3 }, { type: 'RunPaused' }, { ...settled(), commitSeq: -1 }];
  for (const stored of broken)
    expect(() => decodeRunEvent(stored)).toThrow(expect.objectContaining({ code: 'store' }));
});

test('run ids are no paths', () => {
  expect(runEventsId('a/b c')).toBe('events/a%2Fb%20c');
});

test('the record knows the counts, the drops in a row, and survives a snapshot', () => {
  let record = initialRecord([
    { committed: 0, dropped: 0 },
    { committed: 7, dropped: 2 },
  ]);
  for (const event of [...EVENTS.slice(0, 3), dropped(2, 1), dropped(5, 2)])
    record = evolveRecord(record, event);
  expect(record).toMatchObject({
    commitSeq: 5,
    languages: [
      { committed: 1, dropped: 2, consecutiveDrops: 2, lastDrop: { reason: 'crashed' } },
      { committed: 7, dropped: 2, consecutiveDrops: 0, lastDrop: null },
    ],
    end: null,
  });
  expect(record.languages[0]?.lastDrop?.detail.length).toBeLessThan(1_000);
  const ended = evolveRecord(evolveRecord(record, { type: 'RunPaused', reason: '' }), {
    type: 'RunEnded',
    end: { type: 'cancelled' },
  });
  expect(ended).toMatchObject({ isPaused: true, end: 'cancelled' });
  expect(decodeRecord(JSON.parse(JSON.stringify(encodeRecord(ended))))).toEqual(ended);
  expect(decodeRecord({ version: 99 })).toBeNull();
  // A move keeps the drops in a row; a person who has it go on gives it its chances anew.
  const start = { type: 'CoordinatorStarted', node: 'b', epoch: 4 } as const;
  expect(evolveRecord(ended, { ...start, fresh: false })).toMatchObject({
    end: null,
    languages: [{ consecutiveDrops: 2 }, {}],
  });
  expect(evolveRecord(ended, { ...start, fresh: true }).languages[0]?.consecutiveDrops).toBe(0);
});
