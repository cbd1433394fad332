/** What pg's errors mean: worth another try, or for a person. */
import { DlgforgeError, isDlgforgeError, messageOf } from '../../kernel/errors.ts';

/** SQLSTATE, or Node's error code; '' when there is neither. */
export function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}

/** Nobody answered, or the server is starting or going down. */
export function isUnreachable(error: unknown): boolean {
  const code = codeOf(error);
  return (
    NETWORK_CODES.has(code) ||
    code.startsWith('08') ||
    code.startsWith('57P') ||
    // pg's own words; it gives these no code.
    (code === '' && PG_CONNECTION_WORDS.test(messageOf(error)))
  );
}

/** The same statement may well succeed later, without anybody changing anything or after a while. */
export function isTransient(error: unknown): boolean {
  const code = codeOf(error);
  return isUnreachable(error) || TRANSIENT_STATES.has(code) || code.startsWith('53');
}

/** What happened, in one line. Node's error for a name with several addresses has no text of its own. */
export function reasonOf(error: unknown): string {
  return messageOf(error) || codeOf(error) || 'no reason given';
}

/** A fault that no retry heals, worded for people. What does not come from the server stays what it is. */
export function storeFault(error: unknown, where: string): unknown {
  const code = codeOf(error);
  if (isDlgforgeError(error) || code === '') return error;
  const hint = HINTS[code] ?? 'See the cause, and the log of the database server.';
  return new DlgforgeError('store', `The database ${where} refused: ${reasonOf(error)}. ${hint}`, {
    cause: error,
    details: { code },
  });
}

const NETWORK_CODES: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ENOENT',
  'ETIMEDOUT',
  // A Unix socket whose server is frozen, and has no place left for those who wait.
  'EAGAIN',
  'EHOSTUNREACH',
  'EHOSTDOWN',
  'ENETUNREACH',
  'ENETDOWN',
  'EAI_AGAIN',
  'ENOTFOUND',
]);

const PG_CONNECTION_WORDS =
  /Connection terminated|timeout exceeded when trying to connect|Query read timeout|timeout expired|not queryable|Connection ended|Client was closed/i;

const TRANSIENT_STATES: ReadonlySet<string> = new Set([
  '40001', // serialisation failure
  '40P01', // deadlock
  '55P03', // lock not available
  '57014', // cancelled, as by the statement timeout
  '25P03', // idle in transaction for too long
  '25006', // read-only: a standby that is about to become the primary
]);

const POOLER_HINT = 'Connect to the server itself, or to a pooler in session mode.';

const HINTS: Readonly<Record<string, string>> = {
  '28P01': 'Check the user name and the password in store.postgres.dsn.',
  '28000': 'Check the user name in store.postgres.dsn, and what pg_hba.conf allows it.',
  '3D000': 'Create the database, or name another one in store.postgres.dsn.',
  '42501': 'Give the user of store.postgres.dsn the right to create a schema in this database.',
  '26000': POOLER_HINT,
  '42P05': POOLER_HINT,
  '57014': 'Raise store.postgres.statement_timeout_ms.',
};
