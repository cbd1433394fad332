/** A conversation as a person reads it. */
import { styleText } from 'node:util';
import type { ShownConversation } from '../bootstrap/show-conversation.ts';
import { shortened, wrapped } from './wrapped.ts';

export interface LineStyle {
  /** Null: lines are not wrapped, as for a reader that is no terminal. */
  readonly width: number | null;
  readonly colour: boolean;
}

type Turn = ShownConversation['payload']['turns'][number];
type Style = Parameters<typeof styleText>[0];

const RESULT_SHOWN = 200;

export function conversationLines(shown: ShownConversation, style: LineStyle): string[] {
  const { payload } = shown;
  return [
    painted('bold', `Conversation ${payload.conversationId}`, style),
    ...headLines(shown).flatMap((line) => wrapped(line, '  ', style.width)),
    ...payload.turns.flatMap((turn) => ['', ...turnLines(turn, shown, style)]),
    ...(payload.conversationJudge === null
      ? []
      : ['', ...verdictLines('Verdict on the whole', payload.conversationJudge, style)]),
  ];
}

const painted = (paint: Style, text: string, { colour }: LineStyle): string =>
  colour ? styleText(paint, text, { validateStream: false }) : text;

function headLines(shown: ShownConversation): string[] {
  const { payload, status, dropReason, dropDetail } = shown;
  const { personas, agents, turns, targetTurns, language } = payload;
  const states = {
    committed: `committed ${shown.timestamp}`,
    dropped: `dropped ${shown.timestamp}: ${dropReason}${dropDetail === null ? '' : ` (${dropDetail})`}`,
    open: 'open: not committed yet',
    file: `written ${shown.timestamp || 'by 0.1.0'}`,
  };
  return [
    `${states[status]}${payload.rehearsal ? ', rehearsal' : ''}`,
    `${language || 'no language'}, ${turns.length} of ${targetTurns} turns${shown.runId === null ? '' : `, run ${shown.runId}`}`,
    ...personaLine('user', personas.userId, personas.user, agents.user),
    ...personaLine('assistant', personas.assistantId, personas.assistant, agents.assistant),
    shown.place,
  ];
}

function personaLine(role: string, id: string, text: string, agent: string): string[] {
  const persona = [id, text].filter((part) => part !== '').join(': ');
  const said = [persona, agent === '' ? '' : `(${agent})`].filter((part) => part !== '').join(' ');
  return said === '' ? [] : [`${role}  ${said}`];
}

function turnLines(turn: Turn, shown: ShownConversation, style: LineStyle): string[] {
  const { question, answer } = turn;
  const facts = [question['intent'], question['difficulty']].filter((fact) => typeof fact === 'string');
  const head = [turn.mode, ...facts, turn.attempt > 0 ? `attempt ${turn.attempt + 1}` : '']
    .filter((part) => part !== '')
    .join(', ');
  return [
    painted('bold', `Turn ${turn.turn}${head === '' ? '' : `  ${shortened(head, 80)}`}`, style),
    ...seedLine(turn),
    ...passageLine(turn, shown),
    painted('cyan', '  user', style),
    ...wrapped(textOf(question['user_message']), '    ', style.width),
    ...turn.toolRounds.flatMap((round) => roundLines(round, style)),
    painted('green', '  assistant', style),
    ...wrapped(textOf(answer['assistant_message']), '    ', style.width),
    ...(turn.verdict === null ? [] : verdictLines('  judge', turn.verdict, style)),
  ];
}

const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');

const seedLine = ({ seedTopic, seedQuestion }: Turn): string[] =>
  seedQuestion === '' ? [] : [`  seed: ${shortened(`${seedTopic}: ${seedQuestion}`, RESULT_SHOWN)}`];

function passageLine(turn: Turn, { passages }: ShownConversation): string[] {
  const passage = passages.get(turn.turn);
  const { passageId, source } = turn.coverage;
  if (passage !== undefined) {
    const { descriptor, index, charStart, charEnd, id } = passage;
    return [
      `  passage: ${shortened(passage.source, 120)}, ${shortened(descriptor, 120)} (chunk ${index}, characters ${charStart} to ${charEnd}, ${id})`,
    ];
  }
  const target = passageId || textOf(turn.question['coverage_target']);
  const place = [source, target].filter((part) => part !== '').join(', ');
  return place === '' ? [] : [`  passage: ${shortened(place, RESULT_SHOWN)}`];
}

function roundLines(round: Turn['toolRounds'][number], style: LineStyle): string[] {
  return [
    ...(round.content.trim() === '' ? [] : wrapped(round.content, '    ', style.width)),
    ...round.calls.flatMap((call) => [
      painted(
        'yellow',
        `  ${shortened(`${call.name} ${JSON.stringify(call.arguments)}`, RESULT_SHOWN)}`,
        style,
      ),
      ...resultLines(call.result).flatMap((line) => wrapped(line, '    ', style.width)),
    ]),
  ];
}

/** What was found, one line for each; anything else as JSON, shortened. */
function resultLines(result: Turn['toolRounds'][number]['calls'][number]['result']): string[] {
  const { results } = result;
  if (!Array.isArray(results)) return [shortened(JSON.stringify(result), RESULT_SHOWN)];
  if (results.length === 0) return ['nothing found'];
  return results.map((item: unknown) => {
    const { source, title, content, snippet } = (item ?? {}) as Record<string, unknown>;
    const place = textOf(source) || textOf(title);
    return shortened(`${place}: ${textOf(content) || textOf(snippet)}`, RESULT_SHOWN);
  });
}

function verdictLines(title: string, verdict: NonNullable<Turn['verdict']>, style: LineStyle): string[] {
  const { score, reasons, notes, question_ok: questionOk, answer_ok: answerOk } = verdict;
  const facts = [
    `score ${JSON.stringify(score ?? null)}`,
    ...(questionOk === undefined ? [] : [`question ${questionOk === true ? 'ok' : 'not ok'}`]),
    ...(answerOk === undefined ? [] : [`answer ${answerOk === true ? 'ok' : 'not ok'}`]),
    ...(Array.isArray(reasons) && reasons.length > 0 ? [`reasons: ${reasons.join(', ')}`] : []),
  ];
  return [
    `${painted('magenta', title, style)}  ${shortened(facts.join(', '), RESULT_SHOWN)}`,
    ...(textOf(notes).trim() === '' ? [] : wrapped(textOf(notes), '    ', style.width)),
  ];
}
