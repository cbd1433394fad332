/** Log-ins and their failures, and the server that dlgforge starts itself. */
import { execFileSync } from 'node:child_process';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nkeys } from 'nats';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { isDlgforgeError } from '../../../src/kernel/errors.ts';
import { silentLogger } from '../../../src/kernel/logger.ts';
import { connectNats, type NatsOptions } from '../../../src/transport/nats/connection.ts';
import {
  findNatsServer,
  natsInstallLine,
  type NatsServer,
  type NatsServerOptions,
  startNatsServer,
} from '../../../src/transport/nats/local-server.ts';
import { natsProgram, startTestNats, type TestNats } from '../../support/nats-server.ts';

const SOON = { timeout: 10_000 };

const failure = async (options: Partial<NatsOptions>): Promise<{ code: string; message: string }> => {
  try {
    const link = await connectNats({
      urls: [],
      name: 'test',
      namespace: 'n',
      logger: silentLogger,
      ...options,
    });
    await link.close();
  } catch (error) {
    if (isDlgforgeError(error)) return error;
    throw error;
  }
  throw new Error('it connected');
};

describe('logging in', () => {
  let server: TestNats;

  beforeAll(async () => {
    server = await startTestNats();
  });

  afterAll(() => server.remove());

  test('with the token beside the URL or in it, and with several URLs of which some are dead', async () => {
    const urls = [`nats://127.0.0.1:1,nats://127.0.0.1:${server.port}`];
    const dead = await server.connect({ urls });
    expect(dead.isConnected).toBe(true);
    await dead.close();
    const inUrl = await connectNats({
      urls: [`nats://${server.token}@127.0.0.1:${server.port}`],
      name: 'test',
      namespace: 'n',
      logger: silentLogger,
    });
    expect(inUrl.isConnected).toBe(true);
    await inUrl.close();
    expect(inUrl.isConnected).toBe(false);
  });

  test('a wrong token, or none: what to do is said, the token is not', async () => {
    for (const options of [
      { urls: [server.url], token: 'wrong-secret' },
      { urls: [server.url] },
      { urls: [`nats://wrong-secret@127.0.0.1:${server.port}`] },
      { urls: [`nats://me:wrong-secret@127.0.0.1:${server.port}`] },
    ]) {
      const { code, message } = await failure(options);
      expect(code).toBe('transport');
      expect(message).toMatch(/refuses the log-in; give the token/);
      expect(message).toContain(`nats://127.0.0.1:${server.port}`);
      expect(message).not.toContain('wrong-secret');
    }
  });

  test('nothing that listens, and something that is no NATS server', async () => {
    const nothing = await failure({ urls: ['nats://secret@127.0.0.1:1'] });
    expect(nothing.message).toMatch(/nothing listens at nats:\/\/127\.0\.0\.1:1; start a NATS server/);
    expect(nothing.message).not.toContain('secret');
    const other = createServer((socket) => void socket.end('220 mail ready\r\n'));
    await new Promise<void>((resolve) => void other.listen(0, '127.0.0.1', resolve));
    const { port } = other.address() as AddressInfo;
    expect((await failure({ urls: [`127.0.0.1:${port}`] })).message).toMatch(/no NATS server/);
    other.close();
  });

  test('URLs that cannot be read are not repeated', async () => {
    for (const urls of [
      [],
      [' , '],
      ['http://tok:en@x'],
      ['nats://se cret@'],
      ['nats://a,postgres://secret@b'],
    ]) {
      const { code, message } = await failure({ urls });
      expect(code).toBe('config');
      expect(message).not.toMatch(/secret|se cret|tok:en/);
    }
  });

  test('a server that comes back with another token is waited for, until it takes the right one again', async () => {
    const statuses: (string | null)[] = [];
    const link = await server.connect({ onStatus: (text) => void statuses.push(text) });
    const config = join(server.folder, 'nats-server.conf');
    await server.stop();
    const program = await natsProgram();
    const strange = await startNatsServer({
      program,
      folder: server.folder,
      port: server.port,
      token: 'another',
      logFile: server.logFile,
    });
    expect(await readFile(config, 'utf8')).toContain('another');
    // Several refused attempts: the client must not give up on them.
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    expect(link.isConnected).toBe(false);
    await strange.stop();
    await server.start();
    await expect.poll(() => link.isConnected, SOON).toBe(true);
    expect(statuses).toEqual([`waiting for NATS at nats://127.0.0.1:${server.port}`, null]);
    await link.close();
  });
});

describe('a server of our own', () => {
  let folder: string;
  let program: string;
  const servers: NatsServer[] = [];

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'dlgforge-nats-'));
    program = await natsProgram();
  });

  afterEach(async () => {
    for (const server of servers.splice(0)) await server.stop();
    await rm(folder, { recursive: true, force: true });
  });

  const start = async (options: Partial<NatsServerOptions> = {}): Promise<NatsServer> => {
    const logFile = join(folder, 'log');
    const server = await startNatsServer({ program, folder, token: 's3cr"e\\t', logFile, ...options });
    servers.push(server);
    return server;
  };

  const connectTo = (server: NatsServer, options: Partial<NatsOptions> = {}) =>
    connectNats({ urls: [server.url], name: 'test', namespace: 'n', logger: silentLogger, ...options });

  test('is up within a moment, on the loopback, with JetStream and a token that only its owner can read', async () => {
    const beganMs = performance.now();
    const server = await start();
    expect(performance.now() - beganMs).toBeLessThan(5_000);
    expect(server.url).toBe(`nats://127.0.0.1:${server.port}`);
    const config = join(folder, 'nats-server.conf');
    expect((await stat(config)).mode & 0o777).toBe(0o600);
    expect((await stat(folder)).mode & 0o777).toBe(0o700);
    const commandLine = execFileSync('ps', ['-o', 'args=', '-p', String(server.pid)], { encoding: 'utf8' });
    expect(commandLine).toContain(config);
    expect(commandLine).not.toContain('s3cr');
    const link = await connectTo(server, { token: 's3cr"e\\t' });
    const queue = await link.workQueue();
    queue.onLoss(() => undefined)();
    await link.close();
  });

  test('starts again on the same port and folder, and ends when it is stopped', async () => {
    const first = await start();
    await first.stop();
    await first.stop();
    await first.exited;
    const second = await start({ port: first.port });
    expect(second.port).toBe(first.port);
    process.kill(second.pid, 'SIGKILL');
    expect(await second.exited).toBeNull();
    await second.stop();
  });

  test('a listener that is open to the network needs a token or client certificates', async () => {
    await expect(start({ host: '0.0.0.0', token: null })).rejects.toMatchObject({
      code: 'config',
      message: expect.stringMatching(/would be open to its network; give a token/) as string,
    });
    const server = await start({ host: '0.0.0.0' });
    expect(server.url).toBe(`nats://0.0.0.0:${server.port}`);
  });

  test('a port that is taken: the error has the server’s own words', async () => {
    const first = await start();
    const other = { folder: join(folder, 'other'), port: first.port, logFile: join(folder, 'other.log') };
    await expect(start(other)).rejects.toMatchObject({
      code: 'transport',
      message: expect.stringMatching(/did not start: it ended at once.*address already in use/) as string,
    });
  });

  test('without JetStream the work queue says what is missing', async () => {
    const config = join(folder, 'bare.conf');
    // A program that ignores the configuration it is given, as a server that somebody else set up.
    const bare = join(folder, 'bare-nats');
    const listen = 'listen: "127.0.0.1:-1"\nports_file_dir: ';
    await writeFile(config, `${listen}${JSON.stringify(folder)}\n`);
    await writeFile(bare, `#!/bin/sh\nexec ${program} -c ${config}\n`, { mode: 0o755 });
    const server = await start({ program: bare, token: null });
    const link = await connectTo(server);
    for (const open of [() => link.workQueue(), () => link.blobs()])
      await expect(open()).rejects.toMatchObject({
        code: 'transport',
        message: expect.stringMatching(/has no JetStream; start nats-server with -js/) as string,
      });
    await link.close();
  });

  test('an nkey is read from its file', async () => {
    const user = nkeys.createUser();
    const seedFile = join(folder, 'seed');
    await writeFile(seedFile, `${new TextDecoder().decode(user.getSeed())}\n`);
    const config = join(folder, 'keyed.conf');
    const users = `users: [ { nkey: ${user.getPublicKey()} }, { user: starter, password: starter } ]`;
    const lines = ['listen: "127.0.0.1:-1"', `ports_file_dir: ${JSON.stringify(folder)}`];
    // The starter's look needs somebody who may come in without a key.
    lines.push(`authorization { ${users} }`, 'no_auth_user: starter', '');
    await writeFile(config, lines.join('\n'));
    const keyed = join(folder, 'keyed-nats');
    await writeFile(keyed, `#!/bin/sh\nexec ${program} -c ${config}\n`, { mode: 0o755 });
    const server = await start({ program: keyed, token: null });
    const link = await connectTo(server, { nkeySeedFile: seedFile });
    expect(link.isConnected).toBe(true);
    await link.close();
    await writeFile(seedFile, new TextDecoder().decode(nkeys.createUser().getSeed()));
    expect((await failure({ urls: [server.url], nkeySeedFile: seedFile })).message).toMatch(
      /refuses the log-in/,
    );
    const missing = await failure({ urls: [server.url], nkeySeedFile: join(folder, 'none') });
    expect(missing.message).toMatch(/nkey seed file .*none cannot be read/);
  });

  test('TLS: with the right CA it connects, without it the error says what to check', async () => {
    const certificate = (name: string, extra: readonly string[]): string[] => {
      const files = ['-keyout', join(folder, `${name}.key`), '-out', join(folder, `${name}.pem`)];
      return [
        'req',
        '-x509',
        '-newkey',
        'ec',
        '-pkeyopt',
        'ec_paramgen_curve:prime256v1',
        '-nodes',
        '-days',
        '2',
      ]
        .concat(['-subj', `/CN=${name}`, '-addext', 'subjectAltName=IP:127.0.0.1', ...extra])
        .concat(files);
    };
    execFileSync('openssl', certificate('server', []), { stdio: 'ignore' });
    const tls = { cert: join(folder, 'server.pem'), key: join(folder, 'server.key') };
    const server = await start({ tls });
    expect(server.url).toMatch(/^tls:/);
    const token = 's3cr"e\\t';
    const link = await connectTo(server, { token, tls: { ca: tls.cert } });
    expect(link.isConnected).toBe(true);
    await link.close();
    expect((await failure({ urls: [server.url], token })).message).toMatch(
      /TLS connection .* failed: .*; check the CA/,
    );
    const withCertificates = { host: '0.0.0.0', token: null, tls: { ...tls, ca: tls.cert } };
    const mutual = await start({ ...withCertificates, folder: join(folder, 'mutual') });
    const urls = [`tls://127.0.0.1:${mutual.port}`];
    const known = await connectTo(mutual, { urls, tls: { ca: tls.cert, ...tls } });
    expect(known.isConnected).toBe(true);
    await known.close();
    expect((await failure({ urls, tls: { ca: tls.cert } })).code).toBe('transport');
    const missing = await failure({ urls: [server.url], token, tls: { ca: join(folder, 'none.pem') } });
    expect(missing.message).toMatch(/TLS .*none\.pem.*check/);
    const plain = await start({ folder: join(folder, 'plain') });
    expect((await failure({ urls: [plain.url], token, tls: { ca: tls.cert } })).message).toMatch(/TLS/);
  });

  test('is found where it is named, on the path, or not at all; and how to get it is said', async () => {
    expect(await findNatsServer({ given: program })).toBe(program);
    await expect(findNatsServer({ given: join(folder, 'none') })).rejects.toMatchObject({ code: 'config' });
    await writeFile(join(folder, 'nats-server'), '', { mode: 0o755 });
    expect(await findNatsServer({ path: `/nowhere:${folder}` })).toBe(join(folder, 'nats-server'));
    expect(await natsInstallLine('darwin')).toBe('brew install nats-server');
    expect(await natsInstallLine('linux')).toMatch(/apt-get install -y nats-server|github\.com/);
    expect(await natsInstallLine('win32')).toContain('github.com/nats-io/nats-server/releases');
  });
});
