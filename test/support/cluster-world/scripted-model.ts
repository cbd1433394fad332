/**
 * What the model of a simulation answers: a function of the request alone (I5). Every answer carries a mark
 * of its own, so that whatever is made of it can be traced back to it (I1).
 */
import type { ModelAnswer, ModelRequest } from '../../../src/dialogue/chat.ts';
import { uniform } from '../../../src/kernel/random.ts';

export const ENDPOINT = 'model';

/** Questions that several conversations come upon. */
const COMMON = ['What is a tide?', 'Who keeps the lighthouse?', 'How deep is the channel?'];
const COMMON_RATE = 0.2;
const MALFORMED_RATE = 0.04;
const SEARCH_RATE = 0.25;

const MARK = /~([0-9a-f]{12})~/g;
export const marksIn = (text: string): string[] => [...text.matchAll(MARK)].map(([, mark]) => mark as string);

export function scriptedAnswer(request: ModelRequest, requestKey: string): ModelAnswer {
  const draw = (what: string): number => uniform([requestKey, what]);
  const mark = `~${requestKey.slice(0, 12)}~`;
  const mayCall = request.tools.length > 0 && !request.messages.some(({ role }) => role === 'tool');
  const calls = mayCall && draw('search') < SEARCH_RATE;
  const content =
    draw('malformed') < MALFORMED_RATE
      ? `I would rather say ${mark}`
      : JSON.stringify(outputOf(request, mark, draw));
  const query = `the rule of the tides and buoys ${mark}`;
  return {
    content: calls ? '' : content,
    toolCalls: calls
      ? [
          {
            id: `call-${requestKey.slice(0, 8)}`,
            name: request.tools[0]?.name ?? '',
            arguments: JSON.stringify({ query }),
          },
        ]
      : [],
    finishReason: calls ? 'tool_calls' : 'stop',
    usage: { promptTokens: 100, cachedTokens: 0, completionTokens: 10 },
    endpoint: ENDPOINT,
    model: 'scripted',
    latencyMs: 1,
    rehearsal: true,
    raw: {},
  };
}

function outputOf({ role, messages }: ModelRequest, mark: string, draw: (what: string) => number): unknown {
  if (role === 'user') {
    const passage = messages.flatMap(({ content }) => content.match(/p-\d+-\d+/g) ?? [])[0] ?? '';
    const common = COMMON[Math.floor(draw('which') * COMMON.length)] ?? '';
    return {
      user_message: draw('common') < COMMON_RATE ? common : `What should a pilot know of ${mark}?`,
      intent: 'how_to',
      difficulty: 'easy',
      grounding_facts: [],
      coverage_target: passage,
      notes_for_assistant: [],
    };
  }
  if (role === 'assistant') return { assistant_message: `It is so, see ${mark}.`, reasoning_trace: NO_TRACE };
  return { score: 7, reasons: [], notes: mark, question_ok: true, answer_ok: true };
}

const NO_TRACE = {
  question: '',
  retrieval_queries: {},
  evidence: [],
  premises: [],
  thinking: [],
  confidence: 'high',
  known_limits: [],
};
