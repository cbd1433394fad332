/**
 * What the actors of a run take from other nodes (I10): the forms of the messages that may cross the wire,
 * with bounds. Everything that is not here is an actor's own and refused, errors above all. Every function
 * throws for what it refuses.
 */
import { z } from 'zod';
import { REASONS_OF_DROPS } from '../dialogue/conversation-state.ts';
import type {
  ClaimReply,
  CommitterMessage,
  ConversationMessage,
  CoordinatorMessage,
  HandOver,
  QuestionFinding,
  RetrieverMessage,
  RunView,
  SearchReply,
  WaveMessage,
  WorkerMessage,
} from './messages.ts';

/** Conversations that one worker may name; twice what it takes. */
const HELD_MAX = 10_000;
const TURNS_MAX = 1_000;
/** Candidate questions of a turn. */
const ATTEMPTS_MAX = 10_000;
const PASSAGES_MAX = 10_000;
const LANGUAGES_MAX = 10_000;
const WORKERS_MAX = 10_000;

const count = z.int().min(0);
const name = z.string().max(500);
const text = z.string().max(1_000_000);
const shortText = z.string().max(10_000);
const rank = z.object({ index: count, languageIndex: count });
const replyTo = z.object({ node: name, correlation: name });
const actor = z.object({ node: name, path: name, incarnation: z.int() });

const workerHere = z.object({
  type: z.literal('WorkerHere'),
  worker: actor,
  held: z.array(rank).max(HELD_MAX),
  claiming: z.array(rank).max(HELD_MAX),
  lacks: z.array(name).max(100),
  trouble: z.object({ code: name, message: shortText }).nullable(),
  drained: z.boolean(),
});

const coordinatorMessage: z.ZodType<CoordinatorMessage> = z.discriminatedUnion('type', [
  workerHere,
  z.object({ type: z.literal('ClaimWork'), rank, worker: actor, replyTo }),
  z.object({ type: z.literal('StopRun') }),
  z.object({ type: z.literal('WantedChanged') }),
  z.object({ type: z.literal('GetRunView'), replyTo }),
]);
export const decodeCoordinatorMessage = (body: unknown): CoordinatorMessage => coordinatorMessage.parse(body);

const workerMessage: z.ZodType<WorkerMessage> = z.object({
  type: z.literal('RunNotice'),
  epoch: count,
  term: count,
  phase: z.enum(['running', 'paused', 'draining']),
  isLastWindow: z.boolean(),
  leftLanguages: z.array(count).max(LANGUAGES_MAX),
  workerCount: count,
  window: count,
});
export const decodeWorkerMessage = (body: unknown): WorkerMessage => workerMessage.parse(body);

const conversationMessage: z.ZodType<ConversationMessage> = z.object({
  type: z.literal('CommitterSays'),
  epoch: count,
  command: z.discriminatedUnion('type', [
    z.object({ type: z.literal('SettleConversation') }),
    z.object({ type: z.literal('HandOverAgain') }),
    z.object({
      type: z.literal('SendBack'),
      turn: count,
      attempt: count,
      verdict: z.enum(['accept', 'reject']),
    }),
  ]),
});
export const decodeConversationMessage = (body: unknown): ConversationMessage =>
  conversationMessage.parse(body);

const json: z.ZodType<Readonly<Record<string, unknown>>> = z.record(z.string(), z.unknown());
/** The parts that others count on; what models wrote is checked where it is read. */
const payload = z.looseObject({
  version: z.literal(1),
  runId: name,
  conversationId: name,
  languageIndex: count,
  index: count,
  inputs: json,
  turns: z.array(z.looseObject({ turn: count, attempt: count, question: json, answer: json })).max(TURNS_MAX),
});
const ledgerEntry = z.object({
  turn: count,
  passageId: shortText,
  source: shortText,
  question: text,
  questionHash: name,
  questionMode: name,
  seedTopic: text,
  seedQuestion: text,
  seedQuestionHash: name,
});
const questionKey = z.string().max(128);

const handOver = z.object({
  type: z.literal('HandOver'),
  rank,
  conversationId: name,
  conversation: actor.nullable(),
  turns: z
    .array(z.object({ turn: count, attempts: z.array(questionKey).max(ATTEMPTS_MAX), accepted: z.boolean() }))
    .max(TURNS_MAX),
  payload: payload.nullable(),
  ledger: z.array(ledgerEntry).max(TURNS_MAX),
  outcome: z.discriminatedUnion('type', [
    z.object({ type: z.literal('finished') }),
    z.object({ type: z.literal('dropped'), reason: z.enum(REASONS_OF_DROPS), detail: text }),
  ]),
  replyTo: replyTo.exactOptional(),
});
const committerMessage = z.discriminatedUnion('type', [
  z.object({ type: z.literal('CheckQuestion'), rank, questionKey, replyTo }),
  z.object({ type: z.literal('RemindOfHandOver'), rank, conversation: actor }),
  handOver,
]);
/**
 * A payload is checked as far as its parts are counted on, and taken as it came: it is what is committed, to
 * the order of its keys.
 */
export function decodeCommitterMessage(body: unknown): CommitterMessage {
  const message = committerMessage.parse(body);
  if (message.type !== 'HandOver') return message;
  const { payload: asItCame } = body as HandOver;
  return { ...message, payload: asItCame };
}

const waveMessage: z.ZodType<WaveMessage> = z.object({
  type: z.literal('TurnAccepted'),
  rank,
  turn: count,
});
export const decodeWaveMessage = (body: unknown): WaveMessage => waveMessage.parse(body);

const retrieverMessage: z.ZodType<RetrieverMessage> = z.discriminatedUnion('type', [
  z.object({ type: z.literal('Search'), query: text, k: count.max(PASSAGES_MAX), replyTo }),
  z.object({ type: z.literal('Fetch'), ids: z.array(name).max(PASSAGES_MAX), replyTo }),
]);
export const decodeRetrieverMessage = (body: unknown): RetrieverMessage => retrieverMessage.parse(body);

// ---- answers ------------------------------------------------------------------------------------

const claimReply: z.ZodType<ClaimReply> = z.object({
  epoch: count,
  type: z.enum(['granted', 'held', 'settled', 'left', 'not_now']),
});
export const decodeClaimReply = (body: unknown): ClaimReply => claimReply.parse(body);

const finding: z.ZodType<QuestionFinding> = z.enum(['new', 'committed', 'claim']);
export const decodeFinding = (body: unknown): QuestionFinding => finding.parse(body);

const passage = z.object({
  id: name,
  source: shortText,
  descriptor: shortText,
  index: count,
  text: z.string(),
  charStart: count,
  charEnd: count,
});
const searchReply: z.ZodType<SearchReply> = z.discriminatedUnion('type', [
  z.object({ type: z.literal('found'), passages: z.array(passage).max(PASSAGES_MAX) }),
  z.object({ type: z.literal('failed'), message: z.string() }),
  z.object({ type: z.literal('busy') }),
]);
export const decodeSearchReply = (body: unknown): SearchReply => searchReply.parse(body);

const runView: z.ZodType<RunView> = z.object({
  phase: z.enum(['running', 'paused', 'draining', 'ended']),
  epoch: count,
  languages: z
    .array(
      z.object({
        languageIndex: count,
        target: count,
        committed: count,
        dropped: count,
        consecutiveDrops: count,
        frontier: count,
        ended: z.enum(['reached', 'failed']).nullable(),
        open: count,
        turns: count,
      }),
    )
    .max(LANGUAGES_MAX),
  open: count,
  waiting: count,
  workers: z
    .array(
      z.object({ worker: name, conversations: count, lacks: z.array(name).max(100), drained: z.boolean() }),
    )
    .max(WORKERS_MAX),
});
export const decodeRunView = (body: unknown): RunView => runView.parse(body);
