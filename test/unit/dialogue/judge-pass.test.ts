import { describe, expect, test } from 'vitest';
import type { ConversationPayload } from '../../../src/dialogue/conversation-record.ts';
import { type ConversationState, initialConversation } from '../../../src/dialogue/conversation-state.ts';
import { judgePassOf } from '../../../src/dialogue/judge-pass.ts';
import {
  isSelfReported,
  judgedFromJournal,
  judgedFromRecord,
  verdictRequest,
  WHOLE,
} from '../../../src/dialogue/judge-requests.ts';
import { payloadOf } from '../../../src/dialogue/payload.ts';
import { type Prompts, preparePrompts, type RunPromptValues } from '../../../src/dialogue/prompts.ts';
import { dialogueOf } from '../../support/dialogue-context.ts';
import { samplePayload, sampleTurn } from '../export/sample-dataset.ts';

const { prompts } = dialogueOf({});

const withTurnText = (turn: string): Prompts => {
  const tasks = { ...prompts.assets.tasks };
  tasks.qa_judge_task = { ...tasks.qa_judge_task, turn };
  return preparePrompts({ ...prompts.assets, tasks }, prompts.run);
};
const withRun = (change: Partial<RunPromptValues>): Prompts =>
  preparePrompts(prompts.assets, { ...prompts.run, ...change });

describe('the key of a pass', () => {
  const pass = judgePassOf(prompts, 'turn', 'm');

  test('is another one for another granularity, model, prompt or list of reasons', () => {
    const others = [
      judgePassOf(prompts, 'conversation', 'm'),
      judgePassOf(prompts, 'turn', 'n'),
      judgePassOf(withTurnText(`${prompts.assets.tasks.qa_judge_task.turn} Be strict.`), 'turn', 'm'),
      judgePassOf(withRun({ judgeReasons: ['vague'] }), 'turn', 'm'),
    ];
    expect(new Set([pass, ...others].map(({ id }) => id)).size).toBe(5);
    expect(judgePassOf(preparePrompts(prompts.assets, prompts.run), 'turn', 'm')).toEqual(pass);
  });

  test('does not change with what the judge is not shown', () => {
    const other = withTurnText('Something else');
    expect(judgePassOf(other, 'conversation', 'm')).toEqual(judgePassOf(prompts, 'conversation', 'm'));
    expect(judgePassOf(withRun({ topK: 99, question: 'Why?' }), 'turn', 'm')).toEqual(pass);
    const shown = withTurnText('Answer {{ question }} with {{ retrieval_default_k }}');
    const changed = preparePrompts(shown.assets, { ...shown.run, topK: 99 });
    expect(judgePassOf(changed, 'turn', 'm').id).not.toBe(judgePassOf(shown, 'turn', 'm').id);
  });
});

describe('the pass of what a run judged', () => {
  const { settings } = dialogueOf({ settings: { judge: { granularity: 'turn', reasons: [], pass: 'p' } } });
  const verdict = { score: 8, reasons: [], notes: '', question_ok: true, answer_ok: true };
  const payloadWith = (judgeSeqs: readonly number[]): ConversationPayload => {
    const attempt = {
      attempt: 0,
      plan: { mode: 'fresh', seed: null },
      offered: [],
      question: { user_message: 'Why?', grounding_facts: [], coverage_target: '' },
      questionSeqs: [1],
    };
    const turn = {
      turn: 1,
      attempts: [attempt],
      toolRounds: [],
      answer: {},
      answerSeqs: [2],
      verdict,
      judgeSeqs,
    };
    const persona = { id: '', text: '' };
    const plan = { conversationId: 'c', turnCount: 1, userPersona: persona, assistantPersona: persona };
    const key = { runId: 'R', languageIndex: 0, index: 0 };
    const state = { ...initialConversation(key), plan, turns: [turn] } as unknown as ConversationState;
    return payloadOf(state, settings, samplePayload(0).inputs);
  };

  test('is that of its prompt; of verdicts that 0.1.0 gave nothing is known', () => {
    expect(payloadWith([3]).judgePass).toBe('p');
    expect(payloadWith([])).not.toHaveProperty('judgePass');
  });
});

describe('what the judge sees of a record without a journal', () => {
  const results = {
    results: [
      { source: 'a.md', content: 'Nine metres.' },
      { source: 'b.md', content: 'Nine metres.' },
    ],
  };
  const payload = (results: object): ConversationPayload => {
    const call = { id: 'c', name: 'vector_db_search', arguments: {}, result: results as never };
    return samplePayload(0, {
      turns: [sampleTurn(1, { toolRounds: [{ content: '', calls: [call] }] }), sampleTurn(2)],
    });
  };
  const textOf = (conversation: ReturnType<typeof judgedFromRecord>, turn: number): string =>
    verdictRequest(conversation, turn, prompts, { tries: 0, broken: null }).messages.at(-1)?.content ?? '';

  test('tool results, each text once; what the models say where there are none, and that is known', () => {
    const conversation = judgedFromRecord(payload(results));
    expect(conversation.turns.map(({ evidenceFrom }) => evidenceFrom)).toEqual(['shown', 'models']);
    expect([1, 2, WHOLE].map((turn) => isSelfReported(conversation, turn))).toEqual([false, true, true]);
    expect(textOf(conversation, 1).match(/"content":"Nine metres\."/g)).toHaveLength(1);
    expect(textOf(conversation, 1)).not.toContain('Basin depth');
    expect(textOf(conversation, 2)).toContain(
      '{"source":"Harbour guide, Basins","content":"Basin depth: nine metres."}',
    );
  });

  test('of a turn that was taken over from 0.1.0 the journal knows nothing, so its record speaks', () => {
    const turn = (inLedger: boolean) => ({
      turn: 1,
      attempts: [{ offered: [], ...(inLedger ? { inLedger } : {}) }],
      toolRounds: [],
    });
    const evidenceOf = (inLedger: boolean) =>
      judgedFromJournal(samplePayload(0, { turns: [sampleTurn(1)] }), {
        turns: [turn(inLedger)],
      } as unknown as ConversationState).turns[0];
    expect(evidenceOf(true)).toMatchObject({ evidenceFrom: 'models', evidence: [{}] });
    expect(evidenceOf(false)).toMatchObject({ evidenceFrom: 'shown', evidence: [] });
  });

  test('a turn is judged with the turns before it, and another try is another request', () => {
    const conversation = judgedFromRecord(payload(results));
    expect(textOf(conversation, 2)).toContain('Turn 1 - User: How deep is basin 1?');
    expect(textOf(conversation, 1)).not.toContain('basin 2');
    const again = verdictRequest(conversation, 1, prompts, { tries: 1, broken: null });
    expect(again.messages.at(-1)?.content).toContain('Try 2');
  });

  test('odd values in a record are no evidence and no failure', () => {
    const odd = sampleTurn(1, {
      question: { user_message: 7, grounding_facts: 'none' },
      answer: {
        assistant_message: null,
        reasoning_trace: { evidence: ['A plain text', 3, null, { id: 'E1' }] },
      },
      toolRounds: [],
    });
    const conversation = judgedFromRecord(samplePayload(0, { turns: [odd] }));
    expect(conversation.turns[0]?.evidence).toEqual([{ source: '', content: 'A plain text' }]);
    expect(textOf(conversation, 1)).toContain('Answer: "MISSING_ASSISTANT_MESSAGE"');
  });
});
