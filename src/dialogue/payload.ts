/** From a generated conversation to what is committed for it. */
import { invariant } from '../kernel/errors.ts';
import type { ConversationPayload, InputsBase, JsonObject, PayloadTurn } from './conversation-record.ts';
import type { AcceptedTurn, ConversationState } from './conversation-state.ts';
import { coverageOf } from './evidence.ts';
import { legacyQuestionHash } from './question-key.ts';
import type { DialogueSettings } from './settings.ts';
import type { QuestionedTurn } from './validity.ts';

/** A line of the coverage ledger before it has a time (docs/outputs.md), with what files do not say. */
export interface LedgerEntry {
  readonly turn: number;
  readonly passageId: string;
  readonly source: string;
  readonly question: string;
  /** 0.1.0's hash: first 16 hex of SHA-256 of the lower-cased, white-space-collapsed question. */
  readonly questionHash: string;
  readonly questionMode: string;
  readonly seedTopic: string;
  readonly seedQuestion: string;
  readonly seedQuestionHash: string;
}

export function payloadOf(
  state: ConversationState,
  settings: Pick<DialogueSettings, 'languages' | 'question' | 'judge'>,
  inputs: InputsBase,
): ConversationPayload {
  const { plan } = state;
  invariant(plan !== null, 'a finished conversation has a plan');
  return {
    version: 1,
    runId: state.key.runId,
    conversationId: plan.conversationId,
    language: settings.languages[state.key.languageIndex]?.name ?? '',
    languageIndex: state.key.languageIndex,
    index: state.key.index,
    targetTurns: plan.turnCount,
    seedQuestion: settings.question,
    personas: {
      user: plan.userPersona.text,
      assistant: plan.assistantPersona.text,
      userId: plan.userPersona.id,
      assistantId: plan.assistantPersona.id,
    },
    inputs,
    agents: state.agents,
    rehearsal: state.rehearsal,
    turns: state.turns.map(payloadTurn),
    conversationJudge: state.conversationVerdict as JsonObject | null,
    conversationJudgeAnswerSeq:
      state.conversationVerdict === null ? null : (state.conversationJudgeSeqs.at(-1) ?? null),
    ...(settings.judge?.pass !== undefined && ownVerdicts(state) ? { judgePass: settings.judge.pass } : {}),
  };
}

/** False when any was taken over from 0.1.0, whose judge had another prompt: those have no answer in the journal. */
const ownVerdicts = ({ turns, conversationVerdict, conversationJudgeSeqs }: ConversationState): boolean =>
  turns.every(({ verdict, judgeSeqs }) => verdict === null || judgeSeqs.length > 0) &&
  (conversationVerdict === null || conversationJudgeSeqs.length > 0);

function payloadTurn(turn: AcceptedTurn): PayloadTurn {
  const attempt = turn.attempts.at(-1);
  invariant(attempt?.question, 'an accepted turn has a question');
  const passage = coverageOf(attempt);
  return {
    turn: turn.turn,
    attempt: attempt.attempt,
    mode: attempt.plan.mode,
    seedTopic: attempt.plan.seed?.topic ?? '',
    seedQuestion: attempt.plan.seed?.question ?? '',
    question: attempt.question as unknown as JsonObject,
    answer: turn.answer as unknown as JsonObject,
    verdict: turn.verdict as JsonObject | null,
    toolRounds: turn.toolRounds.map((round) => ({
      content: round.content,
      calls: round.uses.map((use) => ({
        id: use.call.id,
        name: use.call.name,
        arguments: use.arguments as JsonObject,
        result: use.result as JsonObject,
      })),
    })),
    answerSeqs: { question: attempt.questionSeqs, answer: turn.answerSeqs, judge: turn.judgeSeqs },
    coverage: { passageId: passage?.id ?? '', source: passage?.source ?? '' },
  };
}

/** Without the questions whose line the ledger file has already. */
export function ledgerOf(state: ConversationState): LedgerEntry[] {
  return state.turns
    .filter((turn) => turn.attempts.at(-1)?.inLedger !== true)
    .map((turn) => {
      const attempt = turn.attempts.at(-1);
      const passage = coverageOf(attempt);
      const question = attempt?.question?.user_message ?? '';
      const seedQuestion = attempt?.plan.seed?.question ?? '';
      return {
        turn: turn.turn,
        passageId: passage?.id ?? attempt?.question?.coverage_target ?? '',
        source: passage?.source ?? '',
        question,
        questionHash: legacyQuestionHash(question),
        questionMode: attempt?.plan.mode ?? '',
        seedTopic: attempt?.plan.seed?.topic ?? '',
        seedQuestion,
        seedQuestionHash: seedQuestion === '' ? '' : legacyQuestionHash(seedQuestion),
      };
    });
}

/** The guesses that the committer checks: every turn's questions, the turn of a drop included. */
export function questionedTurns(state: ConversationState): QuestionedTurn[] {
  const accepted = state.turns.map((turn) => ({
    turn: turn.turn,
    attempts: turn.attempts.map((attempt) => attempt.questionKey),
    accepted: true,
  }));
  if (state.droppedIn === null) return accepted;
  // An attempt without a question asked nothing, so nothing was guessed about it. If its answer failed
  // and not its question, the question was accepted.
  const { turn, attempts } = state.droppedIn;
  const asked = attempts
    .filter((attempt) => attempt.questionKey !== '')
    .map((attempt) => attempt.questionKey);
  const questionHeld =
    state.stage.type === 'ready' &&
    state.stage.outcome.type === 'dropped' &&
    state.stage.outcome.reason !== 'dedup_exhausted' &&
    asked.length === attempts.length;
  return [...accepted, { turn, attempts: asked, accepted: questionHeld }];
}
