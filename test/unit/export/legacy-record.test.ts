import { expect, test } from 'vitest';
import { legacyRecord } from '../../../src/export/legacy-record.ts';
import { asPython, oldConversation, oldRecord } from '../../support/old-dataset.ts';

test.each([
  ['', 'it is empty'],
  ['{"turns": [', 'it is no JSON: '],
  ['[]', 'it is no JSON object'],
  ['null', 'it is no JSON object'],
  ['{"conversation_id": "x"}', 'it has no turns'],
  ['{"turns": []}', 'it has no turns'],
  ['{"turns": {"0": {}}}', 'it has no turns'],
  ['{"turns": [{}, 3]}', 'turns[1] is no object'],
])('%j cannot be judged, and says why', (text, reason) => {
  const record = legacyRecord(text, 'file');
  expect(record).toMatchObject({ type: 'unusable' });
  expect(record.type === 'unusable' && record.reason.startsWith(reason)).toBe(true);
});

test('what Python wrote is read, with NaN, lone surrogates and a byte order mark', () => {
  const text = asPython(JSON.stringify(oldRecord(oldConversation('old', ['Why?', 'And \ud83d?'], 'french'))));
  const record = legacyRecord(`\ufeff${text}`, 'file');
  if (record.type === 'unusable') throw new Error(record.reason);
  const { payload } = record;
  expect(payload).toMatchObject({
    conversationId: 'old',
    language: 'french',
    personas: { user: 'An old sailor', assistantId: 'pilot' },
    agents: { user: 'old-user-model', assistant: 'old-assistant-model' },
  });
  expect(payload.turns.map((turn) => [turn.turn, turn.question['user_message']])).toEqual([
    [1, 'Why?'],
    [2, 'And \ud83d?'],
  ]);
  expect(payload.turns[0]?.toolRounds[0]?.calls).toMatchObject([{ id: 'c1', name: 'vector_db_search' }]);
});

test('what is missing or odd in a record is done without', () => {
  const turns = [
    { qa_generation: 'x', tool_events: [{ result: 'text' }, 7] },
    { turn_index: 'two' },
    { turn_index: 7 },
  ];
  const record = legacyRecord(JSON.stringify({ turns, inputs: { target_language: 'german' } }), 'the-file');
  if (record.type === 'unusable') throw new Error(record.reason);
  expect(record.payload).toMatchObject({ conversationId: 'the-file', language: 'german' });
  expect(record.payload.turns.map(({ turn }) => turn)).toEqual([1, 2, 7]);
  expect(record.payload.turns[0]).toMatchObject({
    question: {},
    toolRounds: [{ calls: [{ name: '', result: {} }] }],
  });
});
