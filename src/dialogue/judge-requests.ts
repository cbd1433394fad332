/** What the judge is asked about a conversation that exists: the same as a run asks about it while it goes on. */
import type { ModelRequest } from './chat.ts';
import type { ConversationPayload, JsonValue, PayloadTurn } from './conversation-record.ts';
import type { ConversationState, Exchange } from './conversation-state.ts';
import type { JudgeOutput, OutputKind } from './outputs.ts';
import { buildConversationJudgeMessages, buildTurnJudgeMessages, type Prompts } from './prompts.ts';
import { assistantMessage, userMessage } from './record-messages.ts';
import { EVIDENCE_ITEMS_MAX, messagesOfTry, turnEvidence, verdictOutput } from './requests.ts';
import { type EvidenceItem, evidenceOf } from './tools.ts';

/** The turn number that stands for a whole conversation. */
export const WHOLE = 0;

export interface JudgedTurn {
  /** As records number it. */
  readonly turn: number;
  readonly userMessage: string;
  readonly assistantMessage: string;
  readonly evidence: readonly EvidenceItem[];
  /** `models`: a record that does not say what was shown, so the judge sees what the models say they used. */
  readonly evidenceFrom: 'shown' | 'models';
}

export interface JudgedConversation {
  readonly conversationId: string;
  readonly language: string;
  readonly userPersona: string;
  readonly assistantPersona: string;
  /** Planned turns. */
  readonly turnCount: number;
  readonly turns: readonly JudgedTurn[];
}

/** With the passages and tool results of its journal. */
export function judgedFromJournal(
  payload: ConversationPayload,
  state: ConversationState,
): JudgedConversation {
  const byTurn = new Map(state.turns.map((turn) => [turn.turn, turn]));
  return judged(payload, (turn) => {
    const accepted = byTurn.get(turn.turn);
    if (accepted === undefined) return recordedEvidence(turn);
    const evidence = turnEvidence(accepted);
    // A turn that was taken over from 0.1.0 has no passages, because nobody noted them; any other had none to show.
    const isImported = accepted.attempts.at(-1)?.inLedger === true;
    return isImported && evidence.length === 0 ? recordedEvidence(turn) : { evidence, evidenceFrom: 'shown' };
  });
}

/** With what its record holds: tool results, or else what the models say of their sources. */
export const judgedFromRecord = (payload: ConversationPayload): JudgedConversation =>
  judged(payload, recordedEvidence);

type Evidence = Pick<JudgedTurn, 'evidence' | 'evidenceFrom'>;

function judged(
  payload: ConversationPayload,
  evidenceFor: (turn: PayloadTurn) => Evidence,
): JudgedConversation {
  return {
    conversationId: payload.conversationId,
    language: payload.language,
    userPersona: payload.personas.user,
    assistantPersona: payload.personas.assistant,
    turnCount: payload.targetTurns,
    turns: payload.turns.map((turn) => ({
      turn: turn.turn,
      userMessage: userMessage(turn),
      assistantMessage: assistantMessage(turn),
      ...evidenceFor(turn),
    })),
  };
}

function recordedEvidence(turn: PayloadTurn): Evidence {
  const uses = turn.toolRounds.flatMap((round) => round.calls);
  const found = uses.flatMap(({ id, name, arguments: given, result }) =>
    evidenceOf({ call: { id, name, arguments: '' }, arguments: given, result }),
  );
  const shown = found.filter(({ content }) => content.trim() !== '');
  if (shown.length > 0) return { evidence: withoutRepeats(shown), evidenceFrom: 'shown' };
  return { evidence: withoutRepeats(ownEvidence(turn)), evidenceFrom: 'models' };
}

function ownEvidence({ question, answer }: PayloadTurn): EvidenceItem[] {
  const trace = fieldsOf(answer['reasoning_trace']);
  const facts = listOf(question['grounding_facts']).map((item) => {
    const fields = fieldsOf(item);
    return { source: textOf(fields['source_descriptor']), content: textOf(fields['fact']) || textOf(item) };
  });
  const evidence = listOf(trace['evidence']).map((item) => {
    const fields = fieldsOf(item);
    return {
      source: textOf(fields['cue']) || textOf(fields['id']),
      content: textOf(fields['content']) || textOf(item),
    };
  });
  return [...facts, ...evidence].filter(({ content }) => content.trim() !== '');
}

const withoutRepeats = (items: readonly EvidenceItem[]): EvidenceItem[] => [
  ...new Map(items.map((item) => [item.content, item] as const)).values(),
];

type Fields = Readonly<Record<string, JsonValue | undefined>>;

const fieldsOf = (value: JsonValue | undefined): Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : {};
const listOf = (value: JsonValue | undefined): readonly JsonValue[] =>
  Array.isArray(value) ? (value as readonly JsonValue[]) : [];
const textOf = (value: JsonValue | undefined): string => (typeof value === 'string' ? value : '');

/** True when the judge of this turn, or of the conversation, sees what models say instead of what was shown. */
export function isSelfReported({ turns }: JudgedConversation, turn: number): boolean {
  return turns.some(
    ({ turn: number, evidenceFrom }) => evidenceFrom === 'models' && (turn === WHOLE || number === turn),
  );
}

/** The request of one try. @param turn a turn of the conversation, or `WHOLE`. */
export function verdictRequest(
  conversation: JudgedConversation,
  turn: number,
  prompts: Prompts,
  exchange: Pick<Exchange, 'tries' | 'broken'>,
): ModelRequest {
  return {
    role: 'judge',
    messages: messagesOfTry(messagesFor(conversation, turn, prompts), exchange),
    tools: [],
    output: verdictKind(prompts).spec,
  };
}

export const verdictKind = (prompts: Prompts): OutputKind<JudgeOutput> =>
  verdictOutput(prompts.run.judgeReasons) as OutputKind<JudgeOutput>;

function messagesFor(conversation: JudgedConversation, turn: number, prompts: Prompts) {
  const { turns, language: targetLanguage, turnCount, userPersona, assistantPersona } = conversation;
  const common = { targetLanguage, turnCount, userPersona, assistantPersona };
  if (turn === WHOLE) {
    const evidence = turns.flatMap((each) => each.evidence).slice(0, EVIDENCE_ITEMS_MAX);
    return buildConversationJudgeMessages(prompts, { ...common, turns, evidence });
  }
  const at = turns.findIndex((each) => each.turn === turn);
  const { userMessage = '', assistantMessage = '', evidence = [] } = turns[at] ?? {};
  const history = turns.slice(0, Math.max(0, at));
  return buildTurnJudgeMessages(prompts, { ...common, history, userMessage, assistantMessage, evidence });
}
