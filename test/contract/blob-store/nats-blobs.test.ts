import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'nats';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { BlobStore } from '../../../src/ports/blob-store.ts';
import type { NatsLink } from '../../../src/transport/nats/connection.ts';
import { subjectsOf } from '../../../src/transport/nats/subjects.ts';
import { freshNamespace, startTestNats, type TestNats } from '../../support/nats-server.ts';

let server: TestNats;

beforeAll(async () => {
  server = await startTestNats();
});

afterAll(() => server.remove());

describe('blobs in the object store', () => {
  let folder: string;
  let namespace: string;
  let link: NatsLink;
  let blobs: BlobStore;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'dlgforge-blobs-'));
    namespace = freshNamespace();
    link = await server.connect({ namespace });
    blobs = await link.blobs();
  });

  afterEach(async () => {
    await link.close();
    await rm(folder, { recursive: true, force: true });
  });

  const file = (name: string): string => join(folder, name);
  const made = async (name: string, bytes: Buffer): Promise<string> => {
    await writeFile(file(name), bytes);
    return file(name);
  };

  test('what one process stores another one fetches, byte for byte', async () => {
    const bytes = randomBytes(3 * 1024 * 1024 + 17);
    const other = await server.connect({ namespace });
    expect(await blobs.has('index/ä b.tar')).toBe(false);
    expect(await blobs.get('index/ä b.tar', file('none'))).toBe(false);
    await blobs.put('index/ä b.tar', await made('in', bytes));
    const theirs = await other.blobs();
    expect(await theirs.has('index/ä b.tar')).toBe(true);
    expect(await theirs.get('index/ä b.tar', file('out'))).toBe(true);
    expect((await readFile(file('out'))).equals(bytes)).toBe(true);
    expect((await readdir(folder)).toSorted()).toEqual(['in', 'out']);
    await other.close();
  });

  test('an empty blob, one of exactly a chunk, and one of a chunk and a byte', async () => {
    for (const size of [0, 128 * 1024, 128 * 1024 + 1]) {
      const bytes = randomBytes(size);
      await blobs.put(`size ${size}`, await made('in', bytes));
      expect(await blobs.get(`size ${size}`, file('out'))).toBe(true);
      expect((await readFile(file('out'))).equals(bytes)).toBe(true);
    }
  });

  test('a name that is there stays as it is, also when two store it at once', async () => {
    const [first, second] = [randomBytes(300_000), randomBytes(300_000)];
    const [a, b] = [await made('a', first), await made('b', second)];
    await Promise.all([blobs.put('x', a), blobs.put('x', b)]);
    await blobs.get('x', file('out'));
    const stored = await readFile(file('out'));
    await blobs.put('x', stored.equals(first) ? b : a);
    await blobs.get('x', file('again'));
    expect((await readFile(file('again'))).equals(stored)).toBe(true);
    expect(await chunkCount()).toBe(3);
  });

  test('what is deleted is gone, and its bytes too', async () => {
    await blobs.put('x', await made('in', randomBytes(300_000)));
    await blobs.delete('x');
    await blobs.delete('x');
    expect([await blobs.has('x'), await blobs.get('x', file('out'))]).toEqual([false, false]);
    expect(await chunkCount()).toBe(0);
    await blobs.put('x', await made('in', Buffer.from('new')));
    await blobs.get('x', file('out'));
    expect(await readFile(file('out'), 'utf8')).toBe('new');
  });

  test('a damaged blob is not handed out, is dropped, and can be stored again', async () => {
    const bytes = randomBytes(300_000);
    await blobs.put('x', await made('in', bytes));
    await withManager(async (manager, stream) => {
      const { state } = await manager.streams.info(stream);
      await manager.streams.deleteMessage(stream, state.first_seq + 1);
    });
    expect(await blobs.has('x')).toBe(false);
    expect(await blobs.get('x', file('out'))).toBe(false);
    expect(await readdir(folder)).toEqual(['in']);
    await blobs.put('x', file('in'));
    expect(await blobs.get('x', file('out'))).toBe(true);
    expect((await readFile(file('out'))).equals(bytes)).toBe(true);
  });

  test('a bounded number is kept, the oldest give way', async () => {
    for (let index = 0; index < 34; index += 1)
      await blobs.put(`${index}`, await made('in', Buffer.from(`blob ${index}`)));
    expect([await blobs.has('0'), await blobs.has('1'), await blobs.has('2'), await blobs.has('33')]).toEqual(
      [false, false, true, true],
    );
  });

  test('a bucket that is lost is made anew', async () => {
    await blobs.put('x', await made('in', Buffer.from('text')));
    await withManager(async (manager, stream) => void (await manager.streams.delete(stream)));
    expect([await blobs.has('x'), await blobs.get('x', file('out'))]).toEqual([false, false]);
    await blobs.put('x', file('in'));
    expect(await blobs.get('x', file('out'))).toBe(true);
  });

  test('a server that is away is an error that says so', async () => {
    await server.stop();
    await expect(blobs.get('x', file('out'))).rejects.toMatchObject({ code: 'transport', retryable: true });
    await server.start();
    await expect.poll(() => link.isConnected, { timeout: 10_000 }).toBe(true);
    expect(await blobs.get('x', file('out'))).toBe(false);
  });

  type Manager = Awaited<ReturnType<Awaited<ReturnType<typeof connect>>['jetstreamManager']>>;

  async function withManager<T>(use: (manager: Manager, stream: string) => Promise<T>): Promise<T> {
    const nats = await connect({ servers: `127.0.0.1:${server.port}`, token: server.token });
    try {
      return await use(await nats.jetstreamManager(), `OBJ_${subjectsOf(namespace).bucket}`);
    } finally {
      await nats.close();
    }
  }

  const chunkCount = (): Promise<number> =>
    withManager(async (manager, stream) => {
      const filter = `$O.${subjectsOf(namespace).bucket}.C.>`;
      const { state } = await manager.streams.info(stream, { subjects_filter: filter });
      return Object.values(state.subjects ?? {}).reduce((sum, count) => sum + count, 0);
    });
});
