/** `evolve` of the conversation machine: the state after an event (C1 to C4 in `conversation-state.ts`). */
import { invariant, unreachable } from '../kernel/errors.ts';
import {
  type AcceptedTurn,
  type Attempt,
  type ConversationEvent,
  type ConversationState,
  type DropReason,
  type Exchange,
  type OpenAnswer,
  openAttempt,
  type OpenTurn,
  type Purpose,
  type Stage,
  type ToolUse,
} from './conversation-state.ts';
import type { JudgeOutput } from './outputs.ts';
import { placesAfter } from './stored-request.ts';

const FIRST_TRY: Exchange = { tries: 0, broken: null, problem: null };

/** The state after `event`. */
export function evolve(state: ConversationState, event: ConversationEvent): ConversationState {
  return { ...applied(state, event), seq: state.seq + 1 };
}

function applied(state: ConversationState, event: ConversationEvent): ConversationState {
  const { stage } = state;
  switch (event.type) {
    case 'ConversationStarted':
      return moved(
        state,
        { type: 'between_turns' },
        { plan: event.plan, agents: event.agents ?? state.agents },
      );
    case 'TurnOpened': {
      const earlier = stage.type === 'rejected' ? stage.attempts : [];
      const attempt: Attempt = {
        attempt: event.attempt,
        plan: event.plan,
        offered: [],
        question: null,
        questionKey: '',
        questionSeqs: [],
      };
      return moved(state, { type: 'gathering', turn: event.turn, attempts: [...earlier, attempt] });
    }
    case 'EvidenceGathered':
      invariant(stage.type === 'gathering', 'evidence is gathered once, before the question');
      return moved(state, {
        type: 'asking',
        turn: stage.turn,
        attempts: withOpen(stage, { offered: event.passages }),
        exchange: FIRST_TRY,
      });
    case 'RequestSent':
      return { ...state, messages: placesAfter(state.messages, event.request, state.seq + 1) };
    case 'ModelAnswered':
      return answered(state, event);
    case 'AnswerReused':
      return { ...state, stage: withSeq(stage, event.purpose, event.seq) };
    case 'LateAnswerKept':
      return { ...state, answers: { ...state.answers, [event.requestKey]: state.seq + 1 } };
    case 'OutputRejected':
      return moved(state, withExchange(stage, nextExchange(exchangeOf(stage), event)));
    case 'RequestRefused':
      return moved(
        state,
        withExchange(stage, {
          tries: exchangeOf(stage).tries + 1,
          broken: null,
          problem: { type: 'refused', detail: event.reason },
        }),
      );
    case 'QuestionProposed':
      invariant(stage.type === 'asking', 'a question is proposed while asking');
      return moved(state, {
        type: 'checking',
        turn: stage.turn,
        attempts: withOpen(stage, {
          question: event.question,
          questionKey: event.questionKey,
          ...(event.inLedger === undefined ? {} : { inLedger: event.inLedger }),
        }),
      });
    case 'QuestionAccepted':
      invariant(stage.type === 'checking', 'a question is accepted after its check');
      return moved(state, answeringStage(stage.turn, stage.attempts));
    case 'QuestionRejected':
      invariant(stage.type === 'checking', 'a question is rejected after its check');
      return moved(state, { type: 'rejected', turn: stage.turn, attempts: stage.attempts });
    case 'ToolsRequested':
      invariant(stage.type === 'answering', 'tools are requested while answering');
      return moved(state, {
        ...answerPart(stage),
        type: 'using_tools',
        pending: { content: event.content, calls: event.calls, uses: [] },
      });
    case 'ToolUsed':
      return toolUsed(state, event.use);
    case 'AnswerGiven':
      invariant(stage.type === 'answering', 'an answer is given while answering');
      return moved(state, {
        ...answerPart(stage),
        type: 'judging',
        exchange: FIRST_TRY,
        answer: event.answer,
        judgeSeqs: [],
      });
    case 'VerdictGiven':
      invariant(stage.type === 'judging', 'a verdict is given while judging');
      return turnAccepted(state, event.verdict);
    case 'TurnAccepted':
      return turnAccepted(state, null);
    case 'ConversationJudgingStarted':
      return moved(state, { type: 'judging_conversation', exchange: FIRST_TRY });
    case 'ConversationJudged':
      return moved(
        state,
        { type: 'ready', outcome: { type: 'finished' } },
        { conversationVerdict: event.verdict },
      );
    case 'ConversationFinished':
      return moved(state, { type: 'ready', outcome: { type: 'finished' } });
    case 'ConversationDropped':
      return dropped(state, event.reason, event.detail);
    case 'SentBack':
      return sentBack(state, event);
    case 'ConversationSettled':
      return moved(state, { type: 'settled' });
    default:
      return unreachable(event);
  }
}

function moved(
  state: ConversationState,
  stage: Stage,
  more: Partial<ConversationState> = {},
): ConversationState {
  return { ...state, ...more, stage, step: state.step + 1 };
}

function withOpen(turn: OpenTurn, change: Partial<Attempt>): Attempt[] {
  return [...turn.attempts.slice(0, -1), { ...openAttempt(turn), ...change }];
}

function answeringStage(turn: number, attempts: readonly Attempt[]): Stage {
  return { type: 'answering', turn, attempts, exchange: FIRST_TRY, toolRounds: [], answerSeqs: [] };
}

function answerPart(stage: OpenAnswer): OpenAnswer {
  return {
    turn: stage.turn,
    attempts: stage.attempts,
    toolRounds: stage.toolRounds,
    answerSeqs: stage.answerSeqs,
  };
}

function answered(
  state: ConversationState,
  event: Extract<ConversationEvent, { type: 'ModelAnswered' }>,
): ConversationState {
  const seq = state.seq + 1;
  const { agents } = state;
  return {
    ...state,
    stage: withSeq(state.stage, event.purpose, seq),
    answers: { ...state.answers, [event.requestKey]: seq },
    conversationJudgeSeqs:
      event.purpose === 'conversation_verdict'
        ? [...state.conversationJudgeSeqs, seq]
        : state.conversationJudgeSeqs,
    agents: {
      user: agents.user || (event.purpose === 'question' ? event.usedName : ''),
      assistant: agents.assistant || (event.purpose === 'answer' ? event.usedName : ''),
    },
    rehearsal: state.rehearsal || event.answer.rehearsal,
  };
}

/** Notes the journal position of an answer where it was used. */
function withSeq(stage: Stage, purpose: Purpose, seq: number): Stage {
  if (purpose === 'question' && stage.type === 'asking')
    return {
      ...stage,
      attempts: withOpen(stage, { questionSeqs: [...openAttempt(stage).questionSeqs, seq] }),
    };
  if (purpose === 'answer' && stage.type === 'answering')
    return { ...stage, answerSeqs: [...stage.answerSeqs, seq] };
  if (purpose === 'verdict' && stage.type === 'judging')
    return { ...stage, judgeSeqs: [...stage.judgeSeqs, seq] };
  return stage;
}

function exchangeOf(stage: Stage): Exchange {
  invariant('exchange' in stage, `stage ${stage.type} has a model call`);
  return stage.exchange;
}

function withExchange(stage: Stage, exchange: Exchange): Stage {
  invariant('exchange' in stage, `stage ${stage.type} has a model call`);
  return { ...stage, exchange };
}

/** A first bad answer is shown to the model for repair; a bad repair ends the try. */
function nextExchange(
  exchange: Exchange,
  bad: { readonly content: string; readonly errors: readonly string[] },
): Exchange {
  const problem = { type: 'malformed', detail: bad.errors.join('; ') } as const;
  if (exchange.broken === null) {
    return { tries: exchange.tries, broken: { content: bad.content, errors: bad.errors }, problem };
  }
  return { tries: exchange.tries + 1, broken: null, problem };
}

function toolUsed(state: ConversationState, use: ToolUse): ConversationState {
  const { stage } = state;
  invariant(stage.type === 'using_tools', 'a tool is used while tools are awaited');
  const uses = [...stage.pending.uses, use];
  if (uses.length < stage.pending.calls.length) {
    return { ...state, stage: { ...stage, pending: { ...stage.pending, uses } } };
  }
  // In the order of the calls, whatever the order of arrival: the next prompt must not depend on timing (I5).
  const inOrder = stage.pending.calls.map(
    (call) => uses.find((known) => known.call.id === call.id) as ToolUse,
  );
  return moved(state, {
    ...answerPart(stage),
    type: 'answering',
    exchange: FIRST_TRY,
    toolRounds: [...stage.toolRounds, { content: stage.pending.content, uses: inOrder }],
  });
}

function turnAccepted(state: ConversationState, verdict: JudgeOutput | null): ConversationState {
  const { stage } = state;
  invariant(stage.type === 'judging', 'a turn is accepted after its answer');
  const turn: AcceptedTurn = {
    turn: stage.turn,
    attempts: stage.attempts,
    toolRounds: stage.toolRounds,
    answer: stage.answer,
    answerSeqs: stage.answerSeqs,
    verdict,
    judgeSeqs: stage.judgeSeqs,
  };
  return moved(state, { type: 'between_turns' }, { turns: [...state.turns, turn] });
}

/** The attempts of the turn in which it was dropped stay visible to the committer's check. */
function dropped(state: ConversationState, reason: DropReason, detail: string): ConversationState {
  const { stage } = state;
  const openTurn = 'attempts' in stage ? { turn: stage.turn, attempts: stage.attempts } : null;
  return moved(
    state,
    { type: 'ready', outcome: { type: 'dropped', reason, detail } },
    openTurn === null ? {} : { droppedIn: openTurn },
  );
}

function sentBack(
  state: ConversationState,
  event: { readonly turn: number; readonly attempt: number; readonly verdict: 'accept' | 'reject' },
): ConversationState {
  const attempts = attemptsOf(state, event.turn).slice(0, event.attempt + 1);
  const stage: Stage =
    event.verdict === 'accept'
      ? answeringStage(event.turn, attempts)
      : { type: 'rejected', turn: event.turn, attempts };
  return moved(state, stage, {
    turns: state.turns.slice(0, event.turn - 1),
    revision: state.revision + 1,
    conversationVerdict: null,
    conversationJudgeSeqs: [],
    droppedIn: null,
  });
}

function attemptsOf(state: ConversationState, turn: number): readonly Attempt[] {
  const accepted = state.turns.find((known) => known.turn === turn);
  const attempts =
    accepted?.attempts ?? (state.droppedIn?.turn === turn ? state.droppedIn.attempts : undefined);
  invariant(attempts !== undefined, `turn ${turn} was sent back but is not known`);
  return attempts;
}
