/** `pushDataset` in this process, on a folder that 0.1.0 could have left, against a server that speaks the Hub's endpoints. */
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { projectWithoutLogs } from '../../../../src/bootstrap/project.ts';
import { pushDataset, type PushOptions, type PushReport } from '../../../../src/bootstrap/push/push.ts';
import { loadConfig } from '../../../../src/config/load.ts';
import { isDlgforgeError } from '../../../../src/kernel/errors.ts';
import { filesBelow } from '../../../support/cli-project.ts';
import { type HubServer, startHub } from '../../../support/hub-server.ts';

const TOKEN = 'hf_0123456789';
const JUDGED = 'conversations_sharegpt_judged.jsonl';

const row = (n: number, extra: object = {}): string =>
  `${JSON.stringify({
    messages: [
      { role: 'user', content: `Question ${n}?` },
      { role: 'assistant', content: `Answer ${n}.` },
    ],
    metadata: { conversation_id: `c-${n}`, language: 'english', n_turns: 1, ...extra },
    judge: { avg_score: 8, per_turn: [{ score: 8 }] },
  })}\n`;

let hub: HubServer;
let root: string;
beforeEach(async () => {
  hub = await startHub({ token: TOKEN });
  root = await mkdtemp(join(tmpdir(), 'dlgforge-push-'));
  await mkdir(join(root, 'outputs'));
  await writeFile(join(root, 'outputs', JUDGED), row(1) + row(2));
});
afterEach(async () => {
  await hub[Symbol.asyncDispose]();
  await rm(root, { recursive: true, force: true });
  expect({ problems: hub.problems, faultsLeft: hub.faultsLeft }).toEqual({ problems: [], faultsLeft: 0 });
});

interface Given {
  readonly push?: object;
  readonly export?: object;
  readonly env?: Record<string, string>;
  readonly options?: Partial<PushOptions>;
}

async function push({ push: hf_push, export: filters, env, options }: Given = {}): Promise<PushReport> {
  const configPath = join(root, 'config.yaml');
  const saving = { hf_push: { repo_id: 'somebody/data', ...hf_push }, export: { ...filters } };
  await writeFile(configPath, stringify({ saving }));
  const loaded = loadConfig({ configPath, env: { HF_TOKEN: TOKEN, HF_ENDPOINT: hub.url, ...env } });
  return await pushDataset(projectWithoutLogs(loaded), {
    sourceDir: null,
    build: true,
    upload: true,
    allowRehearsal: false,
    token: null,
    stop: new AbortController().signal,
    onStatus: () => undefined,
    ...options,
  });
}

const failure = (given: Given): Promise<string> =>
  push(given).then(
    () => 'no failure',
    (error: unknown) => (isDlgforgeError(error) ? `${error.code}: ${error.message}` : String(error)),
  );
const commits = () => hub.repos.get('datasets/somebody/data')?.commits ?? [];
const published = (): Map<string, string> =>
  new Map(
    [...(hub.repos.get('datasets/somebody/data')?.files ?? [])].map(([path, bytes]) => [
      path,
      bytes.toString(),
    ]),
  );

describe('a folder of 0.1.0', () => {
  test('is published without a store', async () => {
    const { records, built, uploaded } = await push();
    expect({ records, languages: built?.languages }).toEqual({ records: 2, languages: { english: 2 } });
    expect(uploaded?.url).toBe(`${hub.url}/datasets/somebody/data`);
    const local = await filesBelow(join(root, 'outputs', 'hf_export'));
    for (const [path, text] of local) expect(published().get(path), path).toBe(text);
    expect([...published().keys()].sort()).toEqual(['.gitattributes', ...local.keys()].sort());
  });

  test('the same again changes nothing on the Hub; more conversations make one more commit', async () => {
    await push();
    expect((await push()).uploaded).toMatchObject({ commit: null, changed: 0 });
    await writeFile(join(root, 'outputs', JUDGED), row(1) + row(2) + row(3));
    expect((await push()).records).toBe(3);
    expect(commits()).toHaveLength(2);
  });

  test('--no-export takes the folder as it is, whatever has become of the source', async () => {
    await push({ options: { upload: false } });
    expect(hub.requests).toEqual([]);
    await rm(join(root, 'outputs', JUDGED));
    expect(await push({ options: { build: false } })).toMatchObject({ records: 2, built: null });
    expect(commits()).toHaveLength(1);
  });

  test('I9: what is not in the export any more goes in the commit that brings the rest', async () => {
    await push({ push: { generate_stats: true } });
    await writeFile(join(root, 'outputs', JUDGED), row(3));
    await push({ push: { clean_remote: true } });
    expect(commits()).toMatchObject([
      { deleted: [] },
      { deleted: ['dataset_stats.json'], added: ['README.md', JUDGED] },
    ]);
  });
});

describe('what can be wrong is found before anything is built or sent', () => {
  const cases: readonly (readonly [string, Given, RegExp])[] = [
    ['no repository', { push: { repo_id: ' ' } }, /^config: HF repo_id is required\..*--repo-id/],
    [
      'no name of a repository',
      { push: { repo_id: 'a/b/c' } },
      /^config: HF repo_id `a\/b\/c` is not of the form/,
    ],
    ['no token', { env: { HF_TOKEN: ' ' } }, /^credentials: HF token not found\..*HF_TOKEN.*--token/],
    [
      'a blank --token and none else',
      { env: { HF_TOKEN: '' }, options: { token: ' ' } },
      /^credentials: HF token not found/,
    ],
    ['a refused token', { options: { token: 'hf_wrong' } }, /^hub: .*401.*not accepted.*HF_TOKEN/],
    ['no address', { env: { HF_ENDPOINT: 'hub' } }, /^config: HF_ENDPOINT must be the address of a Hub/],
    [
      'nobody at the address',
      { env: { HF_ENDPOINT: 'http://127.0.0.1:1' } },
      /^hub: .*cannot be reached.*HF_ENDPOINT/,
    ],
    ['nothing to do', { options: { build: false, upload: false } }, /^usage: .*leave nothing to do/],
    [
      'no source',
      { options: { sourceDir: '/nowhere/at/all' } },
      /^output: Source directory not found: \/nowhere/,
    ],
    ['A5: no source file', { push: { source_file: 'none.jsonl' } }, /none\.jsonl/],
    [
      'A4: an export folder with the files of somebody else',
      { push: { export_dir: '../mine' } },
      /mine cannot be the export folder/,
    ],
    [
      'no export',
      { push: { export_dir: 'none' }, options: { build: false } },
      /^output: There is no export to upload: .*none/,
    ],
    [
      'a folder of somebody else',
      { push: { export_dir: '../mine' }, options: { build: false } },
      /^output: .*mine was not built by dlgforge/,
    ],
    [
      'I7: nothing left by the filters',
      { export: { languages: ['german'] } },
      /^output: .*filters leave out all 2/,
    ],
  ];
  test.each(cases)('%s', async (_, given, text) => {
    await mkdir(join(root, 'mine'));
    await writeFile(join(root, 'mine', 'precious.txt'), 'mine');
    expect(await failure(given)).toMatch(text);
    expect(await readdir(join(root, 'outputs'))).toEqual([JUDGED]);
    expect(await readFile(join(root, 'mine', 'precious.txt'), 'utf8')).toBe('mine');
    expect(hub.requests.filter((request) => !request.includes('whoami'))).toEqual([]);
  });

  test('I7: an empty dataset leaves the last export and the Hub as they are', async () => {
    await push();
    const before = await filesBelow(join(root, 'outputs', 'hf_export'));
    await writeFile(join(root, 'outputs', JUDGED), '');
    expect(await failure({ push: { clean_remote: true } })).toMatch(/^output: .*nothing to export/);
    expect(await filesBelow(join(root, 'outputs', 'hf_export'))).toEqual(before);
    expect(commits()).toHaveLength(1);
  });

  test('rehearsal data, by --no-export too; unless it is wanted', async () => {
    await writeFile(join(root, 'outputs', JUDGED), row(1) + row(2, { rehearsal: true }));
    expect(await failure({})).toMatch(/^output: .*built-in rehearsal.*--allow-rehearsal/);
    await push({ options: { upload: false } });
    expect(await failure({ options: { build: false } })).toMatch(
      /hf_export come from the built-in rehearsal/,
    );
    expect(hub.requests).toEqual([]);
    await push({ options: { build: false, allowRehearsal: true } });
    expect(commits()).toHaveLength(1);
  });
});

test.each([
  ['--token', { HF_TOKEN: 'hf_wrong' }, TOKEN],
  ['HF_TOKEN', { HF_TOKEN: TOKEN, HUGGINGFACE_HUB_TOKEN: 'hf_wrong' }, null],
  ['HUGGINGFACE_HUB_TOKEN', { HF_TOKEN: '', HUGGINGFACE_HUB_TOKEN: ` ${TOKEN} ` }, null],
])('the token of %s', async (_, env, token) => {
  await push({ env, options: { token } });
  expect(commits()).toHaveLength(1);
});
