/** TLS to a server of the user, by the options of its DSN, as psql knows them. */
import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/kernel/logger.ts';
import { EmbeddedPostgres } from '../../../src/store/embedded-postgres.ts';
import { openStore } from '../../../src/store/open-store.ts';
import { freshSchema, withClient } from '../../support/embedded-store.ts';

const hasOpenssl = spawnSync('openssl', ['version']).status === 0;

describe.runIf(hasOpenssl)('TLS to a server of the user', () => {
  const stateDir = mkdtempSync(join(tmpdir(), 'dlgforge-tls-'));
  const certificate = join(stateDir, 'server.crt');
  const other = join(stateDir, 'other.crt');
  let server: EmbeddedPostgres;

  beforeAll(async () => {
    const listen = { host: '127.0.0.1', port: 0, password: 'a-generated-password-0123' };
    server = await EmbeddedPostgres.open({ stateDir, logger: silentLogger, listen });
    makeCertificate(certificate);
    makeCertificate(other);
    const { uid, gid } = statSync(server.dataDir);
    const key = join(server.dataDir, 'server.key');
    spawnSync('cp', [`${certificate}.key`, key]);
    chmodSync(key, 0o600);
    chownSync(key, uid, gid);
    chmodSync(stateDir, 0o755);
    await withClient(server, async (client) => {
      for (const [name, value] of [
        ['ssl_cert_file', certificate],
        ['ssl_key_file', key],
        ['ssl', 'on'],
      ]) {
        await client.query(`ALTER SYSTEM SET ${name} = '${value}'`);
      }
      await client.query('SELECT pg_reload_conf()');
    });
  });

  afterAll(async () => {
    await server.leave();
    rmSync(stateDir, { recursive: true, force: true });
  });

  const dsn = (host: string, options: string): string => `${server.dsnForOthers(host)}?${options}`;

  async function encryption(connection: string): Promise<boolean> {
    const schema = freshSchema();
    const store = await openStore({ stateDir, dsn: connection, schema });
    try {
      await store.listRuns();
      return await withClient(server, async (client) => {
        const { rows } = await client.query<{ ssl: boolean }>(
          `SELECT s.ssl FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE a.query LIKE '%"${schema}".runs%'
             AND pid <> pg_backend_pid()`,
        );
        return rows.length > 0 && rows.every(({ ssl }) => ssl);
      });
    } finally {
      await store.close();
    }
  }

  it('encrypts when it is told to, and without a warning', async () => {
    const warnings: Error[] = [];
    const keep = (warning: Error): unknown => warnings.push(warning);
    process.on('warning', keep);
    expect(await encryption(dsn('127.0.0.1', 'sslmode=disable'))).toBe(false);
    expect(await encryption(dsn('127.0.0.1', 'sslmode=require'))).toBe(true);
    process.off('warning', keep);
    expect(warnings).toEqual([]);
  });

  it('looks at the certificate, and at the name in it', async () => {
    const trusted = `sslrootcert=${certificate}`;
    expect(await encryption(dsn('localhost', `sslmode=verify-full&${trusted}`))).toBe(true);
    expect(await encryption(dsn('127.0.0.1', `sslmode=verify-ca&${trusted}`))).toBe(true);
    const refused: readonly (readonly [string, string, RegExp])[] = [
      ['127.0.0.1', `sslmode=verify-full&${trusted}`, /IP: 127\.0\.0\.1 is not in the cert/],
      ['localhost', 'sslmode=verify-full', /self-signed certificate/],
      ['localhost', `sslmode=verify-ca&sslrootcert=${other}`, /self-signed certificate|signature/],
      ['localhost', `sslmode=require&sslrootcert=${other}`, /self-signed certificate|signature/],
    ];
    for (const [host, options, message] of refused) {
      await expect(openStore({ stateDir, dsn: dsn(host, options) })).rejects.toMatchObject({
        code: 'store',
        message: expect.stringMatching(message),
      });
    }
  });

  it('says what to do about certificates that are missing', async () => {
    await expect(openStore({ stateDir, dsn: dsn('localhost', 'sslmode=verify-ca') })).rejects.toMatchObject({
      code: 'store',
      message: expect.stringContaining('add sslrootcert=<file>'),
    });
    const missing = dsn('localhost', 'sslmode=verify-full&sslrootcert=/none.crt');
    const error: unknown = await openStore({ stateDir, dsn: missing }).catch((caught: unknown) => caught);
    expect(error).toMatchObject({
      code: 'store',
      message: expect.stringMatching(/cannot be read: .*\/none\.crt.*Correct sslrootcert/),
    });
    expect(JSON.stringify(error) + String(error)).not.toContain('generated-password');
  });
});

/** Self-signed, for `localhost` alone; its key is beside it. */
function makeCertificate(path: string): void {
  const options = 'req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext';
  const made = spawnSync('openssl', [
    ...options.split(' '),
    'subjectAltName=DNS:localhost',
    '-keyout',
    `${path}.key`,
    '-out',
    path,
  ]);
  if (made.status !== 0) throw new Error(made.stderr.toString());
  chmodSync(path, 0o644);
}
