import { stripVTControlCharacters } from 'node:util';
import { describe, expect, test } from 'vitest';
import type { ShownConversation } from '../../../src/bootstrap/show-conversation.ts';
import { conversationLines } from '../../../src/cli/conversation-lines.ts';
import { printable, printableJson, shortened, wrapped } from '../../../src/cli/wrapped.ts';
import { legacyRecord } from '../../../src/export/legacy-record.ts';

const PLAIN = { width: null, colour: false };

const search = (query: string) => ({
  id: query,
  name: 'vector_db_search',
  arguments: { query },
  result: { query, results: [{ source: 'Tides › Why', content: `Found for ${query}. `.repeat(40) }] },
});

function shown(over: Partial<ShownConversation> = {}): ShownConversation {
  const record = {
    conversation_id: 'run-0001',
    language: 'english',
    personas: { user: 'An old sailor', assistant: 'A pilot', user_id: 'sailor', assistant_id: 'pilot' },
    turns: [
      {
        turn_index: 1,
        qa_generation: {
          user_message: 'Why twice a day?',
          intent: 'clarify',
          difficulty: 'easy',
          coverage_target: 'p1',
        },
        kb_answer: { assistant_message: 'Because of the moon. '.repeat(20) },
        qa_agent_used_name: 'model-u',
        kb_agent_used_name: 'model-a',
        question_mode: 'fresh',
        tool_events: [],
      },
    ],
  };
  const read = legacyRecord(JSON.stringify(record), 'run-0001');
  if (read.type === 'unusable') throw new Error(read.reason);
  const [turn] = read.payload.turns;
  return {
    status: 'committed',
    place: 'a store',
    runId: 'run',
    datasetId: 'd',
    timestamp: '2026-01-02T03:04:05.000Z',
    dropReason: null,
    dropDetail: null,
    passages: new Map([
      [
        1,
        {
          id: 'p1',
          source: 'tides.md',
          descriptor: 'Tides › Why',
          index: 3,
          text: '',
          charStart: 10,
          charEnd: 90,
        },
      ],
    ]),
    payload: {
      ...read.payload,
      turns: [
        {
          ...turn,
          verdict: {
            score: 8,
            reasons: ['vague'],
            notes: 'Good enough.',
            question_ok: true,
            answer_ok: false,
          },
          toolRounds: [
            { content: 'First I look here.', calls: [search('moon')] },
            { content: 'Then there.', calls: [search('sun')] },
          ],
        } as ShownConversation['payload']['turns'][number],
      ],
    },
    record: {},
    ...over,
  };
}

test('a conversation is told with its people, questions, tools, passage and verdict', () => {
  const text = conversationLines(shown(), PLAIN).join('\n');
  for (const part of [
    'Conversation run-0001',
    'committed 2026-01-02T03:04:05.000Z',
    'user  sailor: An old sailor (model-u)',
    'assistant  pilot: A pilot (model-a)',
    'passage: tides.md, Tides › Why (chunk 3, characters 10 to 90, p1)',
    'Why twice a day?',
    'vector_db_search {"query":"moon"}',
    'score 8, question ok, answer not ok, reasons: vague',
    'Good enough.',
  ])
    expect(text).toContain(part);
  expect(text.length, 'results are shortened').toBeLessThan(2_000);
});

test('J1 the rounds of a tool loop stand in the order in which they happened, with the texts between them', () => {
  const text = conversationLines(shown(), PLAIN).join('\n');
  const places = [
    'First I look here.',
    '"moon"',
    'Found for moon',
    'Then there.',
    '"sun"',
    'Found for sun',
  ].map((part) => text.indexOf(part));
  expect(places).toEqual(places.toSorted((a, b) => a - b));
  expect(places[0]).toBeGreaterThan(0);
});

test('a dropped conversation says why', () => {
  const dropped = shown({
    status: 'dropped',
    dropReason: 'dedup_exhausted',
    dropDetail: 'turn 2: 4 questions',
  });
  expect(conversationLines(dropped, PLAIN).join('\n')).toContain('dedup_exhausted (turn 2: 4 questions)');
});

test('for a terminal lines are wrapped and coloured, for others neither', () => {
  const plain = conversationLines(shown(), PLAIN);
  expect(stripVTControlCharacters(plain.join('\n'))).toBe(plain.join('\n'));
  const coloured = conversationLines(shown(), { width: 60, colour: true });
  expect(stripVTControlCharacters(coloured.join('\n'))).not.toBe(coloured.join('\n'));
  const answer = conversationLines(shown(), { width: 60, colour: false }).filter((line) =>
    line.includes('the moon'),
  );
  expect(answer.length).toBeGreaterThan(5);
  for (const line of answer) expect(line.length).toBeLessThanOrEqual(60);
});

describe('texts of models cannot steer a terminal', () => {
  const evil = 'a\u001b[31mred\u009b2J\u202ex\u0007\r\nb\u2028c\ud800';
  test('they are shown without what it would obey', () => {
    // oxlint-disable-next-line no-control-regex
    expect(printable(evil)).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e\u2028\ud800]/u);
    expect(wrapped(evil, '  ', null)).toHaveLength(3);
    expect(shortened(evil, 8)).toHaveLength(8);
  });
  test('as JSON they stay what they are', () => {
    const written = printableJson({ evil });
    expect(JSON.parse(written)).toEqual({ evil });
    // oxlint-disable-next-line no-control-regex
    expect(written).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e\u2028]/u);
  });
});

test('long words are cut, blanks are where lines end', () => {
  expect(wrapped('x'.repeat(50), '', 20)).toEqual(['x'.repeat(20), 'x'.repeat(20), 'x'.repeat(10)]);
  expect(wrapped('one two three four five six', '  ', 22)).toEqual(['  one two three four', '  five six']);
});
