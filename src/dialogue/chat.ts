/** The chat-completion vocabulary that prompts, model adapters and the journal share. */

/** The three roles that a model plays. The configuration names them so under `llm.agents`. */
export type Role = 'user' | 'assistant' | 'judge';
export const ROLES: readonly Role[] = ['user', 'assistant', 'judge'];

export interface ToolCall {
  readonly id: string;
  readonly name: string;
  /** The JSON text that the model wrote; it may not parse. */
  readonly arguments: string;
}

export type ChatMessage =
  | { readonly role: 'system' | 'user'; readonly content: string }
  | { readonly role: 'assistant'; readonly content: string; readonly toolCalls?: readonly ToolCall[] }
  | { readonly role: 'tool'; readonly toolCallId: string; readonly name: string; readonly content: string };

export interface ToolSpec {
  readonly name: string;
  readonly description: string;
  /** JSON Schema of the arguments. */
  readonly parameters: Readonly<Record<string, unknown>>;
}

/** The structured answer that a call asks for: a schema name and a strict JSON Schema. */
export interface OutputSpec {
  readonly name: string;
  readonly schema: Readonly<Record<string, unknown>>;
}

/** One request to a model, before an endpoint is chosen. Equal requests have equal `requestKey`s. */
export interface ModelRequest {
  readonly role: Role;
  readonly messages: readonly ChatMessage[];
  readonly tools: readonly ToolSpec[];
  readonly output: OutputSpec;
}

/** Token counts as the server reports them; 0 when it reports none. */
export interface Usage {
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly completionTokens: number;
}

/** A paid answer, as it goes into the journal (I1). */
export interface ModelAnswer {
  readonly content: string;
  readonly toolCalls: readonly ToolCall[];
  readonly finishReason: string;
  readonly usage: Usage;
  /** Name of the endpoint that answered, and the model id it was asked for. */
  readonly endpoint: string;
  readonly model: string;
  /** Milliseconds from sending the request to the whole answer. */
  readonly latencyMs: number;
  /** True when the endpoint says that it is dlgforge's rehearsal backend. */
  readonly rehearsal: boolean;
  /** The response body exactly as received; kept once, in the journal. */
  readonly raw: unknown;
  /** Absent in what was answered before 1.1. */
  readonly sent?: SentForm;
}

/** What a request does not say of the body that was sent for it. Holds no credentials (I8). */
export interface SentForm {
  readonly url: string;
  readonly format: 'json_schema' | 'json_object' | 'text';
  readonly maxTokensField: 'max_tokens' | 'max_completion_tokens';
  /** The tools stood in the messages, because the server takes no `tools`; absent where they did not. */
  readonly tools?: 'in_messages';
  /** SHA-256 of the body, hex. */
  readonly bodyHash: string;
}
