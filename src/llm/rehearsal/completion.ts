import { unreachable } from '../../kernel/errors.ts';
import { Draws } from './draws.ts';
import type { ContentFault } from './faults.ts';
import type { Answer } from './scene.ts';

/** What goes out: the answer after its content fault and its token limit. */
export interface Completion {
  readonly content: string;
  readonly toolCalls: readonly { readonly id: string; readonly name: string; readonly arguments: string }[];
  readonly finishReason: 'stop' | 'length' | 'tool_calls';
  readonly completionTokens: number;
  /** The fault that was really applied; some do not fit some answers. */
  readonly fault: ContentFault;
}

type Draft = Omit<Completion, 'completionTokens'>;

export function complete(answer: Answer, fault: ContentFault, key: string, maxTokens: number): Completion {
  const draws = new Draws('completion', key);
  return limited(
    answer.type === 'tools' ? withCalls(answer, fault, key) : withContent(answer, fault, draws),
    maxTokens,
  );
}

type Calls = Extract<Answer, { type: 'tools' }>;
type Content = Exclude<Answer, Calls>;

function withCalls(answer: Calls, fault: ContentFault, key: string): Draft {
  const toolCalls = answer.calls.map((call, index) => ({
    id: `call_${key.slice(0, 20)}_${index}`,
    name: call.name,
    arguments: JSON.stringify(call.arguments),
  }));
  const good: Draft = { content: '', toolCalls, finishReason: 'tool_calls', fault: 'none' };
  const rewritten = (rewrite: (text: string) => string) =>
    toolCalls.map((call) => ({ ...call, arguments: rewrite(call.arguments) }));
  switch (fault) {
    case 'truncated':
      return {
        ...good,
        toolCalls: rewritten((text) => text.slice(0, text.length >> 1)),
        finishReason: 'length',
        fault,
      };
    case 'malformed':
      return {
        ...good,
        toolCalls: rewritten((text) => text.replaceAll('"', '').replaceAll(':', '=>')),
        fault,
      };
    case 'wrong_type':
      return {
        ...good,
        toolCalls: rewritten((text) => JSON.stringify(mistyped(JSON.parse(text), 0))),
        fault,
      };
    case 'empty':
      return { ...good, toolCalls: [], finishReason: 'stop', fault };
    case 'prose':
      return { ...good, content: 'Let me look that up first.', fault };
    case 'none':
    case 'duplicate':
      return good;
    default:
      return unreachable(fault);
  }
}

function withContent(answer: Content, fault: ContentFault, draws: Draws): Draft {
  const text = answer.type === 'text' ? answer.text : JSON.stringify(answer.value);
  const say = (content: string, applied: ContentFault): Draft => ({
    content,
    toolCalls: [],
    finishReason: applied === 'truncated' ? 'length' : 'stop',
    fault: applied,
  });
  if (fault === 'truncated')
    return say(text.slice(0, Math.floor(text.length * (0.3 + 0.5 * draws.unit('cut')))), fault);
  if (fault === 'empty') return say('', fault);
  if (answer.type === 'text') return say(text, 'none');
  switch (fault) {
    case 'malformed':
      return say(malformed(text, answer.value, draws), fault);
    case 'wrong_type':
      return say(JSON.stringify(mistyped(answer.value, draws.below('type', 3))), fault);
    case 'prose':
      return say(inProse(text, draws), fault);
    case 'duplicate':
      return say(text, 'user_message' in answer.value ? fault : 'none');
    case 'none':
      return say(text, fault);
    default:
      return unreachable(fault);
  }
}

/** Broken beyond what a lenient reader may repair: keys or most of the values are lost. */
function malformed(text: string, value: Readonly<Record<string, unknown>>, draws: Draws): string {
  switch (draws.below('malformed', 3)) {
    case 0:
      return Object.entries(value)
        .map(([name, item]) => `${name} = ${typeof item === 'string' ? item : JSON.stringify(item)}`)
        .join('\n');
    case 1:
      return text.replaceAll('"', '').replaceAll(':', '=>');
    default:
      return `${text.slice(0, Math.max(2, text.length >> 3))}}}]`;
  }
}

/** The first text (or the first value, when there is none) as a number, a list or an object. */
function mistyped(value: unknown, variant: number): unknown {
  const entries = Object.entries(value as Readonly<Record<string, unknown>>);
  const texts = entries.findIndex(([, item]) => typeof item === 'string');
  const target = texts === -1 || entries[0]?.[0] === 'score' ? 0 : texts;
  const wrong = (item: unknown): unknown => {
    if (typeof item === 'number') return variant === 0 ? 'high' : [item];
    return [42, [item], { text: item }][variant];
  };
  return Object.fromEntries(
    entries.map(([name, item], index) => [name, index === target ? wrong(item) : item]),
  );
}

/** Every form is met in the wild and can be read by a careful client. */
function inProse(text: string, draws: Draws): string {
  switch (draws.below('prose', 4)) {
    case 0:
      return `Here is the JSON that you asked for:\n\n\`\`\`json\n${text}\n\`\`\`\n\nLet me know if you need anything else.`;
    case 1:
      return `<think>\nThe answer has to be an object {like this}, so I fill in its fields.\n</think>\n${text}`;
    case 2:
      return `\`\`\`\n${text}\n\`\`\``;
    default:
      return `Sure!\n${text}\nAll fields are filled in.`;
  }
}

function limited(draft: Draft, maxTokens: number): Completion {
  const size =
    draft.content.length + draft.toolCalls.reduce((sum, call) => sum + call.arguments.length + 16, 0);
  const completionTokens = Math.max(1, Math.ceil(size / 4));
  if (completionTokens <= maxTokens) return { ...draft, completionTokens };
  const chars = maxTokens * 4;
  return {
    ...draft,
    content: draft.content.slice(0, chars),
    toolCalls: draft.toolCalls.map((call) => ({ ...call, arguments: call.arguments.slice(0, chars) })),
    finishReason: 'length',
    completionTokens: maxTokens,
  };
}
