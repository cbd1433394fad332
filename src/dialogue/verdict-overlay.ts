/** A committed conversation as it stands under the verdicts of a pass: those, and no others. */
import type { ConversationPayload, JsonObject, PayloadTurn } from './conversation-record.ts';
import type { JudgePass } from './judge-pass.ts';
import type { RawResponses } from './raw-results.ts';

/** What is known of one turn; `turn` 0 stands for the whole conversation. */
export interface PassVerdict {
  readonly turn: number;
  readonly verdict: JsonObject | null;
  readonly raw: JsonObject | null;
  readonly rehearsal: boolean;
}

export interface Overlaid {
  readonly payload: ConversationPayload;
  /** The responses behind the verdicts of the pass; the payload names them by numbers that no journal has. */
  readonly responses: RawResponses;
}

const WHOLE = 0;

/** Journal positions begin at 1, and -1 means none. */
const responseNumber = (turn: number): number => -2 - turn;

/**
 * Verdicts that the run gave itself count when they are of the same pass. A conversation that the pass has not
 * come to has none.
 */
export function underPass(
  payload: ConversationPayload,
  pass: JudgePass,
  verdicts: readonly PassVerdict[],
): Overlaid {
  const byTurn = new Map(verdicts.map((verdict) => [verdict.turn, verdict]));
  const isOwn = payload.judgePass === pass.id;
  const whole = pass.granularity === 'conversation';
  const later = whole ? byTurn.get(WHOLE) : undefined;
  return {
    payload: {
      ...payload,
      inputs: {
        ...payload.inputs,
        judge_enabled: isOwn || verdicts.length > 0,
        judge_granularity: pass.granularity,
        judge_reasons: pass.reasons,
      },
      rehearsal: payload.rehearsal || verdicts.some(({ rehearsal }) => rehearsal),
      turns: payload.turns.map((turn) => ({
        ...turn,
        ...turnVerdict(turn, whole ? undefined : byTurn.get(turn.turn), isOwn && !whole),
      })),
      conversationJudge: later === undefined ? ownWhole(payload, whole && isOwn) : later.verdict,
      conversationJudgeAnswerSeq: answerOfWhole(payload, later, whole && isOwn),
    },
    responses: new Map(verdicts.map(({ turn, raw }) => [responseNumber(turn), raw])),
  };
}

type TurnVerdict = Pick<PayloadTurn, 'verdict' | 'answerSeqs'>;

function turnVerdict(turn: PayloadTurn, later: PassVerdict | undefined, isOwn: boolean): TurnVerdict {
  if (later === undefined && isOwn) return turn;
  const judge = later === undefined ? [] : [responseNumber(later.turn)];
  return { verdict: later?.verdict ?? null, answerSeqs: { ...turn.answerSeqs, judge } };
}

const ownWhole = ({ conversationJudge }: ConversationPayload, isOwn: boolean): JsonObject | null =>
  isOwn ? conversationJudge : null;

function answerOfWhole(
  { conversationJudgeAnswerSeq }: ConversationPayload,
  later: PassVerdict | undefined,
  isOwn: boolean,
): number | null {
  if (later !== undefined) return later.verdict === null ? null : responseNumber(later.turn);
  return isOwn ? conversationJudgeAnswerSeq : null;
}
