import type { ModelAnswer, ModelRequest, Role } from '../dialogue/chat.ts';

/** An endpoint as the router sees it; how to reach it and its key stay inside the adapter (I8). */
export interface EndpointSpec {
  /** Unique in a run. */
  readonly name: string;
  /**
   * The server and the model behind it, equal in every run that uses the same: their limit, rate limits and
   * health are one. No secrets. @default the name
   */
  readonly identity?: string;
  readonly roles: readonly Role[];
  /** Relative share of traffic; > 0. */
  readonly weight: number;
  /** Hard limit of requests in flight (I7). */
  readonly maxInFlight: number;
  /** True: finishes what is in flight and takes no more. Absent: as it was told before. */
  readonly isDraining?: boolean;
}

/** What became of one attempt at one endpoint. Everything that can be expected is a value. */
export type AttemptOutcome =
  | { readonly type: 'answered'; readonly answer: ModelAnswer }
  /** May succeed later: connection trouble, timeout, 408, 409, 425, 429, 5xx, a body that is no completion. */
  | {
      readonly type: 'retry_later';
      readonly reason: string;
      readonly cause: RetryCause;
      readonly status: number | null;
      /** From Retry-After or retry-after-ms, whatever its size; null when the server said nothing. */
      readonly retryAfterMs: number | null;
      /** True for 429 (and 503 with Retry-After): steers concurrency, is not a failure of the endpoint. */
      readonly rateLimited: boolean;
    }
  /** This request will never be answered (400, 413, 422, content filter); others may. */
  | { readonly type: 'refused'; readonly reason: string; readonly status: number }
  /** Nobody's request will be answered until a person acts (401, 402, 403, 404 model). */
  | { readonly type: 'unusable'; readonly reason: string; readonly status: number }
  /** Nothing was sent: this process does not know the endpoint yet, or no longer. Says nothing about anybody. */
  | { readonly type: 'elsewhere'; readonly reason: string };

/** What the summary counts retries by. `unreadable`: a 2xx whose body is no completion. */
export type RetryCause = 'rate_limit' | 'server' | 'connection' | 'timeout' | 'unreadable';

/** Talks to model endpoints: one attempt, one endpoint, no retry, no queue. */
export interface ModelPort {
  /** Those of now; they may change while calls are under way. */
  readonly endpoints: readonly EndpointSpec[];
  /**
   * The name that records give the model of a role, for example `openai/gpt-5` (as in 0.1.0).
   * With the endpoint that answered it is exact; without, the role's first endpoint is taken.
   */
  usedName(role: Role, endpoint?: string): string;
  /** Milliseconds after which one attempt of this role is given up. */
  timeoutMs(role: Role): number;
  /** Failed attempts after the first that the user allows; null: as many as patience allows. */
  maxRetries(role: Role): number | null;
  /** @throws DlgforgeError `cancelled` when `signal` aborts; nothing else. */
  attempt(endpoint: string, request: ModelRequest, signal: AbortSignal): Promise<AttemptOutcome>;
  /**
   * Asks `/v1/models`, and where that is missing or leaves a model out, for a tiny completion, unless
   * nothing may be paid for. Never throws.
   */
  check(endpoint: string, signal: AbortSignal, options?: CheckOptions): Promise<EndpointHealth>;
  close(): Promise<void>;
}

export interface CheckOptions {
  /** @default true */
  readonly mayPay?: boolean;
  /** Only whether anybody is there: healthy when `/v1/models` gets any answer but a server error. @default false */
  readonly isReachableOnly?: boolean;
}

export type EndpointHealth =
  | { readonly type: 'healthy'; readonly models: readonly string[] }
  /** It answers, but only a paid call could tell whether it serves the model. */
  | {
      readonly type: 'unproven';
      readonly reason: string;
      readonly hint: string;
      /** True where servers of its kind list their models, and it does not. */
      readonly isListMissing: boolean;
    }
  | {
      readonly type: 'unhealthy';
      readonly reason: string;
      readonly hint: string;
      /** The roles whose model it does not serve; absent: nobody can use it. */
      readonly roles?: readonly Role[];
      /** Nobody answered, or only with trouble of its own: it may be well in a moment. @default false */
      readonly isAway?: boolean;
      /** That it answered with; absent when it did not answer, or answered well. */
      readonly status?: number;
    };

/** What a server was found to support, remembered over processes. */
export interface CapabilityMemory {
  load(): Promise<ReadonlyMap<string, ResponseFormatKind>>;
  /** `key` is endpoint base URL and model. */
  remember(key: string, kind: ResponseFormatKind): Promise<void>;
}

export type ResponseFormatKind = 'json_schema' | 'json_object' | 'text';
