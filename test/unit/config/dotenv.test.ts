import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parseDotenv } from '../../../src/config/dotenv.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { project } from './project.ts';

const loadWith = (files: Readonly<Record<string, string>>, env = {}) =>
  loadConfig({ configPath: join(project({ 'config.yaml': '', ...files }), 'config.yaml'), env });

test('lines: comments, export, quotes; no inline comments, escapes or interpolation', () => {
  const text =
    '\uFEFF# a comment\n\n  export A_TOKEN = "x y" \r\nB=\'"q"\'\nC=1 # no comment\nD=${A}\nnothing\n=x\nE=\nF=a=b\n';
  expect(parseDotenv(text)).toEqual([
    ['A_TOKEN', 'x y'],
    ['B', 'q'],
    ['C', '1 # no comment'],
    ['D', '${A}'],
    ['E', ''],
    ['F', 'a=b'],
  ]);
});

test('secrets, mapping variables and the variables of dlgforge are read; others are named without their value', () => {
  const { environment, notices } = loadWith({
    '.env':
      'OPENAI_API_KEY=k\nLLM_USER_API_KEY_ENV=OPENAI_API_KEY\nX_SECRET_KEY=s\nPATH=/evil\nMY_SETTING=hunter2\n',
  });
  expect(environment).toMatchObject({
    OPENAI_API_KEY: 'k',
    LLM_USER_API_KEY_ENV: 'OPENAI_API_KEY',
    X_SECRET_KEY: 's',
  });
  expect(environment['MY_SETTING']).toBeUndefined();
  expect(environment['PATH']).toBeUndefined();
  expect(notices.filter((notice) => notice.includes('[env] Ignoring'))).toHaveLength(2);
  expect(notices.join()).toContain('MY_SETTING');
  expect(notices.join()).not.toContain('hunter2');
});

test('the process wins over .env, and .env over src/dlgforge/.env', () => {
  const files = {
    '.env': 'A_TOKEN=first\nB_TOKEN=first\n',
    'src/dlgforge/.env': 'A_TOKEN=second\nB_TOKEN=second\nC_TOKEN=second\n',
  };
  expect(loadWith(files, { A_TOKEN: 'process' }).environment).toMatchObject({
    A_TOKEN: 'process',
    B_TOKEN: 'first',
    C_TOKEN: 'second',
  });
});

test('a folder called .env is not ours', () => {
  const root = project({ 'config.yaml': '' });
  mkdirSync(join(root, '.env'));
  expect(loadConfig({ configPath: join(root, 'config.yaml'), env: {} }).notices).toEqual([]);
});
