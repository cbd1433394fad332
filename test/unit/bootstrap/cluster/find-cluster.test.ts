import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { type AddressFile, thisHead, writeAddress } from '../../../../src/bootstrap/cluster/address-file.ts';
import {
  findCluster,
  secretsIn,
  type Wanted,
  withoutLogin,
} from '../../../../src/bootstrap/cluster/find-cluster.ts';

const home = mkdtempSync(join(tmpdir(), 'dlgforge-find-'));
afterAll(() => rmSync(home, { recursive: true }));
const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

/** Says what a NATS server says first. */
async function greeting(host: string, serverId: string): Promise<number> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.write(`INFO {"server_id":"${serverId}","version":"2.10.0"}\r\n`);
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

const write = (change: Partial<AddressFile>): Promise<void> =>
  writeAddress(home, {
    namespace: 'mine',
    natsUrl: 'nats://127.0.0.1:4222',
    token: 'token-of-the-head',
    postgres: { type: 'dsn', dsn: 'postgres://db.example/db' },
    natsServerId: null,
    ...thisHead(),
    headNode: 'head',
    startedAt: 'then',
    ...change,
  });

const wanted = (change: Partial<Wanted> = {}): Wanted => ({
  namespace: 'mine',
  address: 'auto',
  natsToken: null,
  dsn: null,
  tls: null,
  environment: {},
  homes: [home],
  ...change,
});

describe('auto', () => {
  test.each([
    ['an IPv6 address', '::1', (port: number) => `nats://[::1]:${port}`],
    ['a host and port without a scheme', '127.0.0.1', (port: number) => `127.0.0.1:${port}`],
    ['one of several', '127.0.0.1', (port: number) => `nats://127.0.0.1:9,nats://tok@127.0.0.1:${port}`],
  ])('finds the cluster at %s', async (_, host, url) => {
    await write({ natsUrl: url(await greeting(host, 'NMINE')) });
    expect(await findCluster(wanted())).toMatchObject({ namespace: 'mine', natsToken: 'token-of-the-head' });
  });

  test('does not take another server on the port of one that is gone for it', async () => {
    const natsUrl = `nats://127.0.0.1:${await greeting('127.0.0.1', 'NOTHER')}`;
    await write({ natsUrl, natsServerId: 'NMINE' });
    expect(await findCluster(wanted())).toBeNull();
    await write({ natsUrl, natsServerId: 'NOTHER' });
    const tls = { ca: '/ca.pem' };
    expect(await findCluster(wanted({ tls })), 'one of a head speaks plainly').toMatchObject({ tls: null });
    await write({ natsUrl, natsServerId: null });
    expect(await findCluster(wanted({ tls })), 'the user`s own may want TLS').toMatchObject({ tls });
  });
});

test('an address that is written in another way is the one of the file', async () => {
  await write({ natsUrl: 'nats://127.0.0.1:4222' });
  expect(await findCluster(wanted({ address: '127.0.0.1' }))).toMatchObject({
    natsToken: 'token-of-the-head',
  });
  await expect(findCluster(wanted({ address: 'nats://127.0.0.1:4223' }))).rejects.toThrow(/no DSN/);
});

describe('I8: log-ins', () => {
  test.each([
    ['nats://a:4222', 'nats://a:4222'],
    ['nats://tok@a:4222,nats://u:p@b', 'nats://a:4222,nats://b'],
    ['tok@a:4222', 'a:4222'],
    ['nats://u:p/w@rd@[::1]:4222', 'nats://[::1]:4222'],
  ])('of %s are not shown', (url, shown) => expect(withoutLogin(url)).toBe(shown));

  test('are known to the log as they stand and as they are meant; a user`s name is no secret', () => {
    const secrets = secretsIn({
      namespace: 'mine',
      natsUrls: ['nats://tok@a', 'nats://me:p%40ss:word@b'],
      natsToken: 'token',
      tls: null,
      nkeySeedFile: null,
      postgres: { type: 'dsn', dsn: 'postgres://postgres:db%2Fpass@c/db' },
    });
    expect(secrets.toSorted()).toEqual(
      ['token', 'tok', 'p%40ss:word', 'p@ss:word', 'db%2Fpass', 'db/pass'].toSorted(),
    );
  });
});
