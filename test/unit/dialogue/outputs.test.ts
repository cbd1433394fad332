import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  answerOutput,
  judgeOutput,
  type OutputKind,
  parseOutput,
  questionOutput,
} from '../../../src/dialogue/outputs.ts';

const QUESTION = {
  user_message: 'Why are there two tides a day?',
  intent: 'clarify',
  difficulty: 'easy',
  grounding_facts: [{ fact: 'There are two bulges.', source_descriptor: 'Tides' }],
  coverage_target: 'p1',
  notes_for_assistant: ['name both bulges'],
};
const ANSWER = {
  assistant_message: 'Because there are two bulges.',
  reasoning_trace: {
    question: 'Why are there two tides a day?',
    retrieval_queries: { vector_db_search: ['why two tides a day'], web_search: [] },
    evidence: [{ id: 'E1', cue: 'KB: Tides', content: 'There are two bulges.' }],
    premises: [{ id: 'P1', text: 'Two bulges', evidence_refs: ['E1'] }],
    thinking: [{ text: 'The Earth turns through both.' }],
    confidence: 'high',
    known_limits: [],
  },
  did_web_search: false,
};
const REASONS = ['vague', 'weak_grounding', 'other'];
const VERDICT = { score: 8, reasons: ['vague'], notes: 'Short.', question_ok: true, answer_ok: true };
const judge = judgeOutput(REASONS);

const parse = <T>(kind: OutputKind<T>, value: unknown) => parseOutput(kind.schema, JSON.stringify(value));
const errorsOf = (kind: OutputKind<unknown>, value: unknown): string => {
  const result = parse(kind, value);
  return result.ok ? 'accepted' : result.errors.join('\n');
};

describe('complete outputs come through unchanged', () => {
  test('question', () => expect(parse(questionOutput, QUESTION)).toEqual({ ok: true, value: QUESTION }));
  test('answer', () => expect(parse(answerOutput, ANSWER)).toEqual({ ok: true, value: ANSWER }));
  test('verdict', () => expect(parse(judge, VERDICT)).toEqual({ ok: true, value: VERDICT }));

  test('with whatever else the model wrote', () => {
    const trace = { ...ANSWER.reasoning_trace, scratch: { a: [1] } };
    expect(parse(answerOutput, { ...ANSWER, reasoning_trace: trace, mood: 'calm' })).toEqual({
      ok: true,
      value: { ...ANSWER, reasoning_trace: trace, mood: 'calm' },
    });
  });
});

describe('wrong shapes are errors that name the field', () => {
  test('A11: any other object is refused', () => {
    const kinds: OutputKind<unknown>[] = [questionOutput, answerOutput, judge];
    for (const kind of kinds) expect(parse(kind, { foo: 1 }).ok).toBe(false);
  });

  test.each([
    ['user_message', 7],
    ['user_message', ['a']],
    ['intent', 'chat'],
    ['difficulty', 3],
    ['grounding_facts', ['a fact']],
    ['grounding_facts', [{ fact: 1, source_descriptor: 'x' }]],
    ['coverage_target', ['p1']],
    ['coverage_target', { id: 'p1' }],
    ['notes_for_assistant', [1]],
  ])('A7: question with %s = %j', (field, value) => {
    expect(errorsOf(questionOutput, { ...QUESTION, [field]: value })).toContain(field);
  });

  test.each([
    ['reasoning_trace', 'because'],
    ['reasoning_trace', []],
    ['reasoning_trace', { ...ANSWER.reasoning_trace, confidence: 'sure' }],
    ['reasoning_trace', { ...ANSWER.reasoning_trace, evidence: ['E1'] }],
    ['reasoning_trace', { ...ANSWER.reasoning_trace, premises: [{ text: 4 }] }],
    ['did_web_search', 'false'],
    ['did_web_search', 0],
  ])('A7: answer with %s = %j', (field, value) => {
    expect(errorsOf(answerOutput, { ...ANSWER, [field]: value })).toContain(field);
  });

  test.each([
    ['score', 11],
    ['score', -1],
    ['score', 'high'],
    ['score', '8/10'],
    ['score', true],
    ['score', null],
    ['reasons', ['because']],
    ['question_ok', 'true'],
    ['answer_ok', 1],
    ['notes', ['a']],
  ])('J2: verdict with %s = %j', (field, value) => {
    expect(errorsOf(judge, { ...VERDICT, [field]: value })).toContain(field);
  });

  test('A12: empty messages are refused', () => {
    for (const empty of ['', ' \n\t', '\u0000']) {
      expect(errorsOf(questionOutput, { ...QUESTION, user_message: empty })).toContain('must not be empty');
      expect(errorsOf(answerOutput, { ...ANSWER, assistant_message: empty })).toContain('must not be empty');
    }
    expect(errorsOf(answerOutput, { ...ANSWER, assistant_message: undefined })).toContain(
      'assistant_message',
    );
  });

  test('A14: a score that is no number is refused', () => {
    expect(
      parseOutput(judge.schema, '{"score": NaN, "reasons": [], "question_ok": true, "answer_ok": true}').ok,
    ).toBe(false);
  });
});

describe('what loses nothing is forgiven', () => {
  test('missing lists are empty', () => {
    const { grounding_facts: _, notes_for_assistant: __, ...short } = QUESTION;
    expect(parse(questionOutput, short)).toMatchObject({
      ok: true,
      value: { grounding_facts: [], notes_for_assistant: [] },
    });
    const bare = { assistant_message: 'Yes.', reasoning_trace: { confidence: 'low', known_limits: null } };
    expect(parse(answerOutput, bare)).toMatchObject({
      ok: true,
      value: {
        reasoning_trace: {
          retrieval_queries: { vector_db_search: [], web_search: [] },
          evidence: [],
          premises: [],
          thinking: [],
          known_limits: [],
        },
      },
    });
  });

  test('a missing did_web_search stays open', () => {
    for (const value of [undefined, null]) {
      const result = parse(answerOutput, { ...ANSWER, did_web_search: value });
      expect(result.ok && result.value.did_web_search).toBeUndefined();
    }
  });

  test('a text stands for a list of one', () => {
    const trace = { ...ANSWER.reasoning_trace, thinking: 'It turns.', known_limits: 'Local shape.' };
    expect(parse(answerOutput, { ...ANSWER, reasoning_trace: trace })).toMatchObject({
      ok: true,
      value: { reasoning_trace: { thinking: [{ text: 'It turns.' }], known_limits: ['Local shape.'] } },
    });
  });

  test('exact numbers as text, and the case of choices', () => {
    expect(
      parse(judge, { ...VERDICT, score: ' 7.5 ', reasons: ['Weak grounding', 'VAGUE', 'vague'] }),
    ).toMatchObject({
      ok: true,
      value: { score: 7.5, reasons: ['weak_grounding', 'vague'] },
    });
    expect(parse(questionOutput, { ...QUESTION, intent: 'How-To', difficulty: 'Hard ' })).toMatchObject({
      ok: true,
      value: { intent: 'how_to', difficulty: 'hard' },
    });
  });

  test('nothing was offered: no coverage target', () => {
    expect(parse(questionOutput, { ...QUESTION, coverage_target: null })).toMatchObject({
      ok: true,
      value: { coverage_target: '' },
    });
  });
});

describe('several objects', () => {
  const verdict = (score: number) => JSON.stringify({ ...VERDICT, score });

  test('the one that fits is taken', () => {
    expect(parseOutput(judge.schema, `{"note": 1} ${verdict(4)} {"end": true}`)).toMatchObject({
      ok: true,
      value: { score: 4 },
    });
  });

  test('of two that fit, the last', () => {
    expect(parseOutput(judge.schema, `${verdict(4)}\nOn reflection:\n${verdict(6)}`)).toMatchObject({
      ok: true,
      value: { score: 6 },
    });
  });

  test('the errors are those of the one that nearly fits', () => {
    const result = parseOutput(judge.schema, `${verdict(40)} {"foo": 1}`);
    expect(result.ok ? [] : result.errors).toEqual([expect.stringContaining('score')]);
  });

  test('without any object, the errors say what was seen', () => {
    expect(parseOutput(judge.schema, 'I would say 7.')).toEqual({
      ok: false,
      errors: [expect.stringContaining('no JSON object')],
    });
  });
});

describe('the JSON Schemas', () => {
  type Schema = {
    type: string;
    properties?: Record<string, Schema>;
    required?: string[];
    items?: Schema;
    enum?: string[];
    additionalProperties?: boolean;
  };
  const instance = (schema: Schema): fc.Arbitrary<unknown> => {
    if (schema.enum !== undefined) return fc.constantFrom(...schema.enum);
    switch (schema.type) {
      case 'object':
        return fc.record(
          Object.fromEntries(
            Object.entries(schema.properties ?? {}).map(([key, inner]) => [key, instance(inner)]),
          ),
        );
      case 'array':
        return fc.array(instance(schema.items as Schema), { maxLength: 3 });
      case 'boolean':
        return fc.boolean();
      case 'number':
        return fc.integer({ min: 0, max: 10 });
      default:
        return fc.string({ minLength: 1 }).map((text) => `x${text}`);
    }
  };
  const kinds: [string, OutputKind<unknown>][] = [
    ['dlgforge_question', questionOutput],
    ['dlgforge_answer', answerOutput],
    ['dlgforge_verdict', judge],
    ['dlgforge_verdict', judgeOutput([])],
  ];

  test.each(kinds)('%s: what fits it is accepted', (name, kind) => {
    expect(kind.spec.name).toBe(name);
    fc.assert(
      fc.property(instance(kind.spec.schema as Schema), (value) => {
        expect(parse(kind, value)).toMatchObject({ ok: true });
      }),
      { numRuns: 50 },
    );
  });

  test.each(kinds)(
    '%s is strict: closed objects, every key required, nothing that providers refuse',
    (_, kind) => {
      const check = (schema: Schema): void => {
        const allowed = [
          'type',
          'description',
          'enum',
          'items',
          'properties',
          'required',
          'additionalProperties',
        ];
        expect(Object.keys(schema).filter((key) => !allowed.includes(key))).toEqual([]);
        if (schema.type === 'object') {
          expect(schema.additionalProperties).toBe(false);
          expect(schema.required).toEqual(Object.keys(schema.properties ?? {}));
          Object.values(schema.properties ?? {}).forEach(check);
        }
        if (schema.items !== undefined) check(schema.items);
      };
      check(kind.spec.schema as Schema);
    },
  );

  test('the configured reasons are the ones that may be given', () => {
    expect(JSON.stringify(judge.spec.schema)).toContain(JSON.stringify(REASONS));
  });
});
