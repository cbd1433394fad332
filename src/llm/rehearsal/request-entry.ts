import type { RehearsedRole } from './role.ts';

export type Route = 'chat' | 'embeddings' | 'rerank';

/** What became of a request. Those of status 200 were paid, whatever the client made of them. */
export type Outcome =
  | 'answered'
  | 'truncated'
  | 'malformed'
  | 'wrong_type'
  | 'empty'
  | 'prose'
  | 'duplicate'
  | 'rate_limited'
  | 'over_capacity'
  | 'server_error'
  | 'reset'
  | 'client_gone'
  | 'refused';

/** A line of the log; `server.ts` explains its fields. */
export interface LogEntry {
  readonly event: 'arrival' | 'completion' | 'reset';
  readonly seq: number;
  readonly at_ms: number;
  readonly route: Route;
  readonly key: string;
  readonly role: RehearsedRole;
  readonly model: string;
  readonly arrival: number;
  readonly in_flight: number;
  readonly outcome?: Outcome;
  readonly status?: number;
  /** The batch that it was part of. */
  readonly batch?: string;
  readonly stalled?: boolean;
  readonly tool_calls?: number;
  readonly prompt_tokens?: number;
  readonly cached_tokens?: number;
  readonly completion_tokens?: number;
  /** Latency, stall and token pace that were drawn for it; waiting for a place not counted. */
  readonly service_ms?: number;
  readonly elapsed_ms?: number;
}

export interface Arrival {
  readonly seq: number;
  readonly arrival: number;
  readonly atMs: number;
  readonly startedMs: number;
  readonly route: Route;
  readonly key: string;
  readonly role: RehearsedRole;
  readonly model: string;
}

export type Completed = Required<Pick<LogEntry, 'outcome' | 'status'>> &
  Pick<
    LogEntry,
    | 'batch'
    | 'stalled'
    | 'tool_calls'
    | 'prompt_tokens'
    | 'cached_tokens'
    | 'completion_tokens'
    | 'service_ms'
  >;
