import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import {
  type AddressFile,
  clusterHome,
  knownNamespaces,
  readAddress,
  removeAddress,
  writeAddress,
} from '../../../../src/bootstrap/cluster/address-file.ts';

const homes: string[] = [];
const freshHome = (): string => {
  const home = mkdtempSync(join(tmpdir(), 'dlgforge-address-'));
  homes.push(home);
  return home;
};
afterEach(() => {
  for (const home of homes.splice(0)) rmSync(home, { recursive: true });
});

const ADDRESS: Omit<AddressFile, 'version'> = {
  namespace: 'mine',
  natsUrl: 'nats://127.0.0.1:4222',
  token: 'secret-token',
  postgres: { type: 'dsn', dsn: 'postgres://node:secret@127.0.0.1/db' },
  natsServerId: 'NSERVER',
  headPid: 4711,
  headKey: 'boot:1',
  headHost: 'host',
  headNode: 'host-1',
  startedAt: '2026-01-01T00:00:00.000Z',
};

describe('the address file', () => {
  test('is what was written, for its namespace only', async () => {
    const home = join(freshHome(), 'not', 'there', 'yet');
    expect(await readAddress(home, 'mine')).toBeNull();
    expect(await knownNamespaces(home)).toEqual([]);
    await writeAddress(home, ADDRESS);
    expect(await readAddress(home, 'mine')).toEqual({ version: 1, ...ADDRESS });
    expect(await readAddress(home, 'other')).toBeNull();
    expect(await knownNamespaces(home)).toEqual(['mine']);
  });

  test('A1, I8: only its owner can read it, also where another one was before', async () => {
    const home = freshHome();
    writeFileSync(join(home, 'mine.json'), '{}', { mode: 0o644 });
    await writeAddress(home, ADDRESS);
    expect(statSync(join(home, 'mine.json')).mode & 0o777).toBe(0o600);
  });

  test('A2: twenty writers and a reader never meet half a file, and leave nothing else behind', async () => {
    const home = freshHome();
    await writeAddress(home, ADDRESS);
    const writing = new AbortController();
    const reader = (async () => {
      let reads = 0;
      for (; !writing.signal.aborted; reads += 1)
        expect((await readAddress(home, 'mine'))?.natsUrl).toBe(ADDRESS.natsUrl);
      return reads;
    })();
    await Promise.all(
      Array.from({ length: 20 }, (_, index) => writeAddress(home, { ...ADDRESS, headPid: index + 1 })),
    );
    writing.abort();
    expect(await reader).toBeGreaterThan(0);
    expect(readdirSync(home)).toEqual(['mine.json']);
  });

  test('A3: a head removes its own file, not that of the next one', async () => {
    const home = freshHome();
    await writeAddress(home, ADDRESS);
    expect(await removeAddress(home, 'mine', 1)).toBe(false);
    expect(await readAddress(home, 'mine')).not.toBeNull();
    expect(await removeAddress(home, 'mine', ADDRESS.headPid)).toBe(true);
    expect(await removeAddress(home, 'mine', ADDRESS.headPid)).toBe(false);
    expect(await readAddress(home, 'mine')).toBeNull();
  });

  test.each([
    ['cut off', '{"version": 1, "token": "secret-tok'],
    ['of another version', JSON.stringify({ version: 99, ...ADDRESS })],
    ['without a URL', JSON.stringify({ version: 1, ...ADDRESS, natsUrl: '' })],
  ])('one that is %s is named with its path, and nothing of it is shown (I8)', async (_, text) => {
    const home = freshHome();
    writeFileSync(join(home, 'mine.json'), text);
    const error = await readAddress(home, 'mine').catch((thrown: unknown) => thrown);
    expect(String(error)).toContain(join(home, 'mine.json'));
    expect(String(error)).toContain('Remove it');
    expect(String(error)).not.toContain('secret');
  });

  test.each(['', '../x', 'a/b', '.hidden', 'a b', 'x'.repeat(64)])(
    'a namespace cannot be %j: it is part of paths and subjects',
    async (namespace) => {
      await expect(readAddress(freshHome(), namespace)).rejects.toMatchObject({ code: 'usage' });
    },
  );

  test('its folder is the one of the environment, or one in the home folder', () => {
    expect(clusterHome({ DLGFORGE_CLUSTER_DIR: '/somewhere' })).toBe('/somewhere');
    expect(clusterHome({ DLGFORGE_CLUSTER_DIR: ' ' })).toBe(join(homedir(), '.dlgforge', 'clusters'));
    expect(clusterHome({})).toBe(join(homedir(), '.dlgforge', 'clusters'));
  });
});
