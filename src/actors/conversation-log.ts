/** The log lines of a conversation, with the tags that operators look for (as in 0.1.0). */
import type { ConversationEvent, ConversationState } from '../dialogue/conversation-state.ts';
import type { JudgeOutput } from '../dialogue/outputs.ts';
import type { Logger } from '../kernel/logger.ts';

/** @param state after the events. */
export function logEvents(
  logger: Logger,
  state: ConversationState,
  events: readonly ConversationEvent[],
  conversationId: string,
): void {
  const { index } = state.key;
  const turnCount = state.plan?.turnCount ?? 0;
  for (const event of events) {
    switch (event.type) {
      case 'TurnOpened':
        logger.log(
          'debug',
          'run',
          `[turn] ${event.turn}/${turnCount} conversation=${conversationId} attempt=${event.attempt} mode=${event.plan.mode}`,
        );
        break;
      case 'VerdictGiven':
        logger.log(
          event.verdict === null ? 'warn' : 'info',
          'judge',
          `[judge-online] turn=${state.turns.length} conversation_index=${index} ${verdictText(event.verdict)}`,
          { conversationId },
        );
        logTurn(logger, state, conversationId, turnCount);
        break;
      case 'TurnAccepted':
        logTurn(logger, state, conversationId, turnCount);
        break;
      case 'ConversationJudged':
        logger.log(
          event.verdict === null ? 'warn' : 'info',
          'judge',
          `[judge-online-conversation] conversation_index=${index} ${verdictText(event.verdict)}`,
          { conversationId },
        );
        break;
      case 'OutputRejected':
        logger.log(
          'warn',
          'llm',
          `[llm] unusable ${event.purpose} conversation=${conversationId}: ${event.errors.join('; ')}`,
        );
        break;
      case 'RequestRefused':
        logger.log(
          'warn',
          'llm',
          `[llm] refused ${event.purpose} conversation=${conversationId}: ${event.reason}`,
        );
        break;
      case 'ToolUsed':
        logger.log(
          'info',
          'tools',
          `[tools] ${event.use.call.name} conversation=${conversationId} query=${JSON.stringify(event.use.arguments['query'] ?? '')}`,
        );
        break;
      default:
        break;
    }
  }
}

function logTurn(logger: Logger, state: ConversationState, conversationId: string, turnCount: number): void {
  logger.log('info', 'run', `[turn] ${state.turns.length}/${turnCount} conversation=${conversationId}`);
}

function verdictText(verdict: JudgeOutput | null): string {
  if (verdict === null) return 'no verdict: the judge gave no answer that could be used';
  const { score, question_ok: questionOk, answer_ok: answerOk, reasons } = verdict;
  return `score=${score} question_ok=${questionOk} answer_ok=${answerOk} reasons=${reasons.join(',')}`;
}
