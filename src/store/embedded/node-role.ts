/**
 * The role that other machines log in with. It owns the tables and nothing else: the role of the socket may do
 * everything on this machine that its user may, which no other machine is given.
 */
import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto';
import type { QueryResultRow } from 'pg';
import { SERVER_USER } from './data-folder.ts';

export const NODE_USER = 'dlgforge_node';

type Query = (sql: string) => Promise<readonly QueryResultRow[]>;

/** Makes the role, or gives it this password. May be repeated. */
export async function prepareNodeRole(query: Query, database: string, password: string): Promise<void> {
  // Heads of one folder that start together take turns.
  await query(`BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('dlgforge node role', 0))`);
  const [role] = await query(`SELECT 1 FROM pg_roles WHERE rolname = '${NODE_USER}'`);
  const verb = role === undefined ? 'CREATE' : 'ALTER';
  await query(
    `${verb} ROLE ${NODE_USER} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD '${scramVerifier(password)}'`,
  );
  await query(`GRANT CONNECT, CREATE, TEMPORARY ON DATABASE "${database}" TO ${NODE_USER}`);
  for (const kind of ['SCHEMAS', 'TABLES', 'SEQUENCES']) {
    await query(`ALTER DEFAULT PRIVILEGES FOR ROLE ${SERVER_USER} GRANT ALL ON ${kind} TO ${NODE_USER}`);
  }
  await query(HAND_OVER);
  await query('COMMIT');
}

/** Tables that were made by the socket's role before: only an owner may bring them up to date. */
const HAND_OVER = `DO $$
DECLARE made record;
BEGIN
  FOR made IN
    SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname = 'migrations' AND n.nspowner = '${SERVER_USER}'::regrole
      AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
  LOOP
    EXECUTE format('ALTER SCHEMA %I OWNER TO ${NODE_USER}', made.nspname);
  END LOOP;
  FOR made IN
    SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspowner = '${NODE_USER}'::regrole AND c.relkind = 'r' AND c.relowner = '${SERVER_USER}'::regrole
  LOOP
    EXECUTE format('ALTER TABLE %I.%I OWNER TO ${NODE_USER}', made.nspname, made.relname);
  END LOOP;
END $$`;

const ITERATIONS = 4_096;

/**
 * What Postgres stores for a password (RFC 5803). Made here, so that the password itself is in no statement that a
 * server could log. For ASCII, SASLprep changes nothing.
 */
function scramVerifier(password: string): string {
  const salt = randomBytes(16);
  const salted = pbkdf2Sync(password, salt, ITERATIONS, 32, 'sha256');
  const keyed = (text: string): Buffer => createHmac('sha256', salted).update(text).digest();
  const storedKey = createHash('sha256').update(keyed('Client Key')).digest('base64');
  const serverKey = keyed('Server Key').toString('base64');
  return `SCRAM-SHA-256$${ITERATIONS}:${salt.toString('base64')}$${storedKey}:${serverKey}`;
}
