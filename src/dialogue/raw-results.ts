import type { ConversationPayload, PayloadTurn } from './conversation-record.ts';

/** Response bodies by journal sequence number. */
export type RawResponses = ReadonlyMap<number, unknown>;

/**
 * `raw_results[]` (docs/outputs.md). Only `model`, `object` and `choices` of a response are kept:
 * ids, times, usage and fingerprints differ between equal answers, and equal answers must give equal
 * bytes (I5). The whole body stays in the journal. When an answer took several rounds, the last one is
 * `kb_raw` as ever and all of them stand in `kb_raw_rounds`.
 */
export function rawResults(payload: ConversationPayload, responses: RawResponses): readonly object[] {
  const entries: object[] = payload.turns.map((turn) => turnEntry(turn, responses));
  if (payload.conversationJudge !== null) {
    entries.push({
      conversation_judge_raw: lastBody([payload.conversationJudgeAnswerSeq ?? -1], responses),
      conversation_judge: payload.conversationJudge,
    });
  }
  return entries;
}

function turnEntry(turn: PayloadTurn, responses: RawResponses): object {
  const { question, answer, judge } = turn.answerSeqs;
  return {
    turn_index: turn.turn,
    attempt: turn.attempt,
    qa_raw: lastBody(question, responses),
    kb_raw: lastBody(answer, responses),
    judge_raw: lastBody(judge, responses),
    qa_output: turn.question,
    kb_output: turn.answer,
    qa_judge: turn.verdict ?? {},
    ...(answer.length > 1 ? { kb_raw_rounds: answer.map((seq) => stableBody(responses.get(seq))) } : {}),
  };
}

const lastBody = (seqs: readonly number[], responses: RawResponses): unknown =>
  stableBody(responses.get(seqs.at(-1) ?? -1));

function stableBody(body: unknown): unknown {
  if (typeof body !== 'object' || body === null) return body ?? null;
  const fields = body as Record<string, unknown>;
  return { model: fields['model'], object: fields['object'], choices: fields['choices'] };
}

/** The sequence numbers of all answers that a conversation's records quote. */
export function quotedAnswers(payload: ConversationPayload): readonly number[] {
  const seqs = payload.turns.flatMap(({ answerSeqs }) => [
    ...answerSeqs.question.slice(-1),
    ...answerSeqs.answer,
    ...answerSeqs.judge.slice(-1),
  ]);
  return payload.conversationJudgeAnswerSeq === null ? seqs : [...seqs, payload.conversationJudgeAnswerSeq];
}
