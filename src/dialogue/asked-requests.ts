/** What a conversation asked its models, in order, read from its journal. */
import type { ChatMessage, ModelAnswer, ModelRequest } from './chat.ts';
import {
  type ConversationEvent,
  type ConversationKey,
  type ConversationState,
  initialConversation,
  type Purpose,
} from './conversation-state.ts';
import { evolve } from './evolve-conversation.ts';
import { answerOutput, questionOutput } from './outputs.ts';
import type { Passage } from './passage.ts';
import { roleOf, verdictOutput } from './requests.ts';
import { messagesOf, type StoredRequest } from './stored-request.ts';
import { toolSpecs } from './tools.ts';

export interface AskedRequest {
  /** Journal position of the answer; of the refusal, when there is none. */
  readonly seq: number;
  /** From 1; null for a verdict on the whole conversation. */
  readonly turn: number | null;
  /** Of the turn's question, from 0; null for a verdict on the whole conversation. */
  readonly attempt: number | null;
  readonly purpose: Purpose;
  readonly requestKey: string;
  /** Null for a request that was refused, and for a late answer that an older release journalled. */
  readonly request: ModelRequest | null;
  readonly answer: ModelAnswer | null;
  readonly usedName: string;
  readonly result: AskedResult;
  /** True when the conversation was sent back behind this later: it is in no record. */
  readonly undone: boolean;
}

export type AskedResult =
  | { readonly type: 'used' }
  /** The answer asked for tools; these are their results. */
  | { readonly type: 'tools'; readonly uses: readonly UsedTool[] }
  | { readonly type: 'malformed'; readonly errors: readonly string[] }
  /** A question that was asked before. */
  | { readonly type: 'rejected'; readonly by: 'own_turn' | 'committed' | 'claim' }
  | { readonly type: 'refused'; readonly reason: string }
  /** It came when nobody waited for it any more. */
  | { readonly type: 'late' };

export interface UsedTool {
  readonly id: string;
  readonly name: string;
  readonly arguments: Readonly<Record<string, unknown>>;
  readonly result: Readonly<Record<string, unknown>>;
}

/** Passages that were offered for the question of an attempt. */
export interface OfferedPassages {
  readonly turn: number;
  readonly attempt: number;
  readonly passages: readonly Passage[];
}

export interface AskedConversation {
  readonly requests: readonly AskedRequest[];
  readonly offered: readonly OfferedPassages[];
  /** After the last event. */
  readonly state: ConversationState;
}

type Draft = { -readonly [K in keyof AskedRequest]: AskedRequest[K] };
type Answered = Extract<ConversationEvent, { type: 'ModelAnswered' | 'LateAnswerKept' }>;

/** @param reasons those that a verdict may name: the schema of a verdict lists them. */
export function askedRequests(
  key: ConversationKey,
  events: readonly ConversationEvent[],
  reasons: readonly string[],
): AskedConversation {
  const requests: Draft[] = [];
  const offered: OfferedPassages[] = [];
  const stored = new Map<number, StoredRequest>();
  let state = initialConversation(key);
  let sent: Extract<ConversationEvent, { type: 'RequestSent' }> | null = null;
  for (const event of events) {
    const seq = state.seq + 1;
    const place = placeOf(state);
    const last = requests.findLast(({ result }) => result.type !== 'late');
    switch (event.type) {
      case 'RequestSent':
        stored.set(seq, event.request);
        sent = event;
        break;
      case 'ModelAnswered':
      case 'LateAnswerKept': {
        const request = sent?.requestKey === event.requestKey ? sent.request : null;
        const restored = request === null ? null : requestOf(request, (at) => stored.get(at), reasons);
        requests.push({ ...answeredBy(event, seq), ...place, request: restored });
        sent = null;
        break;
      }
      case 'AnswerReused': {
        const first = requests.find((known) => known.seq === event.seq);
        if (first !== undefined)
          requests.push({ ...first, ...place, result: { type: 'used' }, undone: false });
        break;
      }
      case 'RequestRefused':
        requests.push({ ...refused(event, seq), ...place });
        break;
      case 'OutputRejected':
        if (last !== undefined) last.result = { type: 'malformed', errors: event.errors };
        break;
      case 'QuestionRejected':
        rejectQuestion(requests, event.by);
        break;
      case 'ToolUsed':
        if (last !== undefined) last.result = withUse(last.result, event.use);
        break;
      case 'EvidenceGathered':
        if (place.turn !== null && place.attempt !== null)
          offered.push({ turn: place.turn, attempt: place.attempt, passages: event.passages });
        break;
      case 'SentBack':
        for (const request of requests) if (isBehind(request, event)) request.undone = true;
        break;
      default:
      // Nothing else is about a request.
    }
    state = evolve(state, event);
  }
  return { requests, offered, state };
}

/** What was asked for a verdict later, outside of the conversation. @param turn null for the whole conversation. */
export function askedVerdicts(
  turn: number | null,
  events: readonly ConversationEvent[],
  reasons: readonly string[],
): AskedRequest[] {
  const requests: Draft[] = [];
  let sent: StoredRequest | null = null;
  events.forEach((event, position) => {
    if (event.type === 'RequestSent') sent = event.request;
    if (event.type !== 'ModelAnswered' || sent === null) return;
    const request = requestOf(sent, () => undefined, reasons);
    requests.push({ ...answeredBy(event, position + 1), turn, attempt: null, request });
  });
  return requests;
}

/** The turn and attempt that are open. */
function placeOf({ stage }: ConversationState): Pick<AskedRequest, 'turn' | 'attempt'> {
  if (!('attempts' in stage)) return { turn: null, attempt: null };
  return { turn: stage.turn, attempt: stage.attempts.at(-1)?.attempt ?? null };
}

const answeredBy = (
  event: Answered,
  seq: number,
): Pick<AskedRequest, 'seq' | 'purpose' | 'requestKey' | 'answer' | 'usedName' | 'result' | 'undone'> => ({
  seq,
  purpose: event.purpose,
  requestKey: event.requestKey,
  answer: event.answer,
  usedName: event.usedName,
  result: { type: event.type === 'LateAnswerKept' ? 'late' : 'used' },
  undone: false,
});

const refused = (
  event: Extract<ConversationEvent, { type: 'RequestRefused' }>,
  seq: number,
): Omit<AskedRequest, 'turn' | 'attempt'> => ({
  seq,
  purpose: event.purpose,
  requestKey: '',
  request: null,
  answer: null,
  usedName: '',
  result: { type: 'refused', reason: event.reason },
  undone: false,
});

/** The last question that was proposed; its repair, not what was repaired. */
function rejectQuestion(requests: Draft[], by: 'own_turn' | 'committed' | 'claim'): void {
  const question = requests.findLast(
    ({ purpose, result }) => purpose === 'question' && result.type === 'used',
  );
  if (question !== undefined) question.result = { type: 'rejected', by };
}

function withUse(
  result: AskedResult,
  { call, ...use }: Extract<ConversationEvent, { type: 'ToolUsed' }>['use'],
): AskedResult {
  const uses = result.type === 'tools' ? result.uses : [];
  return { type: 'tools', uses: [...uses, { id: call.id, name: call.name, ...use }] };
}

/** Everything after the question that was judged wrongly is asked anew. */
function isBehind(
  request: AskedRequest,
  { turn, attempt }: { readonly turn: number; readonly attempt: number },
): boolean {
  if (request.turn === null || request.attempt === null) return true;
  if (request.turn !== turn) return request.turn > turn;
  return request.attempt > attempt || (request.attempt === attempt && request.purpose !== 'question');
}

function requestOf(
  stored: StoredRequest,
  requestAt: (seq: number) => StoredRequest | undefined,
  reasons: readonly string[],
): ModelRequest {
  const tools = toolSpecs({ webSearch: true }).filter(({ name }) => stored.tools.includes(name));
  const messages: readonly ChatMessage[] = messagesOf(stored, requestAt);
  return { role: stored.role, messages, tools, output: specOf(stored, reasons) };
}

function specOf({ role }: StoredRequest, reasons: readonly string[]): ModelRequest['output'] {
  if (role === roleOf('question')) return questionOutput.spec;
  return role === roleOf('answer') ? answerOutput.spec : verdictOutput(reasons).spec;
}
