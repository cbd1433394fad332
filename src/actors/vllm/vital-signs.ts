/**
 * What probes of a model server come to. Pure but for its memory of the probes so far.
 *
 * A server serves when it is healthy and lists the model that it was started for. One that is healthy and gets
 * nowhere while requests are in it hangs: its engine has died or is stuck behind an API that still answers. Its
 * metrics tell, unless it has none or the engine that fills them stands still; a request for one token tells then.
 */
import type { ServerVitals } from '../../ports/server-process.ts';

export interface VitalLimits {
  /** From the start until it serves. */
  readonly healthTimeoutMs: number;
  /** Without a token while requests are in it. */
  readonly noProgressMs: number;
}

export type Condition =
  | { readonly type: 'starting' }
  /** `isQuiet`: nothing has shown for a while that it gets on with anything; it is to be asked for a token. */
  | { readonly type: 'serving'; readonly isQuiet: boolean }
  /** Started anew it may do better. */
  | { readonly type: 'sick'; readonly reason: string }
  /** Started anew it would do the same. */
  | { readonly type: 'hopeless'; readonly reason: string };

/** A server that is busy answers late; one that does not answer for this long is gone. */
const SILENT_MAX_MS = 30_000;

export class VitalSigns {
  readonly #models: readonly string[];
  readonly #limits: VitalLimits;
  readonly #startedAtMs: number;
  #serves = false;
  #answeredAtMs = 0;
  /** When the tokens last changed, or nothing was in it. */
  #progress: { readonly atMs: number; readonly tokens: number } | null = null;
  /** When its tokens last changed, or it has answered. */
  #livedAtMs = 0;

  constructor(models: readonly string[], limits: VitalLimits, startedAtMs: number) {
    this.#models = models;
    this.#limits = limits;
    this.#startedAtMs = startedAtMs;
  }

  read(vitals: ServerVitals, nowMs: number): Condition {
    const { isHealthy, models } = vitals;
    const missing = this.#models.filter((model) => models !== null && !models.includes(model));
    if (isHealthy && models !== null && missing.length > 0) {
      const served = models.length === 0 ? 'no model' : models.join(', ');
      return {
        type: 'hopeless',
        reason: `it serves ${served}, and ${missing.join(', ')} was asked for. Correct llm.vllm.served_model_name, or what llm.agents and llm.vllm.extra_args say of it.`,
      };
    }
    return this.#serves ? this.#whileServing(vitals, nowMs) : this.#whileStarting(vitals, nowMs);
  }

  #whileStarting({ isHealthy, models }: ServerVitals, nowMs: number): Condition {
    if (isHealthy && models !== null) {
      this.#serves = true;
      this.#answeredAtMs = nowMs;
      this.#livedAtMs = nowMs;
      return { type: 'serving', isQuiet: false };
    }
    const { healthTimeoutMs } = this.#limits;
    if (nowMs - this.#startedAtMs < healthTimeoutMs) return { type: 'starting' };
    return {
      type: 'hopeless',
      reason: `it did not become healthy within ${seconds(healthTimeoutMs)}. If it only needs longer, raise llm.vllm.health_timeout_s.`,
    };
  }

  #whileServing({ isHealthy, load }: ServerVitals, nowMs: number): Condition {
    const { noProgressMs } = this.#limits;
    if (isHealthy) this.#answeredAtMs = nowMs;
    const silentMs = nowMs - this.#answeredAtMs;
    if (silentMs >= Math.min(noProgressMs, SILENT_MAX_MS)) {
      return { type: 'sick', reason: `its /health has not answered for ${seconds(silentMs)}` };
    }
    if (load !== null) {
      const { running, waiting, tokens } = load;
      const since = this.#progress;
      if (since !== null && tokens !== since.tokens) this.#livedAtMs = nowMs;
      if (since === null || running + waiting === 0 || tokens !== since.tokens) {
        this.#progress = { atMs: nowMs, tokens };
      } else if (nowMs - since.atMs >= noProgressMs) {
        return {
          type: 'sick',
          reason: `its /health answers, but it has made no token for ${seconds(nowMs - since.atMs)} with ${running} requests running and ${waiting} waiting`,
        };
      }
    }
    return { type: 'serving', isQuiet: nowMs - this.#livedAtMs >= noProgressMs / 2 };
  }

  /** What it comes to that it has answered a request for a token, or has not; null: it is well. */
  asked(hasAnswered: boolean, askedAtMs: number, nowMs: number): Condition | null {
    if (hasAnswered) this.#livedAtMs = nowMs;
    // Tokens since then: the request waits behind others.
    if (hasAnswered || this.#livedAtMs > askedAtMs) return null;
    return {
      type: 'sick',
      reason: `its /health answers, but a request for one token had no answer in ${seconds(nowMs - askedAtMs)}`,
    };
  }
}

const seconds = (ms: number): string => `${Math.round(ms / 100) / 10} s`;
