/**
 * How the Hub's client reaches the network. Adds the token where it belongs, repeats what can succeed later,
 * and ends when the person wants it. A commit is repeated only when it was certainly not made; the caller
 * looks at the Hub before it tries such a one again.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { hubFailure } from './hub-failure.ts';

export interface HubConnection {
  /** Without a slash at its end. */
  readonly hubUrl: string;
  /** Goes to the Hub alone, never to the storage that it names for large files (I8). */
  readonly token: string;
  readonly stop: AbortSignal;
  /** Says why nothing seems to happen. */
  readonly onWaiting: (text: string) => void;
  /** Milliseconds before the first repetition; each later one waits twice as long. Default 1000. */
  readonly firstDelayMs?: number;
}

/**
 * What the client is given as token: it wants one of a certain form. Where it sends this to the Hub, the real
 * one goes instead; so what it does not sign, such as an upload to storage, stays without.
 */
export const TOKEN_STAND_IN = 'hf_stand_in';

/** Requests of one kind, the first included. */
export const ATTEMPTS_MAX = 5;
/** Nobody listens there, or there is no such name: mostly a mistake, seldom one that passes. */
const ATTEMPTS_AT_NOBODY_MAX = 3;
const DELAY_MS_MAX = 30_000;
/** The Hub counts requests in windows of five minutes; whoever says more means "not today". */
const RETRY_AFTER_MS_MAX = 5 * 60_000;

export function hubFetch(connection: HubConnection): typeof fetch {
  const origin = new URL(connection.hubUrl).origin;
  return async (input, init) => {
    const url = new URL(input instanceof Request ? input.url : input);
    const headers = new Headers(init?.headers);
    if (url.origin === origin && headers.get('authorization') === `Bearer ${TOKEN_STAND_IN}`)
      headers.set('authorization', `Bearer ${connection.token}`);
    const signal = AbortSignal.any([connection.stop, ...(init?.signal ? [init.signal] : [])]);
    const isCommit = init?.method === 'POST' && /\/commit\/[^/]+$/.test(url.pathname);
    const isQuestion = (init?.method ?? 'GET') === 'GET' && !url.href.startsWith(`${connection.hubUrl}/api/`);
    for (let attempt = 1; ; attempt += 1) {
      const outcome = await once(input, { ...init, headers, signal });
      const pauseMs = pauseAfter(outcome, attempt, connection);
      const mayRepeat =
        pauseMs !== null && attempt < attemptsMax(outcome) && (!isCommit || isRefused(outcome));
      if (!mayRepeat || signal.aborted) return await concluded(outcome, isQuestion);
      if (outcome instanceof Response) await outcome.body?.cancel();
      connection.onWaiting(waitingText(outcome, url, pauseMs));
      await sleep(pauseMs, undefined, { signal });
    }
  };
}

/** @throws HubFailure for a refusal, which the client would read in its own way, and the error of the network. */
async function concluded(outcome: Outcome, isQuestion: boolean): Promise<Response> {
  if (!(outcome instanceof Response)) throw outcome.error;
  // Storage says 404 to "do you have this already?", which is an answer like any other.
  if (outcome.ok || (outcome.status === 404 && isQuestion)) return outcome;
  throw await hubFailure(outcome);
}

type Outcome = Response | { readonly error: unknown };

async function once(input: string | URL | Request, init: RequestInit): Promise<Outcome> {
  try {
    return await fetch(input, init);
  } catch (error) {
    return { error };
  }
}

/** Turned away at the door: nothing of it was done. */
const isRefused = (outcome: Outcome): boolean => outcome instanceof Response && outcome.status === 429;

export const isPassing = (status: number): boolean => status === 408 || status === 429 || status >= 500;

/** Null when asking again would not help. */
function pauseAfter(
  outcome: Outcome,
  attempt: number,
  { firstDelayMs = 1000 }: HubConnection,
): number | null {
  const ownMs = backOffMs(attempt, firstDelayMs);
  if (!(outcome instanceof Response)) return networkCode(outcome.error) === null ? null : ownMs;
  if (!isPassing(outcome.status) || outcome.status === 501) return null;
  const wantedMs = retryAfterMs(outcome.headers.get('retry-after'));
  if (wantedMs === null) return ownMs;
  return wantedMs > RETRY_AFTER_MS_MAX ? null : wantedMs;
}

/** Up to a quarter less, so that several that were turned away together do not come back together. */
export const backOffMs = (attempt: number, firstDelayMs: number): number =>
  Math.min(DELAY_MS_MAX, firstDelayMs * 2 ** (attempt - 1)) * (1 - Math.random() / 4);

export function retryAfterMs(header: string | null): number | null {
  const text = header?.trim() ?? '';
  if (/^\d+(?:\.\d+)?$/.test(text)) return Number(text) * 1000;
  const atMs = Date.parse(text);
  return Number.isNaN(atMs) ? null : Math.max(0, atMs - Date.now());
}

function attemptsMax(outcome: Outcome): number {
  const code = outcome instanceof Response ? null : networkCode(outcome.error);
  return code === 'ECONNREFUSED' || code === 'ENOTFOUND' ? ATTEMPTS_AT_NOBODY_MAX : ATTEMPTS_MAX;
}

/** Of the system; an address that cannot be asked at all has none. */
function networkCode(error: unknown): string | null {
  const cause = isConnectionError(error) ? error.cause : null;
  return (cause as NodeJS.ErrnoException | null | undefined)?.code ?? null;
}

/** What `fetch` throws when there was no answer: anything else is not the network's doing. */
export const isConnectionError = (error: unknown): error is TypeError =>
  error instanceof TypeError && (error.message === 'fetch failed' || error.message === 'terminated');

function waitingText(outcome: Outcome, url: URL, pauseMs: number): string {
  const what =
    outcome instanceof Response ? `${url.host} answers ${outcome.status}` : `no answer from ${url.host}`;
  return `${what}; trying again in ${Math.ceil(pauseMs / 1000)} s`;
}
