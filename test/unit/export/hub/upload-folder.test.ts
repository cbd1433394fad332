/** The official client against a server that speaks the Hub's endpoints and keeps what it gets. */
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  checkHubAccess,
  uploadFolder,
  type UploadOptions,
} from '../../../../src/export/hub/upload-folder.ts';
import { isDlgforgeError } from '../../../../src/kernel/errors.ts';
import { type HubServer, type HubServerOptions, startHub } from '../../../support/hub-server.ts';

const TOKEN = 'any-token-at-all-0123456789';
const MARKER = '.marker.json';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'dlgforge-hub-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const put = async (files: Readonly<Record<string, string | Buffer>>): Promise<void> => {
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), content);
  }
};

const withHub = async (
  options: Partial<HubServerOptions>,
  use: (hub: HubServer) => Promise<void>,
): Promise<void> => {
  await using hub = await startHub({ token: TOKEN, ...options });
  await use(hub);
  expect({ problems: hub.problems, faultsLeft: hub.faultsLeft }).toEqual({ problems: [], faultsLeft: 0 });
};

const optionsOf = (hub: Pick<HubServer, 'url'>, extra: Partial<UploadOptions> = {}): UploadOptions => ({
  hubUrl: hub.url,
  token: TOKEN,
  repoType: 'dataset',
  repoId: 'somebody/data',
  folder,
  isLeftOut: (path) => path === MARKER,
  private: true,
  commitMessage: 'Update',
  cleanRemote: false,
  stop: new AbortController().signal,
  onStatus: () => undefined,
  onWaiting: () => undefined,
  firstDelayMs: 5,
  ...extra,
});

const texts = (hub: HubServer, repo = 'datasets/somebody/data'): Record<string, string> =>
  Object.fromEntries(
    [...(hub.repos.get(repo)?.files ?? [])].map(([path, bytes]) => [path, bytes.toString()]),
  );
const commits = (hub: HubServer) => hub.repos.get('datasets/somebody/data')?.commits ?? [];
const failure = async (work: Promise<unknown>): Promise<{ code: string; message: string }> => {
  const error = await work.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  if (!isDlgforgeError(error)) throw new Error(`not a DlgforgeError: ${String(error)}`);
  return { code: error.code, message: error.message };
};

describe('uploading a folder', () => {
  test('all files go in one commit, byte for byte, without the marker and without what links point at', async () => {
    await withHub({}, async (hub) => {
      await put({
        'README.md': '# Data\n',
        'data/train.jsonl': '{"é":1}\n',
        'plots/a b.svg': '<svg/>',
        empty: '',
        [MARKER]: '{}',
      });
      await symlink('/etc/hostname', join(folder, 'link'));
      const statuses: string[] = [];
      const uploaded = await uploadFolder(optionsOf(hub, { onStatus: (text) => statuses.push(text) }));
      expect(uploaded).toMatchObject({
        repoId: 'somebody/data',
        url: `${hub.url}/datasets/somebody/data`,
        files: 4,
        changed: 4,
        deleted: 0,
      });
      expect(commits(hub)).toMatchObject([
        {
          oid: uploaded.commit,
          summary: 'Update',
          added: ['README.md', 'data/train.jsonl', 'empty', 'plots/a b.svg'],
          deleted: [],
        },
      ]);
      expect(texts(hub)).toMatchObject({
        'README.md': '# Data\n',
        'data/train.jsonl': '{"é":1}\n',
        'plots/a b.svg': '<svg/>',
      });
      expect(statuses).toContain('committing');
      expect(hub.repos.get('datasets/somebody/data')).toMatchObject({ visibility: 'private', sdk: null });
    });
  });

  test.each(['basic', 'multipart', 'xet'] as const)('large files by %s, byte for byte', async (transfer) => {
    await withHub({ transfer, largeBytes: 5_000 }, async (hub) => {
      const random = randomBytes(300_000);
      const lines = Buffer.from(Array.from({ length: 20_000 }, (_, n) => `{"line":${n}}\n`).join(''));
      await put({
        'data/a.parquet': random,
        'data/b.jsonl': lines,
        'same.bin': random,
        'README.md': 'small',
      });
      await uploadFolder(optionsOf(hub));
      const { files } = hub.repos.get('datasets/somebody/data') ?? {};
      expect(files?.get('data/a.parquet')?.equals(random)).toBe(true);
      expect(files?.get('data/b.jsonl')?.equals(lines)).toBe(true);
      expect(files?.get('same.bin')?.equals(random)).toBe(true);
      expect(commits(hub)).toHaveLength(1);
    });
  });

  test('the same folder again makes no commit; a changed file alone is sent', async () => {
    await withHub({ largeBytes: 1_000 }, async (hub) => {
      await put({ 'README.md': 'one', 'large.bin': Buffer.alloc(2_000, 1) });
      await uploadFolder(optionsOf(hub));
      expect(await uploadFolder(optionsOf(hub))).toMatchObject({ commit: null, changed: 0, files: 2 });
      await put({ 'README.md': 'two' });
      expect(await uploadFolder(optionsOf(hub))).toMatchObject({ changed: 1 });
      expect(commits(hub).map(({ added }) => added)).toEqual([['README.md', 'large.bin'], ['README.md']]);
    });
  });

  test.each([
    ['model', 'models/somebody/data', '/somebody/data', null],
    ['space', 'spaces/somebody/data', '/spaces/somebody/data', 'static'],
  ] as const)('a %s', async (repoType, name, path, sdk) => {
    await withHub({ largeBytes: 10 }, async (hub) => {
      await put({ 'index.html': '<h1>long enough to be large</h1>' });
      const { url } = await uploadFolder(optionsOf(hub, { repoType, private: false }));
      expect(url).toBe(`${hub.url}${path}`);
      expect(hub.repos.get(name)).toMatchObject({ visibility: 'public', sdk });
      expect(texts(hub, name)).toHaveProperty(['index.html']);
    });
  });

  test('a name without an owner belongs to whoever has the token', async () => {
    await withHub({ owner: 'mi' }, async (hub) => {
      await put({ a: '1' });
      expect(await uploadFolder(optionsOf(hub, { repoId: 'data' }))).toMatchObject({ repoId: 'mi/data' });
      expect([...hub.repos.keys()]).toEqual(['datasets/mi/data']);
    });
  });

  test('who may write but not create still publishes', async () => {
    await withHub({ mayCreate: false }, async (hub) => {
      hub.seed('datasets/somebody/data', { old: '1' });
      await put({ a: '1' });
      await uploadFolder(optionsOf(hub));
      expect(texts(hub)).toEqual({ old: '1', a: '1' });
    });
  });

  test('an empty folder is an error before anything is asked', async () => {
    await withHub({}, async (hub) => {
      await put({ [MARKER]: '{}' });
      expect(await failure(uploadFolder(optionsOf(hub)))).toMatchObject({
        code: 'output',
        message: expect.stringContaining('There is nothing to upload'),
      });
      expect(hub.requests).toEqual([]);
    });
  });
});

describe('clean_remote', () => {
  test('I9: what the folder does not hold is deleted in the commit that brings the new files; .gitattributes stays', async () => {
    await withHub({}, async (hub) => {
      hub.seed('datasets/somebody/data', {
        '.gitattributes': 'x',
        'old/1': '1',
        'old/2': '2',
        'old/3': '3',
        'README.md': 'old',
        same: 's',
      });
      await put({ 'README.md': 'new', same: 's', 'data/new.jsonl': '{}' });
      await uploadFolder(optionsOf(hub, { cleanRemote: true }));
      expect(commits(hub)).toMatchObject([
        { added: ['README.md', 'data/new.jsonl'], deleted: ['old/1', 'old/2', 'old/3'] },
      ]);
      expect(texts(hub)).toEqual({
        '.gitattributes': 'x',
        'README.md': 'new',
        same: 's',
        'data/new.jsonl': '{}',
      });
    });
  });

  test('I9: an error of any kind on the way deletes nothing', async () => {
    for (const at of [/preupload/, /commit/, /tree/]) {
      await withHub({}, async (hub) => {
        hub.seed('datasets/somebody/data', { old: '1' });
        await put({ a: '1' });
        hub.fail({ at, times: 1, how: { status: 400, body: { error: 'no' } } });
        expect(await failure(uploadFolder(optionsOf(hub, { cleanRemote: true })))).toMatchObject({
          code: 'hub',
        });
        expect({ files: texts(hub), commits: commits(hub) }).toEqual({ files: { old: '1' }, commits: [] });
      });
    }
  });

  test('without it, what others have put there stays', async () => {
    await withHub({}, async (hub) => {
      hub.seed('datasets/somebody/data', { theirs: '1' });
      await put({ a: '1' });
      await uploadFolder(optionsOf(hub));
      expect(texts(hub)).toEqual({ theirs: '1', a: '1' });
    });
  });
});

describe('trouble', () => {
  const LARGE = { 'README.md': 'small', 'large.bin': Buffer.alloc(9_000, 7) };
  const everywhere = [
    ['who am I', /whoami/],
    ['creating', /repos\/create/],
    ['listing', /tree/],
    ['asking before', /preupload/],
    ['the batch of large files', /objects\/batch/],
    ['storage', /PUT \/storage/],
    ['the commit', /commit/],
  ] as const;

  test.each(everywhere)(
    '%s: 429 with Retry-After, 500 and dropped connections are lived through',
    async (_, at) => {
      await withHub({ transfer: 'multipart', largeBytes: 5_000 }, async (hub) => {
        await put(LARGE);
        hub.fail({ at, times: 1, how: { status: 429, headers: { 'retry-after': '0' } } });
        hub.fail({ at, times: 1, how: { status: 503 } });
        hub.fail({ at, times: 1, how: 'drop' });
        await uploadFolder(optionsOf(hub));
        expect(commits(hub)).toHaveLength(1);
        expect(hub.repos.get('datasets/somebody/data')?.files.get('large.bin')?.length).toBe(9_000);
      });
    },
  );

  test.each([/POST \/cas\/v1\/xorbs/, /POST \/cas\/v1\/shards/])('xet at %s too', async (at) => {
    await withHub({ transfer: 'xet', largeBytes: 5_000 }, async (hub) => {
      await put(LARGE);
      hub.fail({ at, times: 1, how: { status: 500 } });
      hub.fail({ at, times: 1, how: 'drop' });
      await uploadFolder(optionsOf(hub));
      expect(hub.repos.get('datasets/somebody/data')?.files.get('large.bin')?.length).toBe(9_000);
    });
  });

  test.each(['lose', { status: 504 }] as const)(
    'a commit whose answer is lost (%j) is not made twice',
    async (how) => {
      await withHub({}, async (hub) => {
        await put({ a: '1' });
        hub.fail({ at: /commit/, times: 1, how });
        const { commit } = await uploadFolder(optionsOf(hub));
        expect(commits(hub)).toHaveLength(1);
        expect(commit).toBe(how === 'lose' ? null : commits(hub)[0]?.oid);
      });
    },
  );

  test.each([409, 412])(
    'a commit that somebody else was quicker with (%i) is made on top of theirs',
    async (status) => {
      await withHub({}, async (hub) => {
        await put({ a: '1' });
        hub.fail({ at: /commit/, times: 1, how: { status, body: { error: 'A commit has happened since' } } });
        await uploadFolder(optionsOf(hub));
        expect(commits(hub)).toHaveLength(1);
      });
    },
  );

  test('it ends: after five attempts with the last answer, at once when Retry-After is too long', async () => {
    for (const [how, attempts] of [
      [{ status: 500, body: { error: 'overloaded' } }, 5],
      [{ status: 429, headers: { 'retry-after': '86400' }, body: { error: 'come back tomorrow' } }, 1],
    ] as const) {
      await withHub({}, async (hub) => {
        await put({ a: '1' });
        hub.fail({ at: /preupload/, times: attempts, how });
        expect((await failure(uploadFolder(optionsOf(hub)))).message).toContain(how.body.error);
        expect(hub.requests.filter((path) => path.includes('preupload'))).toHaveLength(attempts);
      });
    }
  });

  test('a commit that never succeeds ends too, and nothing of it is there', async () => {
    await withHub({}, async (hub) => {
      await put({ a: '1' });
      hub.fail({ at: /commit/, times: 5, how: 'drop' });
      expect((await failure(uploadFolder(optionsOf(hub)))).message).toContain('cannot be reached');
      expect(commits(hub)).toEqual([]);
    });
  });

  test('a refused token is named before anything else, and its text is nowhere', async () => {
    await withHub({}, async (hub) => {
      await put({ a: '1' });
      const wrong = optionsOf(hub, { token: 'hf_wrong_secret' });
      for (const work of [checkHubAccess(wrong), uploadFolder(wrong)]) {
        const { code, message } = await failure(work);
        expect({ code, message }).toMatchObject({
          code: 'hub',
          message: expect.stringMatching(/401.*HF_TOKEN/),
        });
        expect(message).not.toContain('wrong_secret');
      }
      expect(new Set(hub.requests)).toEqual(new Set(['GET /api/whoami-v2']));
    });
  });

  test('a repository that the token may not touch', async () => {
    await withHub({ mayCreate: false }, async (hub) => {
      await put({ a: '1' });
      expect((await failure(uploadFolder(optionsOf(hub)))).message).toMatch(
        /403, You don't have the rights.*somebody\/data/,
      );
    });
  });

  test('signatures of the storage are in no error', async () => {
    await withHub({ largeBytes: 5_000 }, async (hub) => {
      await put(LARGE);
      hub.fail({ at: /PUT \/storage/, times: 1, how: { status: 403, body: { error: 'expired' } } });
      const { message } = await failure(uploadFolder(optionsOf(hub)));
      expect(message).toContain('403, expired');
      expect(message).not.toContain('signature');
    });
  });

  test('nobody there: the address and HF_ENDPOINT are named', async () => {
    const gone = await startHub({ token: TOKEN });
    await gone[Symbol.asyncDispose]();
    expect(await failure(checkHubAccess(optionsOf(gone)))).toMatchObject({
      code: 'hub',
      message: expect.stringMatching(/127\.0\.0\.1:\d+ cannot be reached .*HF_ENDPOINT/),
    });
  });

  test.each([
    ['a slow upload', /PUT \/storage/],
    ['a slow commit', /commit/],
  ])('stopping during %s ends at once, with nothing half done', async (_, at) => {
    await withHub({ largeBytes: 5_000 }, async (hub) => {
      await put(LARGE);
      hub.fail({ at, times: 1, how: 'hold' });
      const stop = new AbortController();
      const ended = failure(uploadFolder(optionsOf(hub, { stop: stop.signal })));
      await hub.held();
      stop.abort();
      expect(await ended).toMatchObject({
        code: 'cancelled',
        message: expect.stringContaining('run the same command again'),
      });
      expect(commits(hub)).toEqual([]);
    });
  });

  test('a hub that has no question "who am I" and no list is still good for a push', async () => {
    await withHub({}, async (hub) => {
      await put({ a: '1' });
      hub.fail({ at: /whoami/, times: 1, how: { status: 403 } });
      hub.fail({ at: /tree/, times: 1, how: { status: 404 } });
      await uploadFolder(optionsOf(hub));
      expect(texts(hub)).toMatchObject({ a: '1' });
    });
  });
});

test('the folder is only read', async () => {
  await withHub({}, async (hub) => {
    await put({ a: '1' });
    await uploadFolder(optionsOf(hub, { cleanRemote: true }));
    expect(await readFile(join(folder, 'a'), 'utf8')).toBe('1');
  });
});
