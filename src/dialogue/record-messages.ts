/** The parts of records that are lists of messages: what was said, by whom, with which tools. */
import type { ConversationPayload, JsonObject, PayloadToolCall, PayloadTurn } from './conversation-record.ts';
import { pythonJson, pythonText } from './python-json.ts';

export const userMessage = (turn: PayloadTurn): string => pythonText(turn.question['user_message']);
export const assistantMessage = (turn: PayloadTurn): string => pythonText(turn.answer['assistant_message']);

/** Tool calls of a turn, round by round, every call with an id that no other call of the turn has. */
export interface NamedToolRound {
  readonly content: string;
  readonly calls: readonly PayloadToolCall[];
}

/**
 * A call without an id gets `call_<turn>_<n>`, n from 0 over the turn; so does one that repeats an id of
 * the turn. The same id stands in the call, in its result and in `tool_events`.
 */
export function namedToolRounds(turn: PayloadTurn): readonly NamedToolRound[] {
  const taken = new Set<string>();
  let count = 0;
  const named = (call: PayloadToolCall): PayloadToolCall => {
    const id = call.id !== '' && !taken.has(call.id) ? call.id : freeId(turn.turn, count, taken);
    taken.add(id);
    count += 1;
    return { id, name: call.name, arguments: call.arguments, result: call.result };
  };
  return turn.toolRounds.map((round) => ({ content: round.content, calls: round.calls.map(named) }));
}

function freeId(turn: number, count: number, taken: ReadonlySet<string>): string {
  let n = count;
  while (taken.has(`call_${turn}_${n}`)) n += 1;
  return `call_${turn}_${n}`;
}

interface Message {
  readonly role: string;
  readonly content: string;
  readonly turn_index?: number;
  readonly agent?: string;
}

function message(role: string, content: string, agent: string, turnIndex: number | null): Message {
  return {
    role,
    content,
    ...(turnIndex === null ? {} : { turn_index: turnIndex }),
    ...(agent === '' ? {} : { agent }),
  };
}

/** `{role, content, turn_index?, agent?}`; empty messages are left out. */
export function messages(payload: ConversationPayload, withTurnIndex: boolean): readonly Message[] {
  return payload.turns
    .flatMap((turn) => {
      const index = withTurnIndex ? turn.turn : null;
      return [
        message('user', userMessage(turn), payload.agents.user, index),
        message('assistant', assistantMessage(turn), payload.agents.assistant, index),
      ];
    })
    .filter((entry) => entry.content !== '');
}

/**
 * One assistant message per tool round, with its own text and calls, then its results: the order in which it
 * happened. Made once for a conversation: its file and its ShareGPT rows quote the same, and results are long.
 */
export function messagesWithTools(payload: ConversationPayload): readonly object[] {
  const made = madeWithTools.get(payload) ?? makeWithTools(payload);
  madeWithTools.set(payload, made);
  return made;
}

const madeWithTools = new WeakMap<ConversationPayload, readonly object[]>();

function makeWithTools(payload: ConversationPayload): readonly object[] {
  return payload.turns.flatMap((turn) => [
    ...nonEmpty(message('user', userMessage(turn), payload.agents.user, null)),
    ...namedToolRounds(turn).flatMap((round) => toolRoundMessages(round, payload.agents.assistant)),
    ...nonEmpty(message('assistant', assistantMessage(turn), payload.agents.assistant, null)),
  ]);
}

const nonEmpty = (entry: Message): readonly Message[] => (entry.content === '' ? [] : [entry]);

function toolRoundMessages(round: NamedToolRound, agent: string): readonly object[] {
  if (round.calls.length === 0) return nonEmpty(message('assistant', round.content, agent, null));
  const request = {
    role: 'assistant',
    content: round.content,
    tool_calls: round.calls.map((call) => ({
      id: call.id,
      type: 'function',
      function: { name: call.name, arguments: pythonJson(call.arguments) },
    })),
    ...(agent === '' ? {} : { agent }),
  };
  const results = round.calls.map((call) => ({
    role: 'tool',
    tool_call_id: call.id,
    name: call.name,
    content: pythonJson(call.result),
  }));
  return [request, ...results];
}

export function conversationHistory(payload: ConversationPayload): readonly object[] {
  return payload.turns.flatMap((turn) => {
    const trace = turn.answer['reasoning_trace'];
    return [
      {
        turn_index: turn.turn,
        role: 'user',
        message: userMessage(turn),
        agent: payload.agents.user,
        intent: pythonText(turn.question['intent']),
        difficulty: pythonText(turn.question['difficulty']),
        coverage_target: pythonText(turn.question['coverage_target']),
      },
      {
        turn_index: turn.turn,
        role: 'assistant',
        message: assistantMessage(turn),
        agent: payload.agents.assistant,
        confidence: pythonText((trace as JsonObject | null | undefined)?.['confidence']),
      },
    ];
  });
}
