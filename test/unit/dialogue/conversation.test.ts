import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type ConversationCommand,
  decide,
  type DialogueContext,
  type Effect,
  effectsOf,
} from '../../../src/dialogue/conversation.ts';
import {
  type ConversationEvent,
  type ConversationState,
  initialConversation,
} from '../../../src/dialogue/conversation-state.ts';
import { evolve } from '../../../src/dialogue/evolve-conversation.ts';
import { coverageOf } from '../../../src/dialogue/evidence.ts';
import { ledgerOf, questionedTurns } from '../../../src/dialogue/payload.ts';
import { questionKey } from '../../../src/dialogue/question-key.ts';
import { below, uniform } from '../../../src/kernel/random.ts';
import { dialogueOf } from '../../support/dialogue-context.ts';
import { answerOf, type Script, throughJson } from '../../support/scripted-dialogue.ts';

const KEY = { runId: 'R', languageIndex: 1, index: 3 };
const replay = (events: readonly ConversationEvent[]): ConversationState =>
  throughJson(events).reduce(evolve, initialConversation(KEY));

const CONTEXTS: readonly DialogueContext[] = [
  dialogueOf({}),
  dialogueOf({ settings: { judge: null, turns: { min: 1, max: 3, distribution: 'uniform', mean: null } } }),
  dialogueOf({
    settings: { judge: { granularity: 'conversation', reasons: ['vague'] }, webSearch: true, seed: 11 },
  }),
];

/** Broken answers, tool calls and repeated questions, by chance but the same for the same request. */
const chancy = (seed: number): Script => ({
  question: (_, turn, attempt) => `Question ${below(['q', seed, turn, attempt], 5)}?`,
  broken: (_, { asked }) => (uniform(['b', seed, asked.requestKey]) < 0.25 ? 'no JSON at all' : null),
  tools: (_, { asked }) =>
    uniform(['t', seed, asked.requestKey]) < 0.5
      ? Array.from({ length: 1 + below(['n', seed, asked.requestKey], 9) }, (__, i) => ({
          id: ['', 'a', 'call_1_0_1', `id${i}`][below(['id', seed, asked.requestKey, i], 4)] as string,
          name: ['vector_db_search', 'web_search', 'launch'][below(['name', seed, i], 3)] as string,
          arguments: ['{"query":"tides"}', '{"query":', '{}'][below(['arguments', seed, i], 3)] as string,
        }))
      : [],
});

/** One conversation with everything that is on its way to it. */
class Rig {
  state = initialConversation(KEY);
  events: ConversationEvent[] = [];
  onTheWay: ConversationCommand[] = [];
  delivered: ConversationCommand[] = [];
  /** Request keys of the answers that somebody had to pay for. */
  paid: string[] = [];
  readonly context: DialogueContext;
  readonly script: Script;

  constructor(context: DialogueContext, script: Script) {
    this.context = context;
    this.script = script;
  }

  deliver(command: ConversationCommand): void {
    const before = this.state;
    const isLate = 'step' in command && command.step !== before.step;
    const isKnown = command.type === 'TakeAnswer' && before.answers[command.asked.requestKey] !== undefined;
    const events = decide(before, command, this.context);
    this.state = events.reduce(evolve, before);
    this.events.push(...throughJson(events));
    this.delivered.push(command);

    if (before.stage.type === 'settled') expect(events).toEqual([]);
    if (isLate) {
      expect({ stage: this.state.stage, step: this.state.step, turns: this.state.turns }).toEqual({
        stage: before.stage,
        step: before.step,
        turns: before.turns,
      });
    }
    if (command.type === 'TakeAnswer' && command.reusedSeq === null && before.stage.type !== 'settled') {
      const seq = this.state.answers[command.asked.requestKey];
      expect(seq, 'what was paid for is kept').toBeDefined();
      if (isLate && isKnown) expect(events).toEqual([]);
    }
  }

  /** Lets an effect happen; its result is on its way. */
  carryOut(effect: Effect, finding: 'new' | 'committed' | 'claim'): void {
    if (effect.type === 'CheckQuestion')
      this.onTheWay.push({ type: 'TakeQuestionCheck', step: effect.step, finding });
    else if (effect.type !== 'HandOver') {
      const command = answerOf(this.state, effect, this.script, this.events);
      if (command.type === 'TakeAnswer' && command.reusedSeq === null)
        this.paid.push(command.asked.requestKey);
      this.onTheWay.push(command);
    }
  }

  /** The process dies; only the journal is left. */
  kill(): void {
    const effects = effectsOf(this.state, this.context);
    const recovered = replay(this.events);
    expect(recovered).toEqual(this.state);
    expect(effectsOf(recovered, this.context)).toEqual(effects);
    this.state = recovered;
    this.onTheWay = [];
  }

  sendBack(choice: number): void {
    const turns = questionedTurns(this.state);
    const turn = turns[choice % Math.max(1, turns.length)];
    // A turn without a question that could be read has nothing that could be wrong about it.
    if (turn === undefined || turn.attempts.length === 0) return;
    const attempt = choice % turn.attempts.length;
    const wasAccepted = turn.accepted && attempt === turn.attempts.length - 1;
    this.deliver({ type: 'SendBack', turn: turn.turn, attempt, verdict: wasAccepted ? 'reject' : 'accept' });
  }

  act(choice: number): void {
    const effects = effectsOf(this.state, this.context);
    const rest = Math.floor(choice / 16);
    const finding = (['new', 'new', 'committed', 'claim'] as const)[rest % 4] as 'new';
    const effect = effects[rest % Math.max(1, effects.length)];
    switch (choice % 16) {
      case 0:
        return this.kill();
      case 1:
      case 2: {
        const again = this.delivered[rest % Math.max(1, this.delivered.length)];
        return again === undefined ? undefined : this.deliver(again);
      }
      case 3:
        return this.sendBack(rest);
      case 4:
        return rest % 8 === 0 ? this.deliver({ type: 'SettleConversation' }) : undefined;
      case 5:
        return this.deliver({ type: 'StartConversation' });
      case 6:
        if (effect?.type === 'AskModel')
          this.onTheWay.push({
            type: 'TakeRefusal',
            step: effect.step,
            purpose: effect.purpose,
            reason: 'no',
          });
        return;
      case 7:
      case 8:
      case 9:
      case 10:
        return effect === undefined ? undefined : this.carryOut(effect, finding);
      default: {
        const [next] = this.onTheWay.splice(rest % Math.max(1, this.onTheWay.length), 1);
        return next === undefined ? undefined : this.deliver(next);
      }
    }
  }

  /** No more faults: it must come to its end by itself. */
  finish(): void {
    this.deliver({ type: 'StartConversation' });
    for (
      let steps = 0;
      this.state.stage.type !== 'ready' && this.state.stage.type !== 'settled';
      steps += 1
    ) {
      expect(steps, `stuck in ${this.state.stage.type}`).toBeLessThan(2_000);
      for (const effect of effectsOf(this.state, this.context)) this.carryOut(effect, 'new');
      for (const command of this.onTheWay.splice(0)) this.deliver(command);
    }
    this.deliver({ type: 'SettleConversation' });
    expect(this.state.stage.type).toBe('settled');
  }
}

const situation = fc.record({
  context: fc.nat({ max: CONTEXTS.length - 1 }),
  seed: fc.nat({ max: 1_000 }),
  choices: fc.array(fc.nat({ max: 16 * 840 }), { maxLength: 160 }),
});

test('whatever arrives in whatever order, how often and after how many kills: the journal is the state, and it ends', () => {
  fc.assert(
    fc.property(situation, ({ context, seed, choices }) => {
      const rig = new Rig(CONTEXTS[context] as DialogueContext, chancy(seed));
      rig.deliver({ type: 'StartConversation' });
      for (const choice of choices) rig.act(choice);
      rig.finish();
      expect(replay(rig.events)).toEqual(rig.state);
      for (const [key, seq] of Object.entries(rig.state.answers)) {
        expect(rig.events[seq - 1]).toMatchObject({ requestKey: key });
        expect(['ModelAnswered', 'LateAnswerKept']).toContain(rig.events[seq - 1]?.type);
      }
      const before = rig.events.length;
      for (const command of rig.delivered.slice(0, 40)) rig.deliver(command);
      expect(rig.events.length, 'a settled conversation is not written to').toBe(before);
    }),
    { numRuns: 60 },
  );
});

test('I1: an answer that is in the journal is never paid for again, also after kills and send-backs', () => {
  let reused = 0;
  fc.assert(
    fc.property(
      fc.nat({ max: 10_000 }),
      fc.array(fc.nat({ max: 4_000 }), { maxLength: 8 }),
      (seed, rounds) => {
        const rig = new Rig(CONTEXTS[seed % CONTEXTS.length] as DialogueContext, chancy(seed));
        rig.deliver({ type: 'StartConversation' });
        for (const [round, choice] of rounds.entries()) {
          for (let step = 0; rig.state.stage.type !== 'ready'; step += 1) {
            if (below([choice, 'kill', step], 9) === 0) rig.kill();
            const finding = below([choice, 'finding', step], 6) === 0 ? 'claim' : 'new';
            for (const effect of effectsOf(rig.state, rig.context)) rig.carryOut(effect, finding);
            // Everything that was asked for arrives, in any order.
            const results = rig.onTheWay.splice(0);
            for (const command of (choice + step) % 2 === 0 ? results : results.toReversed())
              rig.deliver(command);
          }
          // Back and forth over the same turns, so that old requests come up again.
          rig.sendBack(choice % (1 + (round % 3)));
        }
        expect(new Set(rig.paid).size).toBe(rig.paid.length);
        reused += rig.events.filter((event) => event.type === 'AnswerReused').length;
      },
    ),
    { numRuns: 120 },
  );
  expect(reused).toBeGreaterThan(0);
});

describe('one step', () => {
  const until = (rig: Rig, stage: ConversationState['stage']['type']): void => {
    rig.deliver({ type: 'StartConversation' });
    for (let steps = 0; rig.state.stage.type !== stage; steps += 1) {
      expect(steps).toBeLessThan(100);
      for (const effect of effectsOf(rig.state, rig.context)) rig.carryOut(effect, 'new');
      for (const command of rig.onTheWay.splice(0)) rig.deliver(command);
    }
  };
  const plain: Script = { question: (_, turn) => `Question ${turn}?` };
  const context = CONTEXTS[0] as DialogueContext;

  test('J3: calls without an id, or with ids that repeat, are told apart, and every one is answered', () => {
    const ids = ['call_1_0_1', '', '', 'call_1_0_1', 'call_1_0_3', ''];
    const rig = new Rig(context, {
      ...plain,
      tools: () => ids.map((id) => ({ id, name: 'vector_db_search', arguments: '{"query":"tides"}' })),
    });
    until(rig, 'using_tools');
    const { stage } = rig.state;
    if (stage.type !== 'using_tools') throw new Error('unreachable');
    expect(new Set(stage.pending.calls.map((call) => call.id)).size).toBe(ids.length);
    for (const effect of effectsOf(rig.state, rig.context)) rig.carryOut(effect, 'new');
    for (const command of rig.onTheWay.splice(0).toReversed()) rig.deliver(command);
    const { stage: after } = rig.state;
    expect(after.type).toBe('answering');
    if (after.type !== 'answering') throw new Error('unreachable');
    expect(after.toolRounds[0]?.uses.map((use) => use.call.id)).toEqual(
      stage.pending.calls.map((call) => call.id),
    );
  });

  test('a model that only calls tools has to answer after eight rounds, and is given up after a bounded number of calls', () => {
    const calls = [{ id: 'x', name: 'vector_db_search', arguments: '{"query":"tides"}' }];
    const rig = new Rig(context, { ...plain, tools: () => calls });
    until(rig, 'judging');
    const { stage } = rig.state;
    expect(stage.type === 'judging' && stage.toolRounds.length).toBe(8);

    // It goes on calling although nothing is offered any more.
    const stubborn = new Rig(context, {
      ...plain,
      broken: (_, effect) =>
        effect.purpose === 'answer' && effect.asked.request.tools.length === 0 ? '' : null,
      tools: () => calls,
    });
    until(stubborn, 'ready');
    expect(stubborn.state.stage).toMatchObject({ outcome: { type: 'dropped', reason: 'malformed_answer' } });
    const answers = stubborn.events.filter(
      (event) => event.type === 'ModelAnswered' && event.purpose === 'answer',
    );
    expect(answers.length).toBeLessThanOrEqual(8 + 2 * context.settings.maxAttempts);
  });

  test('C16: a question that cannot be read is malformed, not a duplicate', () => {
    const rig = new Rig(context, { ...plain, broken: () => 'no JSON' });
    until(rig, 'ready');
    expect(rig.state.stage).toMatchObject({ outcome: { reason: 'malformed_question' } });
    expect(rig.paid.length).toBe(2 * context.settings.maxAttempts);
    expect(questionedTurns(rig.state)).toEqual([{ turn: 1, attempts: [], accepted: false }]);
  });

  test('A12: an empty answer ends as a drop, never as a turn', () => {
    const rig = new Rig(context, {
      ...plain,
      broken: (_, { purpose }) =>
        purpose === 'answer' ? '{"assistant_message":"  ","reasoning_trace":{"confidence":"high"}}' : null,
    });
    until(rig, 'ready');
    expect(rig.state.stage).toMatchObject({ outcome: { reason: 'malformed_answer' } });
    expect(rig.state.turns).toEqual([]);
    expect(questionedTurns(rig.state)).toEqual([
      { turn: 1, attempts: [questionKey('Question 1?')], accepted: true },
    ]);
  });

  test('E10: a repair shows the model its answer and the faults of it, and has tries of its own', () => {
    const rig = new Rig(context, {
      ...plain,
      broken: (_, { purpose }) => (purpose === 'question' ? '{"user_message": 5}' : null),
    });
    rig.deliver({ type: 'StartConversation' });
    until(rig, 'asking');
    const seen: string[] = [];
    while (rig.state.stage.type === 'asking') {
      for (const effect of effectsOf(rig.state, rig.context)) {
        if (effect.type === 'AskModel')
          seen.push(effect.asked.request.messages.map((message) => message.content).join('\n'));
        rig.carryOut(effect, 'new');
      }
      for (const command of rig.onTheWay.splice(0)) rig.deliver(command);
    }
    expect(seen.length).toBe(2 * context.settings.maxAttempts);
    for (const [position, text] of seen.entries())
      expect(text.includes('{"user_message": 5}')).toBe(position % 2 === 1);
    expect(seen[1]).toContain('user_message');
    expect(new Set(seen).size).toBe(seen.length);
  });

  test('E11: what was searched counts, not what the model says of it', () => {
    const web = CONTEXTS[2] as DialogueContext;
    const rig = new Rig(web, {
      ...plain,
      tools: (state) =>
        state.stage.type === 'answering' && state.stage.toolRounds.length === 0
          ? [{ id: 'w', name: 'web_search', arguments: '{"query":"tides"}' }]
          : [],
    });
    until(rig, 'judging_conversation');
    for (const turn of rig.state.turns) expect(turn.answer.did_web_search).toBe(true);
  });

  test('E18: a judge without a usable verdict gives none, which is not a score of 0', () => {
    for (const judged of [context, CONTEXTS[2] as DialogueContext]) {
      const rig = new Rig(judged, {
        ...plain,
        broken: (_, { purpose }) => (purpose.endsWith('verdict') ? 'five stars' : null),
      });
      until(rig, 'ready');
      expect(rig.state.stage).toMatchObject({ outcome: { type: 'finished' } });
      expect(rig.state.conversationVerdict).toBeNull();
      for (const turn of rig.state.turns) expect(turn.verdict).toBeNull();
    }
  });

  test('C12: a model that names a passage nobody offered is checked for duplicates all the same, and counted for what it was given', () => {
    const rig = new Rig(context, { ...plain, coverageTarget: () => 'a passage of another world' });
    until(rig, 'checking');
    expect(effectsOf(rig.state, context)).toEqual([
      { type: 'CheckQuestion', step: rig.state.step, questionKey: questionKey('Question 1?') },
    ]);
    until(rig, 'ready');
    for (const { attempts } of rig.state.turns)
      expect(coverageOf(attempts.at(-1))?.id).toBe(attempts.at(-1)?.offered[0]?.id);
    for (const { passageId, source } of ledgerOf(rig.state)) expect([passageId, source]).not.toContain('');
  });

  test('C11: a duplicate costs one question call and nothing else', () => {
    const rig = new Rig(context, { question: (_, turn, attempt) => `Question ${turn}.${attempt}?` });
    until(rig, 'checking');
    const paid = rig.paid.length;
    rig.deliver({ type: 'TakeQuestionCheck', step: rig.state.step, finding: 'committed' });
    until(rig, 'checking');
    expect(rig.paid.length - paid).toBe(1);
    expect(rig.state.stage).toMatchObject({ attempts: [{ attempt: 0 }, { attempt: 1 }] });
  });
});
