import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { type AskedConversation, askedRequests } from '../../../src/dialogue/asked-requests.ts';
import type { ModelAnswer, ModelRequest } from '../../../src/dialogue/chat.ts';
import { type ConversationCommand, decide, effectsOf } from '../../../src/dialogue/conversation.ts';
import { type ConversationEvent, initialConversation } from '../../../src/dialogue/conversation-state.ts';
import { evolve } from '../../../src/dialogue/evolve-conversation.ts';
import { below, uniform } from '../../../src/kernel/random.ts';
import { dialogueOf } from '../../support/dialogue-context.ts';
import { answerOf, type Script, throughJson } from '../../support/scripted-dialogue.ts';

const KEY = { runId: 'R', languageIndex: 0, index: 1 };
const REASONS = ['vague'];

interface Sent {
  readonly request: ModelRequest;
  readonly answer: ModelAnswer;
}

interface Carried {
  readonly sent: readonly Sent[];
  readonly events: readonly ConversationEvent[];
}

interface Course {
  readonly granularity: 'turn' | 'conversation';
  readonly script: Script;
  /** Questions that somebody else asked before; by the number of the check. */
  readonly rejects: (check: number) => boolean;
  /** Sent back once, to this turn. */
  readonly sendBackTo: number | null;
  /** Answers by their number that come when nobody waits for them any more. */
  readonly late: (answer: number) => boolean;
}

/** Carries a conversation to its end, and notes what really was sent. */
function carried({ granularity, script, rejects, sendBackTo, late }: Course): Carried {
  const context = dialogueOf({
    settings: {
      judge: { granularity, reasons: REASONS },
      webSearch: true,
      turns: { min: 3, max: 3, distribution: 'uniform', mean: null },
    },
  });
  const events: ConversationEvent[] = [];
  const sent: Sent[] = [];
  let state = initialConversation(KEY);
  let [checks, answers, isSentBack] = [0, 0, sendBackTo === null];
  const deliver = (command: ConversationCommand): void => {
    const happened = decide(state, command, context);
    state = happened.reduce(evolve, state);
    events.push(...happened);
    for (const event of happened)
      if (
        (event.type === 'ModelAnswered' || event.type === 'LateAnswerKept') &&
        command.type === 'TakeAnswer'
      )
        sent.push({ request: command.asked.request, answer: command.answer });
  };
  deliver({ type: 'StartConversation' });
  for (let steps = 0; state.stage.type !== 'ready' || !isSentBack; steps += 1) {
    if (steps > 1_000) throw new Error(`stuck in ${state.stage.type}`);
    if (state.stage.type === 'ready') {
      isSentBack = true;
      const known = state.turns.some(({ turn }) => turn === sendBackTo);
      if (known) deliver({ type: 'SendBack', turn: sendBackTo ?? 1, attempt: 0, verdict: 'accept' });
      continue;
    }
    for (const effect of effectsOf(state, context)) {
      if (effect.type === 'CheckQuestion') {
        checks += 1;
        deliver({
          type: 'TakeQuestionCheck',
          step: effect.step,
          finding: rejects(checks) ? 'committed' : 'new',
        });
        continue;
      }
      const command = answerOf(state, effect, script, events);
      if (command.type === 'TakeAnswer' && command.reusedSeq === null && late((answers += 1))) {
        deliver({ ...command, step: command.step - 1 });
      } else deliver(command);
    }
  }
  deliver({ type: 'SettleConversation' });
  return { sent, events: throughJson(events) };
}

const asked = (events: readonly ConversationEvent[]): AskedConversation =>
  askedRequests(KEY, events, REASONS);

const PLAIN: Course = {
  granularity: 'turn',
  script: { question: (_, turn, attempt) => `Question ${turn}, try ${attempt}?` },
  rejects: () => false,
  sendBackTo: null,
  late: () => false,
};

test('whatever happened to a conversation, every request is given back as it was sent, in order', () => {
  fc.assert(
    fc.property(fc.nat({ max: 100_000 }), fc.boolean(), fc.nat({ max: 3 }), (seed, whole, sendBackTo) => {
      const { sent, events } = carried({
        granularity: whole ? 'conversation' : 'turn',
        script: {
          ...PLAIN.script,
          broken: (_, effect) => (uniform(['b', seed, effect.asked.requestKey]) < 0.3 ? 'no JSON {' : null),
          tools: (_, effect) =>
            Array.from({ length: below(['t', seed, effect.asked.requestKey], 3) }, (__, i) => ({
              id: '',
              name: ['vector_db_search', 'web_search', 'launch'][i] as string,
              arguments: '{"query":"tides"}',
            })),
        },
        rejects: (check) => uniform(['r', seed, check]) < 0.3,
        sendBackTo: sendBackTo === 0 ? null : sendBackTo,
        late: (answer) => uniform(['l', seed, answer]) < 0.1,
      });
      const { requests } = asked(events);
      const paid = [
        ...new Map(requests.filter(({ answer }) => answer !== null).map((one) => [one.seq, one])).values(),
      ];
      expect(paid.map(({ request, answer }) => ({ request, answer }))).toEqual(sent);
    }),
    { numRuns: 60 },
  );
});

test('J4 each round of a tool loop is there with its own answer, and with what its tools said', () => {
  const search = (round: number) => ({
    id: `c${round}`,
    name: 'vector_db_search',
    arguments: '{"query":"tides"}',
  });
  const { events } = carried({
    ...PLAIN,
    script: {
      ...PLAIN.script,
      tools: ({ stage }) =>
        stage.type === 'answering' && stage.toolRounds.length < 2 ? [search(stage.toolRounds.length)] : [],
    },
  });
  const ofTurn = asked(events).requests.filter(({ turn }) => turn === 2);
  expect(ofTurn.map(({ purpose, result }) => [purpose, result.type])).toEqual([
    ['question', 'used'],
    ['answer', 'tools'],
    ['answer', 'tools'],
    ['answer', 'used'],
    ['verdict', 'used'],
  ]);
  expect(ofTurn[2]?.answer?.toolCalls).toEqual([search(1)]);
  expect(ofTurn[2]?.result).toEqual({
    type: 'tools',
    uses: [
      {
        id: 'c1',
        name: 'vector_db_search',
        arguments: { query: 'tides' },
        result: { said: 'vector_db_search' },
      },
    ],
  });
  // The request of the next round shows what was said in this one.
  expect(ofTurn[3]?.request?.messages.slice(0, -2)).toEqual(ofTurn[2]?.request?.messages);
});

test('rejected questions, repairs and what was offered belong to their attempt', () => {
  const { events } = carried({
    ...PLAIN,
    rejects: (check) => check === 2,
    script: {
      ...PLAIN.script,
      broken: ({ stage }) =>
        stage.type === 'judging' && stage.exchange.broken === null ? '{"score": "high"}' : null,
    },
  });
  const { requests, offered } = asked(events);
  const ofTurn = requests.filter(({ turn }) => turn === 2);
  expect(ofTurn.map(({ purpose, attempt, result }) => [purpose, attempt, result.type])).toEqual([
    ['question', 0, 'rejected'],
    ['question', 1, 'used'],
    ['answer', 1, 'used'],
    ['verdict', 1, 'malformed'],
    ['verdict', 1, 'used'],
  ]);
  expect(offered.filter(({ turn }) => turn === 2).map(({ attempt }) => attempt)).toEqual([0, 1]);
  expect(offered.every(({ passages }) => passages.length > 0)).toBe(true);
});

test('what a conversation was sent back behind is marked, and what serves again is there again', () => {
  const { events } = carried({ ...PLAIN, sendBackTo: 2 });
  const summary = asked(events).requests.map(
    ({ turn, purpose, undone }) => `${turn} ${purpose}${undone ? ' undone' : ''}`,
  );
  expect(summary.slice(0, 4)).toEqual(['1 question', '1 answer', '1 verdict', '2 question']);
  expect(summary).toContain('2 answer undone');
  expect(summary).toContain('3 question undone');
  expect(summary.filter((line) => line === '2 answer')).toHaveLength(1);
  expect(summary.at(-1)).toBe('3 verdict');
});

test('an answer that came too late has its request too', () => {
  const { events } = carried({ ...PLAIN, late: (answer) => answer === 2 });
  const late = asked(events).requests.find(({ result }) => result.type === 'late');
  expect(late).toMatchObject({ turn: 1, purpose: 'answer', request: { role: 'assistant' } });
});
