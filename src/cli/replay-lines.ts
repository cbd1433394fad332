/** Requests as a person reads them; `--json` is for sending them again. */
import type { Replay, ReplayedRequest } from '../bootstrap/replay.ts';
import { count, duration } from './format.ts';
import { printableJson, shortened } from './wrapped.ts';

const CONTENT_SHOWN = 300;

export function replayLines({ conversation_id: id, run_id: run, passages, requests }: Replay): string[] {
  return [
    `Conversation ${id}, run ${run}: ${count(requests.length)} requests`,
    ...(passages.length === 0 ? [] : ['', 'Passages that questions were offered']),
    ...passages.map(
      (passage) =>
        `  turn ${passage.turn}, attempt ${passage.attempt + 1}: ${shortened(`${passage.source}, ${passage.descriptor}`, 120)}, chunk ${passage.chunk_index}, ${passage.id}, sha256 ${passage.sha256}`,
    ),
    ...requests.flatMap((request, position) => ['', ...requestLines(request, position + 1)]),
  ];
}

function requestLines(request: ReplayedRequest, number: number): string[] {
  const { turn, attempt, purpose, role, url, endpoint, model, undone, body } = request;
  const place = turn === null ? 'whole conversation' : `turn ${turn}`;
  const tried = attempt === null ? '' : `, attempt ${attempt + 1}`;
  return [
    `${number}. ${place}${tried}: ${purpose}${undone ? ' (undone later)' : ''}`,
    ...(role === null
      ? []
      : [`   POST ${url ?? '(address not noted)'}  endpoint ${endpoint}, ${role}, model ${model}`]),
    ...(body === null
      ? ['   the request was not kept']
      : [`   key ${request.request_key}, body sha256 ${request.body_sha256}: ${sameness(request)}`]),
    ...(body === null
      ? []
      : printableJson(body)
          .split('\n')
          .map((line) => `   ${line}`)),
    `   → ${resultText(request)}`,
    ...answerLines(request),
  ];
}

function sameness({ is_as_sent: same }: ReplayedRequest): string {
  if (same === null) return 'made by a release that did not note how it asked';
  return same ? 'as it was sent' : 'not what was sent, a setting or the release has changed since';
}

function resultText({ result }: ReplayedRequest): string {
  switch (result.type) {
    case 'tools':
      return `asked for tools: ${result.uses.map(({ name, arguments: args }) => shortened(`${name} ${JSON.stringify(args)}`, 120)).join('; ')}`;
    case 'malformed':
      return `could not be used: ${shortened(result.errors.join('; '), CONTENT_SHOWN)}`;
    case 'rejected':
      return `the question was rejected: ${REJECTED[result.by]}`;
    case 'refused':
      return `refused: ${shortened(result.reason, CONTENT_SHOWN)}`;
    case 'late':
      return 'came when nobody waited for it any more, and was kept';
    case 'used':
      return 'used';
  }
}

const REJECTED = {
  own_turn: 'an earlier turn asked it',
  committed: 'the dataset has it',
  claim: 'an earlier conversation was asking it',
};

function answerLines({ answer }: ReplayedRequest): string[] {
  if (answer === null) return [];
  const { usage, latency_ms: latencyMs, finish_reason: finish, content } = answer;
  const tokens = `${count(usage.promptTokens)} tokens in (${count(usage.cachedTokens)} cached), ${count(usage.completionTokens)} out`;
  return [
    `   ← ${tokens}, ${duration(latencyMs)}, ${finish}${answer.rehearsal ? ', rehearsal' : ''}`,
    ...(content.trim() === '' ? [] : [`     ${shortened(content, CONTENT_SHOWN)}`]),
  ];
}
