import type { Role } from '../dialogue/chat.ts';

/**
 * Gives a secret to the one who uses it. A function, so that no logger, error or JSON text can
 * carry the secret by accident (I8).
 */
export type RevealKey = () => string | null;

export const noKey: RevealKey = () => null;

/** How one role wants to be answered, wherever it is answered. */
export interface RoleSettings {
  /** As configured; may be empty. Only names use it; how to talk is a matter of the endpoint. */
  readonly provider: string;
  readonly model: string;
  readonly temperature: number | null;
  readonly maxTokens: number | null;
  readonly topP: number | null;
  /** Milliseconds for one attempt; null takes `DEFAULT_TIMEOUT_MS`. */
  readonly timeoutMs: number | null;
  /** Failed attempts after the first; null leaves it to the patience of the run. */
  readonly maxRetries: number | null;
  /** Further request fields; they never replace a field that dlgforge sets. */
  readonly extra: Readonly<Record<string, unknown>>;
}

/** One place that answers requests. */
export interface EndpointConfig {
  /** Unique in a run; shown to people, so it holds no credentials. */
  readonly name: string;
  /** A name of the provider table, or any other name for an OpenAI-compatible server. */
  readonly provider: string;
  readonly baseUrl: string;
  readonly roles: readonly Role[];
  /** Relative share of traffic; > 0. */
  readonly weight: number;
  /** Hard limit of requests in flight (I7). */
  readonly maxInFlight: number;
  /** Replaces the role's time-out. */
  readonly timeoutMs: number | null;
  /** Replaces the role's model. */
  readonly model: string | null;
  /** This endpoint's own key, never one of a role that happens to use it. */
  readonly key: RevealKey;
  /** Where the key has to come from: without a value nothing is sent. @default a key is not asked for */
  readonly keyVariable?: string;
  /** Finishes what is in flight and takes no more. @default false */
  readonly isDraining?: boolean;
}

/** Null when it has its key, or needs none. */
export function lackingKey({ name, keyVariable, key }: EndpointConfig): string | null {
  if (keyVariable === undefined || key() !== null) return null;
  return `the key of ${name} is missing here: the environment variable ${keyVariable} is not set`;
}

/** Long enough for a long answer on a busy server, short enough that a dead connection is noticed. */
export const DEFAULT_TIMEOUT_MS = 600_000;
/** For an endpoint that is listed without a limit: vLLM's batches are about this large. */
export const DEFAULT_MAX_IN_FLIGHT = 64;
/** For a provider's own address, where the provider's rate limit steers, not the number of slots. */
export const PROVIDER_MAX_IN_FLIGHT = 256;
