import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { JsonValue } from '../../../src/dialogue/conversation-record.ts';
import {
  cleanQueries,
  cleanRetrievalQueries,
  normaliseTrace,
} from '../../../src/dialogue/reasoning-trace.ts';

describe('retrieval queries', () => {
  test.each<[JsonValue | undefined, string[]]>([
    [['  spring tide height ', '', ' '], ['spring tide height']],
    ['neap tide', ['neap tide']],
    [['fr', 'French', 'MOROCCO', 'a', 'ab', '中文'], []],
    [
      ['abc', 'tides', 'a b', 'French tides'],
      ['abc', 'tides', 'a b', 'French tides'],
    ],
    [
      [42_000, null, true],
      ['42000', 'True'],
    ],
    [null, []],
    [undefined, []],
  ])('%j', (value, expected) => expect(cleanQueries(value)).toEqual(expected));

  test('both lists are cleaned, everything else stays', () => {
    const trace = {
      question: 'q',
      retrieval_queries: { vector_db_search: ['en', 'two tides'], web_search: 'ar', extra: 1 },
    };
    expect(cleanRetrievalQueries(trace)).toEqual({
      question: 'q',
      retrieval_queries: { vector_db_search: ['two tides'], web_search: [], extra: 1 },
    });
  });

  test.each([[{}], [{ retrieval_queries: 'x' }], [{ retrieval_queries: null }]])(
    '%j is left as it is',
    (trace) => {
      expect(cleanRetrievalQueries(trace)).toEqual(trace);
    },
  );

  test('cleaning twice changes nothing', () => {
    fc.assert(
      fc.property(fc.array(fc.string()), (queries) => {
        expect(cleanQueries(cleanQueries(queries))).toEqual(cleanQueries(queries));
      }),
    );
  });
});

describe('the form of the records', () => {
  test.each<[JsonValue | undefined]>([[undefined], [null], ['text'], [['a']], [3]])(
    '%j is no trace',
    (value) => {
      expect(normaliseTrace(value)).toEqual({});
    },
  );

  test.each<[string, JsonValue, JsonValue]>([
    ['a text', 'hm', [{ text: 'hm' }]],
    ['texts', ['a', null, 3], [{ text: 'a' }, { text: '' }, { text: '3' }]],
    [
      'objects',
      [{ text: null, step: 1 }, { step: 2 }],
      [
        { text: '', step: 1 },
        { text: '', step: 2 },
      ],
    ],
    ['an empty list', [], []],
  ])('thinking: %s', (_, thinking, expected) =>
    expect(normaliseTrace({ thinking })).toEqual({ thinking: expected }),
  );

  test('what is absent stays absent, unknown keys are kept', () => {
    expect(normaliseTrace({ mood: 'calm', premises: 'none' })).toEqual({ mood: 'calm', premises: 'none' });
  });

  test('premises have exactly four keys', () => {
    const premises = [
      { id: 1, text: null, evidence_refs: ['E1', ' ', 2], assumption: true, other: 'x' },
      { evidence_refs: 'E2', note: 'from a note' },
      { text: 't', evidence_refs: null, text_note: false },
      'bare',
    ];
    expect(normaliseTrace({ premises })).toEqual({
      premises: [
        { id: '1', text: '', evidence_refs: ['E1', '2'], assumption: 'true' },
        { id: '', text: '', evidence_refs: ['E2'], assumption: 'from a note' },
        { id: '', text: 't', evidence_refs: [], assumption: 'false' },
        { id: '', text: 'bare', evidence_refs: [], assumption: '' },
      ],
    });
  });
});
