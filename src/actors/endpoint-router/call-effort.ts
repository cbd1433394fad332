import type { Role } from '../../dialogue/chat.ts';
import { DlgforgeError } from '../../kernel/errors.ts';

/** A point in time, and how long no router could be asked until then. */
export interface Moment {
  readonly atMs: number;
  readonly awayMs: number;
}

/** What one call has been through. */
export interface Effort {
  readonly started: Moment;
  /** Attempts that failed and may succeed later, but rate limits. */
  failures: number;
  /** Of these, those that do not count against `max_retries`: their server may have gone with them. */
  forgiven: number;
  rateLimits: number;
  retries: number;
  firstFailure: Moment | null;
  lastReason: string;
  avoid: string | null;
  /** True once the wait was prolonged for a pause that an endpoint had asked for. */
  prolonged: boolean;
}

const BACKOFF_MIN_MS = 500;
const BACKOFF_MAX_MS = 30_000;

export const startEffort = (started: Moment): Effort => ({
  started,
  failures: 0,
  forgiven: 0,
  rateLimits: 0,
  retries: 0,
  firstFailure: null,
  lastReason: '',
  avoid: null,
  prolonged: false,
});

/** Full jitter over a doubling span (Brooker, "Exponential Backoff and Jitter", 2015). */
export function backoffMs({ failures, rateLimits }: Effort, random: () => number): number {
  return random() * Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** Math.min(failures + rateLimits - 1, 20));
}

export function unusableError(role: Role, reason: string, status: number): DlgforgeError {
  const code =
    status === 401 || status === 402 || status === 403 || status === 429 ? 'credentials' : 'endpoint';
  return new DlgforgeError(
    code,
    `No endpoint can serve the ${role}: ${reason}. Everything so far is kept: put it right (\`dlgforge doctor\` shows how) and run the same command again.`,
    { details: { role, status } },
  );
}

export function patienceError(role: Role, patienceMs: number, lastReason: string): DlgforgeError {
  const trouble = lastReason === '' ? '' : ` The last trouble was: ${lastReason}.`;
  return new DlgforgeError(
    'endpoint',
    `No endpoint of the ${role} has answered for ${Math.round(patienceMs / 1000)} s.${trouble} Everything so far is kept: run the same command again when the endpoint is back.`,
    { retryable: true, details: { role, patienceMs } },
  );
}
