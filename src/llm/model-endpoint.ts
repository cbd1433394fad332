import type OpenAI from 'openai';
import type { Agent } from 'undici';
import type { ModelAnswer, ModelRequest } from '../dialogue/chat.ts';
import type { Clock } from '../kernel/clock.ts';
import { DlgforgeError } from '../kernel/errors.ts';
import { sha256 } from '../kernel/hash.ts';
import type { Logger } from '../kernel/logger.ts';
import type { AttemptOutcome, ResponseFormatKind } from '../ports/model.ts';
import {
  type FailedAttempt,
  failureInBody,
  failureOfConnection,
  failureOfStatus,
  httpFailureOf,
  withoutKey,
} from './attempt-failure.ts';
import { readCompletion } from './completion.ts';
import { weakerFormat } from './format-refusal.ts';
import type { FormatLearner, FormatTrial } from './format-learner.ts';
import { createClient } from './http-client.ts';
import { shownUrl } from './plan-endpoints.ts';
import { type Provider, providerNamed, wireModel } from './providers.ts';
import { requestBody } from './request-body.ts';
import { readServerError, type ServerError } from './server-error.ts';
import { DEFAULT_TIMEOUT_MS, type EndpointConfig, type RoleSettings } from './settings.ts';
import { callsInText, refusesTools, withTextTools } from './text-tools.ts';
import { refusesTokenField } from './token-field.ts';

/** The server takes no tools; the same request may do with them in its messages. */
interface ToolsRefused {
  readonly type: 'tools_refused';
  readonly reason: string;
}
type Outcome = AttemptOutcome | ToolsRefused;
type Trial = FormatTrial<Outcome>;
type MaxTokensField = Provider['maxTokensField'];

/** One deadline for a whole exchange, headers and body, joined with the caller's own signal. */
interface Deadline extends Disposable {
  readonly signal: AbortSignal;
  readonly passed: () => boolean;
}

/**
 * Owns the connection to one endpoint, and which name its models give the token limit.
 * One call of `attempt` is one answer at most; only requests that the server refused for their
 * form, unpaid, are sent again in another form.
 */
export class ModelEndpoint {
  readonly config: EndpointConfig;
  readonly provider: Provider;
  readonly client: OpenAI;
  readonly #clock: Clock;
  readonly #formats: FormatLearner;
  readonly #logger: Logger;
  readonly #url: string;
  readonly #maxTokensFields = new Map<string, MaxTokensField>();

  constructor(
    config: EndpointConfig,
    {
      agent,
      clock,
      formats,
      logger,
    }: {
      readonly agent: Agent;
      readonly clock: Clock;
      readonly formats: FormatLearner;
      readonly logger: Logger;
    },
  ) {
    this.config = config;
    this.provider = providerNamed(config.provider);
    this.client = createClient(config, this.provider, agent);
    this.#clock = clock;
    this.#formats = formats;
    this.#logger = logger;
    this.#url = `${shownUrl(config.baseUrl).replace(/\/+$/, '')}/chat/completions`;
  }

  /** The model id that the server is asked for. */
  model(settings: RoleSettings): string {
    return wireModel(this.provider, this.config.model ?? settings.model);
  }

  timeoutMs(settings: RoleSettings): number {
    return this.config.timeoutMs ?? settings.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  }

  /** @throws DlgforgeError `cancelled` when `signal` aborts; nothing else. */
  async attempt(request: ModelRequest, settings: RoleSettings, signal: AbortSignal): Promise<AttemptOutcome> {
    await this.#formats.ready();
    const key = this.#capabilityKey(settings);
    const toolsKey = `tools of ${key}`;
    const usesTools = hasTools(request);
    const takesTools = (): boolean => this.#formats.known(toolsKey) === undefined;
    if (!usesTools || takesTools()) {
      const send = async (format: ResponseFormatKind): Promise<Trial> => {
        // Somebody else may have found out while this one waited.
        if (usesTools && !takesTools()) return done({ type: 'tools_refused', reason: '' });
        return await this.#try(request, settings, format, signal);
      };
      const outcome = await this.#formatted(request.tools.length > 0 ? `${key} with tools` : key, key, send);
      if (outcome.type !== 'tools_refused') return outcome;
      if (takesTools()) this.#noteToolsRefused(key, toolsKey, outcome.reason);
    }
    const written = withTextTools(request);
    const outcome = await this.#formatted(`${key} with tools in messages`, key, (format) =>
      this.#try(written, settings, format, signal, 'in_messages'),
    );
    // Without a field for tools there is none to refuse.
    if (outcome.type === 'tools_refused') return { type: 'refused', status: 400, reason: outcome.reason };
    return request.tools.length > 0 ? withCallsRead(outcome) : outcome;
  }

  #capabilityKey(settings: RoleSettings): string {
    return `${this.config.baseUrl} ${this.model(settings)}`;
  }

  /** In the strongest format that this kind of request was found to have. */
  #formatted(
    kind: string,
    plain: string,
    send: (format: ResponseFormatKind) => Promise<Trial>,
  ): Promise<Outcome> {
    const withTools = kind !== plain;
    if (kind === `${plain} with tools` && !this.provider.formatWithTools) return this.#unformatted(send);
    const strongest = (withTools ? this.#formats.known(plain) : undefined) ?? this.provider.strongestFormat;
    return strongest === 'text' ? this.#unformatted(send) : this.#formats.ask(kind, strongest, send);
  }

  #noteToolsRefused(key: string, toolsKey: string, reason: string): void {
    // Remembered as the weakest of the formats: tools as text.
    this.#formats.learn(toolsKey, 'text');
    this.#logger.log(
      'warn',
      'llm',
      `[llm] ${key} takes no tools, going on with tools in the messages. A vLLM server takes them with --enable-auto-tool-choice --tool-call-parser <parser of the model>: ${reason}`,
    );
  }

  /** A key in a server's complaint is masked. */
  shown(text: string): string {
    return withoutKey(text, this.config.key());
  }

  async #unformatted(send: (format: ResponseFormatKind) => Promise<Trial>): Promise<Outcome> {
    const trial = await send('text');
    if (trial.type === 'done') return trial.value;
    // Without a format there is none to refuse; a server that says so anyway refuses the request.
    return { type: 'refused', status: 400, reason: trial.reason };
  }

  async #try(
    request: ModelRequest,
    settings: RoleSettings,
    format: ResponseFormatKind,
    signal: AbortSignal,
    tools?: 'in_messages',
  ): Promise<Trial> {
    const model = this.model(settings);
    const maxTokensField = this.#maxTokensFields.get(model) ?? this.provider.maxTokensField;
    const body = requestBody(request, settings, { model, format, maxTokensField });
    const startedAt = performance.now();
    using deadline = this.#deadline(this.timeoutMs(settings), signal);
    try {
      const params = body as unknown as OpenAI.ChatCompletionCreateParamsNonStreaming;
      const response = await this.client.chat.completions
        .create(params, { signal: deadline.signal })
        .asResponse();
      const text = await response.text();
      const sent = {
        url: this.#url,
        format,
        maxTokensField,
        ...(tools === undefined ? {} : { tools }),
        bodyHash: sha256(JSON.stringify(body)),
      };
      const outcome = this.#read(text, response, { model, sent }, Math.round(performance.now() - startedAt));
      return { type: 'done', value: outcome, accepted: outcome.type === 'answered' };
    } catch (error) {
      if (signal.aborted) throw cancelled(error);
      const failure = httpFailureOf(error);
      if (failure === null) {
        return done(
          this.#masked(failureOfConnection(error, deadline.passed() ? this.timeoutMs(settings) : null)),
        );
      }
      const said = readServerError(failure.bodyText);
      if (tools === undefined && hasTools(request) && refusesTools(said, failure.status))
        return done({ type: 'tools_refused', reason: this.shown(said.message) });
      const next = weakerFormat(said, failure.status, format, request.tools.length > 0);
      if (next !== null) return { type: 'format_refused', next, reason: this.shown(said.message) };
      if (this.#learnsTokenField(model, maxTokensField, said, settings))
        return this.#try(request, settings, format, signal, tools);
      return done(this.#masked(failureOfStatus(failure, said, this.#clock.now())));
    }
  }

  #read(
    text: string,
    response: Response,
    asked: Pick<ModelAnswer, 'model' | 'sent'>,
    latencyMs: number,
  ): AttemptOutcome {
    const body = jsonOf(text);
    if (body === undefined)
      return unreadable(
        `the answer is no JSON (${response.headers.get('content-type') ?? 'no content type'})`,
      );
    const failure = failureInBody(text, body);
    if (failure !== null) return this.#masked(failure);
    const completion = readCompletion(body);
    if (completion.type === 'unreadable') return unreadable(completion.reason);
    if (completion.type === 'declined')
      return { type: 'refused', status: response.status, reason: completion.reason };
    const { content, toolCalls, finishReason, usage } = completion;
    const rehearsal = completion.rehearsal || response.headers.has('x-dlgforge-rehearsal');
    return {
      type: 'answered',
      answer: {
        content,
        toolCalls,
        finishReason,
        usage,
        endpoint: this.config.name,
        latencyMs,
        rehearsal,
        raw: body,
        ...asked,
      },
    };
  }

  /** Newer models take `max_completion_tokens`, older servers `max_tokens`; the refusal says which. */
  #learnsTokenField(model: string, used: MaxTokensField, said: ServerError, settings: RoleSettings): boolean {
    if (settings.maxTokens === null || this.#maxTokensFields.has(model) || !refusesTokenField(said, used))
      return false;
    this.#maxTokensFields.set(model, used === 'max_tokens' ? 'max_completion_tokens' : 'max_tokens');
    return true;
  }

  #masked<T extends FailedAttempt>(failure: T): T {
    return { ...failure, reason: this.shown(failure.reason) };
  }

  #deadline(timeoutMs: number, outer: AbortSignal): Deadline {
    const controller = new AbortController();
    let passed = false;
    const abort = (): void => controller.abort();
    const cancel = this.#clock.schedule(timeoutMs, () => {
      passed = true;
      controller.abort();
    });
    if (outer.aborted) controller.abort();
    else outer.addEventListener('abort', abort, { once: true });
    return {
      signal: controller.signal,
      passed: () => passed,
      [Symbol.dispose]: () => {
        cancel();
        outer.removeEventListener('abort', abort);
      },
    };
  }
}

const done = (value: Outcome): Trial => ({ type: 'done', value, accepted: false });

/** Also in the last round, which offers none but shows what the earlier ones said. */
const hasTools = ({ tools, messages }: ModelRequest): boolean =>
  tools.length > 0 || messages.some(({ role }) => role === 'tool');

/** Calls that the model wrote into its answer, as calls. */
function withCallsRead(outcome: AttemptOutcome): AttemptOutcome {
  if (outcome.type !== 'answered') return outcome;
  const { answer } = outcome;
  const toolCalls = answer.toolCalls.length > 0 ? [] : callsInText(answer.content);
  if (toolCalls.length === 0) return outcome;
  return { ...outcome, answer: { ...answer, content: '', toolCalls, finishReason: 'tool_calls' } };
}

const unreadable = (reason: string): AttemptOutcome => ({
  type: 'retry_later',
  status: 200,
  reason,
  cause: 'unreadable',
  retryAfterMs: null,
  rateLimited: false,
});

const cancelled = (cause: unknown): DlgforgeError =>
  new DlgforgeError('cancelled', 'The request was cancelled.', { cause });

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // A body that is no JSON is an expected outcome: the caller asks again later.
    return undefined;
  }
}
