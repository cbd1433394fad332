/** `dlgforge replay`: the requests that made a conversation, as they were sent, from its journal; reads only. */
import { unitPersistenceId } from '../actors/judging/judge-unit.ts';
import {
  type AskedRequest,
  type AskedResult,
  askedVerdicts,
  type OfferedPassages,
} from '../dialogue/asked-requests.ts';
import type { Role, SentForm, ToolCall, Usage } from '../dialogue/chat.ts';
import type { Config } from '../config/schema.ts';
import type { Passage } from '../dialogue/passage.ts';
import { DlgforgeError } from '../kernel/errors.ts';
import { sha256 } from '../kernel/hash.ts';
import { roleSettings } from '../llm/plan-endpoints.ts';
import { requestBody } from '../llm/request-body.ts';
import { withTextTools } from '../llm/text-tools.ts';
import type { Store } from '../ports/store.ts';
import { decodeConversationEvent } from '../protocol/stored-events.ts';
import type { OpenedStore } from './cluster/runs-store.ts';
import { findConversation, type StoredConversation } from './find-conversation.ts';
import { configOf } from './runs.ts';
import { readJournal } from './show-conversation.ts';

export interface ReplayedRequest {
  readonly turn: number | null;
  /** Of the turn's question, from 0; null where there is none. */
  readonly attempt: number | null;
  readonly purpose: AskedRequest['purpose'];
  readonly role: Role | null;
  readonly request_key: string;
  readonly endpoint: string | null;
  /** Null when the release that asked did not note it. */
  readonly url: string | null;
  readonly model: string | null;
  /** As JSON in this order it is the body that was sent; null for a request that was refused, or not kept. */
  readonly body: Readonly<Record<string, unknown>> | null;
  /** SHA-256 of that JSON. */
  readonly body_sha256: string | null;
  /** Whether the hash is that of what was sent; null when nobody noted it. False: a setting has changed since. */
  readonly is_as_sent: boolean | null;
  readonly result: AskedResult;
  readonly answer: ReplayedAnswer | null;
  /** True for what the conversation was sent back behind: it is in no record. */
  readonly undone: boolean;
}

export interface ReplayedAnswer {
  readonly content: string;
  readonly tool_calls: readonly ToolCall[];
  readonly finish_reason: string;
  readonly usage: Usage;
  readonly latency_ms: number;
  readonly rehearsal: boolean;
}

export interface ReplayedPassage {
  readonly turn: number;
  readonly attempt: number;
  readonly id: string;
  readonly source: string;
  readonly descriptor: string;
  readonly chunk_index: number;
  readonly char_start: number;
  readonly char_end: number;
  /** SHA-256 of its text. */
  readonly sha256: string;
}

export interface Replay {
  readonly conversation_id: string;
  readonly run_id: string;
  readonly passages: readonly ReplayedPassage[];
  /** In the order of the answers. */
  readonly requests: readonly ReplayedRequest[];
}

/** @param turn null for all of them. @throws DlgforgeError when there is none of this id, or no such turn. */
export async function replayConversation(
  opened: Pick<OpenedStore, 'store' | 'project'>,
  id: string,
  turn: number | null,
): Promise<Replay> {
  const found = await findConversation(opened, id);
  if (found.type === 'file') throw notJournalled(id, found.path);
  const { store } = found;
  const key = found.type === 'open' ? found.key : found.conversation;
  const record = await store.getRun(key.runId);
  const { asked } = await readJournal(store, key);
  const config = record === null ? null : configOf(record);
  const later = found.type === 'stored' ? await laterVerdicts(store, found.conversation) : [];
  const judgeConfig = opened.project?.config ?? config;
  const isWanted = (of: number | null): boolean => turn === null || of === turn;
  const requests = [
    ...asked.requests.map((request) => replayed(request, config)),
    ...later.map((request) => replayed(request, judgeConfig)),
  ].filter((request) => isWanted(request.turn));
  if (turn !== null && requests.length === 0) throw noSuchTurn(id, turn, asked.state.turns.length);
  return {
    conversation_id: id,
    run_id: key.runId,
    passages: asked.offered
      .filter((offer) => isWanted(offer.turn))
      .flatMap((offer) => offer.passages.map((passage) => replayedPassage(offer, passage))),
    requests,
  };
}

/** Those of the pass that the files show. */
async function laterVerdicts(store: Store, conversation: StoredConversation): Promise<AskedRequest[]> {
  const { datasetId, conversationId } = conversation;
  const shown = await store.verdicts.shown(datasetId);
  if (shown === null) return [];
  const { pass } = shown;
  const requests: AskedRequest[] = [];
  for (const { turn, round } of await store.verdicts.of(datasetId, pass.id, [conversationId])) {
    const unit = { conversation: { conversationId }, turn, round };
    const journal = unitPersistenceId(datasetId, pass.id, unit as Parameters<typeof unitPersistenceId>[2]);
    const events = (await store.journal.read(journal)).map(({ event }) => decodeConversationEvent(event));
    requests.push(...askedVerdicts(turn === 0 ? null : turn, events, pass.reasons));
  }
  return requests;
}

function replayed(asked: AskedRequest, config: Config | null): ReplayedRequest {
  const { request, answer, purpose, result, undone, turn, attempt } = asked;
  const sent = answer?.sent ?? null;
  const body = config === null ? null : bodyOf(asked, sent, config);
  const hash = body === null ? null : sha256(JSON.stringify(body));
  return {
    turn,
    attempt,
    purpose,
    role: request?.role ?? null,
    request_key: asked.requestKey,
    endpoint: answer?.endpoint ?? null,
    url: sent?.url ?? null,
    model: answer?.model ?? null,
    body,
    body_sha256: hash,
    is_as_sent: hash === null || sent === null ? null : hash === sent.bodyHash,
    result,
    answer:
      answer === null
        ? null
        : {
            content: answer.content,
            tool_calls: answer.toolCalls,
            finish_reason: answer.finishReason,
            usage: answer.usage,
            latency_ms: answer.latencyMs,
            rehearsal: answer.rehearsal,
          },
    undone,
  };
}

/** The stored configuration has no secrets, so what a server was sent as one is masked here (I8). */
function bodyOf(
  { request, answer }: AskedRequest,
  sent: SentForm | null,
  config: Config,
): Record<string, unknown> | null {
  if (request === null || answer === null) return null;
  const asSent = sent?.tools === 'in_messages' ? withTextTools(request) : request;
  return requestBody(asSent, roleSettings(config.llm.agents)[request.role], {
    model: answer.model,
    format: sent?.format ?? 'json_schema',
    maxTokensField: sent?.maxTokensField ?? 'max_tokens',
  });
}

const replayedPassage = (
  { turn, attempt }: OfferedPassages,
  { id, source, descriptor, index, charStart, charEnd, text }: Passage,
): ReplayedPassage => ({
  turn,
  attempt,
  id,
  source,
  descriptor,
  chunk_index: index,
  char_start: charStart,
  char_end: charEnd,
  sha256: sha256(text),
});

const notJournalled = (id: string, path: string): DlgforgeError =>
  new DlgforgeError(
    'output',
    `The conversation ${id} is one of 0.1.0, which kept no requests: only its file is there, ${path}. \`dlgforge show ${id}\` shows it.`,
  );

const noSuchTurn = (id: string, turn: number, turns: number): DlgforgeError =>
  new DlgforgeError('usage', `The conversation ${id} has no turn ${turn}: it has ${turns}.`);
