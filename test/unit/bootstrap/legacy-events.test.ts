import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { legacyEvents } from '../../../src/bootstrap/legacy-events.ts';
import { initialConversation, type ConversationState } from '../../../src/dialogue/conversation-state.ts';
import { evolve } from '../../../src/dialogue/evolve-conversation.ts';
import { ledgerOf, questionedTurns } from '../../../src/dialogue/payload.ts';
import { questionKey } from '../../../src/dialogue/question-key.ts';
import { decodeConversationEvent } from '../../../src/protocol/stored-events.ts';
import { conversationOf } from '../../support/legacy-conversation.ts';
import { oldTurn } from '../../support/legacy-files.ts';

const never = (): boolean => false;

function replayed(...args: Parameters<typeof legacyEvents>): ConversationState {
  const stored = JSON.parse(JSON.stringify(legacyEvents(...args).events)) as unknown[];
  return stored
    .map(decodeConversationEvent)
    .reduce(evolve, initialConversation({ runId: 'R', languageIndex: 0, index: 0 }));
}

test('turns, plan, personas and models come back as they stood', async () => {
  const conversation = await conversationOf({
    id: 'R-0000',
    target: 4,
    turns: [oldTurn(1, 'One?'), oldTurn(2, 'Two?')],
  });
  const state = replayed(conversation, 'R-0000', never);
  expect(state.stage).toEqual({ type: 'between_turns' });
  expect(state.plan).toMatchObject({
    conversationId: 'R-0000',
    turnCount: 4,
    userPersona: { id: 'old_sailor' },
  });
  expect(state.agents).toEqual({ user: 'old-user-model', assistant: 'old-assistant-model' });
  expect(questionedTurns(state)).toEqual([
    { turn: 1, attempts: [questionKey('One?')], accepted: true },
    { turn: 2, attempts: [questionKey('Two?')], accepted: true },
  ]);
  expect(state.turns[0]?.answer.assistant_message).toBe('An old answer to: One?');
  expect(state.turns[0]?.verdict).toMatchObject({ score: 8, notes: 'good' });
  expect(state.turns[0]?.toolRounds).toEqual([
    {
      content: '',
      uses: [expect.objectContaining({ arguments: { query: 'high water moon' }, result: { results: [] } })],
    },
  ]);
});

test('a line that the ledger has is not written again; that of a turn that is generated anew is', async () => {
  const conversation = await conversationOf({
    id: 'R-0000',
    target: 2,
    turns: [oldTurn(1, 'One?'), oldTurn(2, 'Two?')],
  });
  const state = replayed(conversation, 'R-0000', (key) => key === questionKey('One?'));
  expect(ledgerOf(state).map((entry) => entry.question)).toEqual(['Two?']);
});

const broken: readonly (readonly [string, object])[] = [
  ['an empty answer (A12)', { kb_answer: { assistant_message: ' ' } }],
  ['no question (A12)', { qa_generation: { intent: 'clarify' } }],
  ['a question without words', { qa_generation: { ...oldTurn(1, '?!').qa_generation } }],
  [
    'a text for a reasoning trace (A7)',
    { kb_answer: { assistant_message: 'x', reasoning_trace: 'because' } },
  ],
  [
    'a list for a coverage target (A7)',
    { qa_generation: { ...oldTurn(2, 'x').qa_generation, coverage_target: ['a'] } },
  ],
  ['a number for a difficulty (A7)', { qa_generation: { ...oldTurn(2, 'x').qa_generation, difficulty: 3 } }],
  ['another number', { turn_index: 5 }],
];

test.each(broken)('a turn with %s is cut off with those after it', async (_, change) => {
  const turns = [oldTurn(1, 'One?'), oldTurn(2, 'Two?', change), oldTurn(3, 'Three?')];
  const conversation = await conversationOf({ id: 'R-0000', target: 3, turns });
  const { cutOff, questionKeys } = legacyEvents(conversation, 'R-0000', never);
  expect(cutOff?.turn).toBe(2);
  expect(questionKeys).toEqual([questionKey('One?')]);
  expect(replayed(conversation, 'R-0000', never).turns).toHaveLength(1);
});

test('what 0.1.0 left out stays out, and costs no turn', async () => {
  const bare = oldTurn(1, 'One?', {
    qa_generation: { user_message: 'One?' },
    kb_answer: { assistant_message: 'Yes.' },
    qa_judge: {},
    tool_events: [],
  });
  const conversation = await conversationOf({ id: 'R-0000', target: 1, turns: [bare] });
  const [turn] = replayed(conversation, 'R-0000', never).turns;
  expect(turn?.attempts[0]?.question).not.toHaveProperty('intent');
  expect(turn?.attempts[0]?.question).not.toHaveProperty('difficulty');
  expect(turn?.answer.reasoning_trace).not.toHaveProperty('confidence');
  expect(turn?.verdict).toBeNull();
});

test.each([['judge parse failure'], ['disabled']])('E18: the verdict "%s" is none', async (notes) => {
  const qa_judge = { score: 0, reasons: ['other'], notes, question_ok: false, answer_ok: false };
  const conversation = await conversationOf({
    id: 'R-0000',
    target: 1,
    turns: [oldTurn(1, 'One?', { qa_judge })],
  });
  expect(replayed(conversation, 'R-0000', never).turns[0]?.verdict).toBeNull();
});

test('B7: a verdict on the whole counts only when the whole is kept', async () => {
  const rawResults = [
    { conversation_judge: { score: 5, reasons: [], notes: 'n', question_ok: true, answer_ok: false } },
  ];
  const whole = await conversationOf({ id: 'R-0000', target: 1, turns: [oldTurn(1, 'One?')], rawResults });
  expect(replayed(whole, 'R-0000', never)).toMatchObject({
    stage: { type: 'ready' },
    conversationVerdict: { score: 5 },
  });
  const part = await conversationOf({ id: 'R-0000', target: 2, turns: [oldTurn(1, 'One?')], rawResults });
  expect(replayed(part, 'R-0000', never).conversationVerdict).toBeNull();
});

test('any JSON in the place of an output is kept or cut off, and never fails', async () => {
  const blank = await conversationOf({ id: 'R-0000', target: 2, turns: [oldTurn(1, 'One?')] });
  const [good] = blank.turns;
  const output = fc.dictionary(
    fc.constantFrom(
      'user_message',
      'assistant_message',
      'reasoning_trace',
      'difficulty',
      'score',
      'coverage_target',
    ),
    fc.jsonValue(),
  );
  fc.assert(
    fc.property(output, output, output, (question, answer, verdict) => {
      const turn = { ...good, question, answer, verdict } as (typeof blank.turns)[number];
      const { events, questionKeys, cutOff } = legacyEvents({ ...blank, turns: [turn] }, 'R-0000', never);
      expect(questionKeys.length).toBe(cutOff === null ? 1 : 0);
      events.reduce(evolve, initialConversation({ runId: 'R', languageIndex: 0, index: 0 }));
    }),
    { numRuns: 200 },
  );
});
