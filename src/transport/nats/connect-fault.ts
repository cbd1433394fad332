/** Why a server could not be used, in words that say what to do. */
import { ErrorCode } from 'nats';
import { DlgforgeError, messageOf } from '../../kernel/errors.ts';

const AUTHENTICATION: ReadonlySet<unknown> = new Set<string>([
  ErrorCode.AuthorizationViolation,
  ErrorCode.BadAuthentication,
  ErrorCode.AuthenticationExpired,
  ErrorCode.AuthenticationTimeout,
  ErrorCode.AccountExpired,
  ErrorCode.BadCreds,
]);
const DISAGREES: ReadonlySet<unknown> = new Set<string>([ErrorCode.Tls, ErrorCode.ServerOptionNotAvailable]);
const TLS = /tls|ssl|certificate|self[- ]signed|unable to verify|altname|EPROTO/i;
/** How a plain TCP service that is no NATS server, or a server that hangs up, shows itself. */
const NOT_SPOKEN = /unexpected response|ECONNRESET|socket hang up|JSON/i;

/** `shown`: the URLs without secrets. */
export function connectFault(shown: string, error: unknown): DlgforgeError {
  return new DlgforgeError('transport', explanation(shown, error), {
    // A log-in or certificate that is refused stays refused.
    retryable: !AUTHENTICATION.has(codeOf(error)) && !DISAGREES.has(codeOf(error)),
    details: { url: shown, code: codeOf(error) },
    // The library's errors quote neither URL nor token.
    cause: error,
  });
}

function explanation(shown: string, error: unknown): string {
  const code = codeOf(error);
  const why = everyMessage(error);
  if (AUTHENTICATION.has(code) || /authorization violation|authentication/i.test(why))
    return `NATS at ${shown} refuses the log-in; give the token (or user and password) that the server was started with`;
  if (DISAGREES.has(code) && /tls/i.test(`${code} ${why}`))
    return `NATS at ${shown} and this node do not agree on TLS (${why}); check the scheme (nats:// or tls://) and the CA, certificate and key files`;
  if (TLS.test(`${code} ${why}`))
    return `the TLS connection to NATS at ${shown} failed: ${why}; check the CA, certificate and key files and the host name in the certificate`;
  if (/CONNECTION_REFUSED|ECONNREFUSED/.test(`${code} ${why}`))
    return `nothing listens at ${shown}; start a NATS server there (\`dlgforge cluster start --head\`, or nats-server -js), or name another with --nats`;
  if (/ENOTFOUND|EAI_AGAIN/.test(`${code} ${why}`))
    return `the host name of NATS at ${shown} is not known here; correct the URL`;
  if (/TIMEOUT|ETIMEDOUT|EHOSTUNREACH/.test(`${code} ${why}`))
    return `NATS at ${shown} does not answer; check that the server is up, that no firewall is between and, with TLS, whether it wants a client certificate`;
  if (NOT_SPOKEN.test(why)) return `what listens at ${shown} is no NATS server (${why}); correct the URL`;
  return `NATS at ${shown} cannot be used: ${why}`;
}

function codeOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : null;
  return typeof code === 'string' ? code : '';
}

/** The library hides the reason in `chainedError`. */
function everyMessage(error: unknown): string {
  const chained = error instanceof Error && 'chainedError' in error ? error.chainedError : null;
  const inner = chained instanceof Error ? `: ${messageOf(chained)}` : '';
  return `${messageOf(error)}${inner}`;
}
