/** What `push` takes from where: the command line, then the configuration, then the defaults. */
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { pushSettings, type PushSettings } from '../../../src/bootstrap/push/push-settings.ts';
import { pushCommandOf, pushOverridesOf, type PushFlags } from '../../../src/cli/push-overrides.ts';
import type { Config } from '../../../src/config/schema.ts';
import { load } from '../config/project.ts';

const NO_FLAGS: PushFlags = { includeRunState: false, cleanRemote: false, set: [] };

interface Resolved extends PushSettings {
  readonly config: Config;
  readonly root: string;
}

function resolved(yaml: object, flags: Partial<PushFlags> = {}, sourceDir: string | null = null): Resolved {
  const { config, projectRoot: root } = load(stringify(yaml), {}, pushOverridesOf({ ...NO_FLAGS, ...flags }));
  return { ...pushSettings(config, root, sourceDir), config, root };
}

const inConfig = (hf_push: object): object => ({ saving: { hf_push } });
const word = fc.stringMatching(/^[a-z]{1,8}$/);
const maybe = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.option(value, { nil: undefined });
const only = (values: Readonly<Record<string, unknown>>): object =>
  Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));

describe('what push takes from where', () => {
  test('texts: the command line, else the configuration, else the default; an empty one is none', () => {
    const text = fc.record({ flag: maybe(fc.oneof(word, fc.constant(''))), config: maybe(word) });
    fc.assert(
      fc.property(text, text, (id, message) => {
        const { repoId, commitMessage } = resolved(
          inConfig(only({ repo_id: id.config && ` ${id.config} `, commit_message: message.config })),
          only({ repoId: id.flag && ` ${id.flag} `, commitMessage: message.flag }),
        );
        expect(repoId).toBe(id.flag || id.config || '');
        expect(commitMessage).toBe(message.flag || message.config || 'Update synthetic dataset export');
      }),
      { numRuns: 40 },
    );
  });

  test('flags: the configuration or the command line', () => {
    fc.assert(
      fc.property(maybe(fc.boolean()), fc.boolean(), maybe(fc.boolean()), fc.boolean(), (a, b, c, d) => {
        const found = resolved(inConfig(only({ include_run_state: a, clean_remote: c })), {
          includeRunState: b,
          cleanRemote: d,
        });
        expect(found.config.saving.hf_push.include_run_state).toBe(a === true || b);
        expect(found.cleanRemote).toBe(c === true || d);
      }),
      { numRuns: 20 },
    );
  });

  test.each([
    [{}, {}, 'dataset'],
    [{ repo_type: 'MODEL' }, {}, 'model'],
    [{ repo_type: 'model' }, { repoType: 'space' }, 'space'],
  ] as const)('repository kind of %j with %j: %s', (config, flags, expected) => {
    expect(resolved(inConfig(config), flags).repoType).toBe(expected);
  });

  test('private comes from the configuration alone', () => {
    expect(resolved({}).private).toBe(true);
    expect(resolved(inConfig({ private: false })).private).toBe(false);
  });

  test('folders of the configuration belong to the project, those of the command line to the working directory', () => {
    const plain = resolved({});
    expect(plain.sourceDir).toBe(join(plain.root, 'outputs'));
    expect(plain.exportDir).toBe(join(plain.root, 'outputs', 'hf_export'));
    const named = resolved({ saving: { output_dir: 'data', hf_push: { export_dir: 'x/y' } } });
    expect(named.exportDir).toBe(join(named.root, 'data', 'x', 'y'));
    expect(resolved({}, { exportDir: 'here' }).exportDir).toBe(resolve('here'));
    expect(resolved({}, { exportDir: '~/there' }).exportDir).toBe(join(homedir(), 'there'));
    const elsewhere = resolved({}, {}, '/data/old');
    expect(elsewhere).toMatchObject({
      sourceDir: '/data/old',
      exportDir: join(elsewhere.root, 'outputs', 'hf_export'),
    });
  });

  test('formats, filters, splits and licence', () => {
    const { config } = resolved(
      {},
      {
        format: 'parquet, sharegpt',
        license: 'cc-by-4.0',
        languages: 'english,french',
        minScore: 7.5,
        minTurns: 2,
        maxTurns: 4,
        validation: 0.1,
        test: 0.05,
      },
    );
    expect(config.saving.export).toMatchObject({
      formats: ['parquet', 'sharegpt'],
      languages: ['english', 'french'],
      min_score: 7.5,
      min_turns: 2,
      max_turns: 4,
      splits: { validation: 0.1, test: 0.05 },
    });
    expect(config.saving.hf_push.license).toBe('cc-by-4.0');
  });

  test('--set reaches every other key; a named option is stronger', () => {
    const { repoId, private: isPrivate } = resolved(
      {},
      {
        set: ['saving.hf_push.repo_id=a/b', 'saving.hf_push.private=false'],
        repoId: 'c/d',
      },
    );
    expect({ repoId, isPrivate }).toEqual({ repoId: 'c/d', isPrivate: false });
  });
});

describe('the command that repeats a push', () => {
  test('has what matters for it, as a shell takes it, and nothing that may be secret', () => {
    expect(pushCommandOf('config.yaml', {})).toBe('npx dlgforge push config.yaml');
    expect(
      pushCommandOf("my files/it's.yaml", {
        outputDir: 'out/1',
        set: [
          'run.total_samples=3',
          'store.postgres.dsn=postgresql://u:p@h/d',
          'saving.hf_push.commit_message=Two words',
        ],
      }),
    ).toBe(
      String.raw`npx dlgforge push 'my files/it'\''s.yaml' --output-dir out/1 --set 'saving.hf_push.commit_message=Two words'`,
    );
  });
});
