/** A server of the user, by its connection string: what it is called, and how to reach it. */
import { Client, type ClientConfig } from 'pg';
import { DlgforgeError, messageOf } from '../../kernel/errors.ts';
import type { ConnectionSource } from './database.ts';
import { codeOf } from './faults.ts';

/** @throws DlgforgeError `store` when the DSN cannot be read, or a certificate that it names. */
export function dsnSource(dsn: string): ConnectionSource {
  const connectionString = withUsualTls(dsn);
  return {
    description: describe(connectionString),
    ensure: () => Promise.resolve(),
    config: (): ClientConfig => ({ connectionString }),
    leave: () => Promise.resolve(),
  };
}

/**
 * `sslmode` means what it means to psql and every other client: `require` encrypts, `verify-ca` and
 * `verify-full` look at the certificate too. pg takes all of them for `verify-full` unless it is told.
 */
function withUsualTls(dsn: string): string {
  return dsn.includes('sslmode=') && !dsn.includes('uselibpqcompat=') ? `${dsn}&uselibpqcompat=true` : dsn;
}

/** Host, port and database; never the user's password (I8). */
function describe(dsn: string): string {
  if (!/^(postgres(ql)?:\/\/|socket:)/i.test(dsn)) throw unreadableDsn();
  try {
    const client = new Client({ connectionString: dsn });
    return `Postgres at ${client.host}:${client.port}, database ${client.database ?? client.user ?? ''}`;
  } catch (error) {
    // pg's own error may repeat the DSN, password and all; it must not travel on as a cause.
    throw tlsFault(dsn, error) ?? unreadableDsn();
  }
}

function tlsFault(dsn: string, error: unknown): DlgforgeError | null {
  if (['ENOENT', 'EACCES', 'EISDIR'].includes(codeOf(error))) {
    return new DlgforgeError(
      'store',
      `A certificate that store.postgres.dsn names cannot be read: ${messageOf(error)}. ` +
        'Correct sslrootcert, sslcert or sslkey.',
    );
  }
  if (!dsn.includes('sslmode=verify-ca') || dsn.includes('sslrootcert=')) return null;
  return new DlgforgeError(
    'store',
    'sslmode=verify-ca in store.postgres.dsn needs the certificate of your authority: add sslrootcert=<file>, ' +
      'or use verify-full for a server with a public certificate.',
  );
}

function unreadableDsn(): DlgforgeError {
  return new DlgforgeError(
    'store',
    'store.postgres.dsn cannot be read. It has the form postgres://user:password@host:5432/database; ' +
      'special characters in the password are written as %XX.',
  );
}
