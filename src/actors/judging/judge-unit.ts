/**
 * One verdict: ask, repair once, record. Its paid answers are journalled before anything depends on them (I1),
 * so whoever comes back to it after a crash finds them by the key of their request and pays for none again.
 */
import type { ModelAnswer } from '../../dialogue/chat.ts';
import type { JsonObject } from '../../dialogue/conversation-record.ts';
import type { ConversationEvent, Exchange } from '../../dialogue/conversation-state.ts';
import {
  isSelfReported,
  type JudgedConversation,
  verdictKind,
  verdictRequest,
  WHOLE,
} from '../../dialogue/judge-requests.ts';
import { parseOutput } from '../../dialogue/outputs.ts';
import type { Prompts } from '../../dialogue/prompts.ts';
import { type KeyedRequest, keyed, toStored } from '../../dialogue/stored-request.ts';
import { type DatasetId, persistenceId } from '../../kernel/ids.ts';
import type { Journal } from '../../ports/store.ts';
import { judgePrefix, type StoredVerdict } from '../../ports/verdicts.ts';
import { decodeConversationEvent } from '../../protocol/stored-events.ts';
import type { CallResult } from '../endpoint-router/model-calls.ts';

/** What is to be judged, and how far it is. */
export interface JudgeUnit {
  readonly conversation: JudgedConversation;
  /** A turn of it, or `WHOLE`. */
  readonly turn: number;
  readonly round: number;
  /** Questions in this round that came to nothing. */
  readonly tries: number;
}

/** A question to the judge as whoever answers sees it. Equal requests of a unit have equal keys, over processes. */
export interface AskedVerdict {
  readonly unit: JudgeUnit;
  readonly asked: KeyedRequest;
}

/** `later`: the question was taken, and its answer will be in the journal of the unit at another look. */
export type VerdictAnswer = CallResult | { readonly type: 'later' };

export interface UnitParts {
  readonly datasetId: DatasetId;
  /** Id of the pass. */
  readonly pass: string;
  readonly prompts: Prompts;
  readonly journal: Pick<Journal, 'recover' | 'append'>;
  readonly ask: (question: AskedVerdict) => Promise<VerdictAnswer>;
  /** The name that records give the judge which answered. */
  readonly usedName: (endpoint: string) => string;
}

/** The journal of a unit. */
export const unitPersistenceId = (
  datasetId: DatasetId,
  pass: string,
  { conversation, turn, round }: Pick<JudgeUnit, 'conversation' | 'turn' | 'round'>,
) =>
  persistenceId(
    `${judgePrefix(datasetId, pass)}${round}/${encodeURIComponent(conversation.conversationId.toWellFormed())}/${turn}`,
  );

/**
 * Null when the answer comes later.
 * @throws DlgforgeError as whoever answers does, and `stale_epoch` when another process judges the same.
 */
export async function judgeUnit(unit: JudgeUnit, parts: UnitParts): Promise<StoredVerdict | null> {
  const answers = await openAnswers(unit, parts);
  let broken: Exchange['broken'] = null;
  for (;;) {
    const request = verdictRequest(unit.conversation, unit.turn, parts.prompts, {
      tries: unit.tries,
      broken,
    });
    const result = await answers.to(keyed(request));
    if (result.type === 'later') return null;
    if (result.type === 'refused') return without(unit, `refused: ${result.reason}`, null);
    const parsed = parseOutput(verdictKind(parts.prompts).schema, result.answer.content);
    if (parsed.ok) return given(unit, parsed.value, result.answer);
    // One repair; what cannot be read after it is no verdict, and no score of 0 (E18).
    if (broken !== null) return without(unit, `unusable: ${parsed.errors.join('; ')}`, result.answer);
    broken = { content: result.answer.content, errors: parsed.errors };
  }
}

interface Answers {
  /** The answer that was paid for before, or a new one, which is durable when it is given. */
  to(asked: KeyedRequest): Promise<VerdictAnswer>;
}

async function openAnswers(unit: JudgeUnit, parts: UnitParts): Promise<Answers> {
  const { journal, ask, usedName } = parts;
  const id = unitPersistenceId(parts.datasetId, parts.pass, unit);
  const { epoch, events, lastSeq } = await journal.recover(id);
  const kept = new Map<string, ModelAnswer>();
  let sent: string | null = null;
  for (const { event } of events) {
    const decoded = decodeConversationEvent(event);
    if (decoded.type === 'RequestSent') sent = decoded.requestKey;
    if (decoded.type === 'ModelAnswered') kept.set(decoded.requestKey, decoded.answer);
  }
  let seq = lastSeq;
  return {
    async to(asked) {
      const { requestKey } = asked;
      const earlier = kept.get(requestKey);
      if (earlier !== undefined) return { type: 'answered', answer: earlier, retries: 0 };
      const result = await ask({ unit, asked });
      if (result.type === 'refused') return result;
      const request = { type: 'RequestSent', requestKey, request: toStored(asked, {}) } as const;
      if (result.type === 'later') {
        if (sent !== requestKey) await journal.append(id, epoch, seq, [request]);
        return result;
      }
      const { answer } = result;
      await journal.append(id, epoch, seq, [
        request,
        verdictAnswered(unit.turn, requestKey, usedName(answer.endpoint), answer),
      ]);
      seq += 2;
      kept.set(requestKey, answer);
      return result;
    },
  };
}

/** A paid answer as the journal of its unit has it. */
export const verdictAnswered = (
  turn: number,
  requestKey: string,
  usedName: string,
  answer: ModelAnswer,
): Extract<ConversationEvent, { readonly type: 'ModelAnswered' }> => ({
  type: 'ModelAnswered',
  purpose: turn === WHOLE ? 'conversation_verdict' : 'verdict',
  requestKey,
  usedName,
  answer,
});

function given(unit: JudgeUnit, verdict: object, answer: ModelAnswer): StoredVerdict {
  const marked = isSelfReported(unit.conversation, unit.turn)
    ? { ...verdict, evidence_source: 'self_reported' }
    : verdict;
  return { ...recorded(unit, answer), verdict: marked as JsonObject, reason: null };
}

const without = (unit: JudgeUnit, reason: string, answer: ModelAnswer | null): StoredVerdict => ({
  ...recorded(unit, answer),
  verdict: null,
  reason,
});

function recorded(unit: JudgeUnit, answer: ModelAnswer | null): Omit<StoredVerdict, 'verdict' | 'reason'> {
  return {
    conversationId: unit.conversation.conversationId,
    turn: unit.turn,
    round: unit.round,
    tries: unit.tries + 1,
    raw: answer === null ? null : rawOf(answer.raw),
    rehearsal: answer?.rehearsal ?? false,
  };
}

/** Ids, times and usage stay in the journal: they differ between equal answers (I5). */
function rawOf(body: unknown): JsonObject | null {
  if (typeof body !== 'object' || body === null) return null;
  const { model = null, object = null, choices = null } = body as JsonObject;
  return { model, object, choices };
}
