/** What went wrong at the Hub, in words that say what to do. */
import { DlgforgeError, isDlgforgeError } from '../../kernel/errors.ts';
import { HubFailure } from './hub-failure.ts';
import { isConnectionError, isPassing } from './hub-fetch.ts';

export interface HubPlace {
  readonly hubUrl: string;
  readonly repo: string;
  readonly token: string;
}

/** @param doing ends the sentence "The Hub refused to …". */
export function hubError(error: unknown, doing: string, place: HubPlace): DlgforgeError {
  if (isDlgforgeError(error)) return error;
  if (error instanceof HubFailure) return refusal(error, doing, place);
  const hidden = (text: string): string => text.replaceAll(place.token, '***');
  if (isConnectionError(error)) {
    const why = error.cause;
    const reason =
      why instanceof Error ? why.message || String((why as NodeJS.ErrnoException).code) : 'no answer';
    return new DlgforgeError(
      'hub',
      `The Hub at ${new URL(place.hubUrl).host} cannot be reached (${hidden(reason)}). Check the network and HF_ENDPOINT, and run the same command again.`,
      { retryable: true },
    );
  }
  const message = error instanceof Error ? error.message : String(error);
  return new DlgforgeError('hub', `The push failed while it tried to ${doing}: ${hidden(message)}`);
}

function refusal(
  { status, message, requestId }: HubFailure,
  doing: string,
  { hubUrl, repo, token }: HubPlace,
): DlgforgeError {
  const said = message === '' ? '' : `, ${message.replaceAll(token, '***')}`;
  const request = requestId === null ? '' : ` (request ${requestId})`;
  return new DlgforgeError(
    'hub',
    `The Hub refused to ${doing}: ${status}${said}${request}. ${adviceOf(status, hubUrl, repo)}`,
    { retryable: isPassing(status), details: { status, requestId } },
  );
}

function adviceOf(status: number, hubUrl: string, repo: string): string {
  if (status === 401)
    return `The token is not accepted: make one with write access at ${hubUrl}/settings/tokens and give it as HF_TOKEN.`;
  if (status === 403)
    return `The token may not write to ${repo}: give one with write access to it (HF_TOKEN), or name another repository (saving.hf_push.repo_id, --repo-id).`;
  if (status === 404)
    return `Check the name ${repo} (saving.hf_push.repo_id, --repo-id) and that the token may see it.`;
  if (isPassing(status))
    return 'Nothing was published by halves. Run the same command again in a few minutes.';
  return 'Nothing was published. Correct what the answer says and run the same command again.';
}
