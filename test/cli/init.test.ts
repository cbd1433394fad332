import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { filesBelow, runCli } from '../support/cli-project.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'dlgforge-init-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const configOf = (project: string): Promise<string> => readFile(join(folder, project, 'config.yaml'), 'utf8');

describe('dlgforge init', () => {
  test('asks nothing where nobody can answer, says what it wrote and what comes next', async () => {
    const { code, stdout, stderr } = await runCli(['init', 'x'], folder);
    expect({ code, stdout }).toEqual({ code: 0, stdout: '' });
    expect(stderr).toContain('config.yaml, .env.example, .gitignore, knowledge/');
    expect(stderr).toContain('Next: npx dlgforge doctor x/config.yaml');
    expect(await readFile(join(folder, 'x', '.gitignore'), 'utf8')).toContain('.env\n');
    expect([...(await filesBelow(join(folder, 'x'))).keys()]).toContain('knowledge/example-replace-me.md');
  });

  test('what it wrote runs at once, without a key', async () => {
    const { code, stdout, stderr } = await runCli(
      ['run', 'x/config.yaml', '--json', '--set', 'run.total_samples=2'],
      folder,
    );
    expect(code, stderr).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ status: 'completed', conversations: 2, rehearsal: true });
  });

  test('a real model is one commented line away', async () => {
    const path = join(folder, 'x', 'config.yaml');
    const text = await configOf('x');
    await writeFile(
      path,
      text
        .replace('\n  backend: rehearsal\n', '\n')
        .replace('\n  # backend: openai\n', '\n  backend: openai\n'),
    );
    const shown = await runCli(['config', 'show', path, '--json'], folder);
    expect(JSON.parse(shown.stdout)).toMatchObject({
      'llm.backend': 'openai',
      'llm.agents.judge.provider': 'openai',
    });
    const { stderr } = await runCli(['run', path], folder);
    expect(stderr).toMatch(/^dlgforge run failed: 3 problems/);
    expect(stderr).toContain('OPENAI_API_KEY=<key>');
    await writeFile(path, text);
  });

  test('never replaces a configuration unless told to, and never a document', async () => {
    await writeFile(join(folder, 'x', 'config.yaml'), 'mine');
    const refused = await runCli(['init', 'x'], folder);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(/config\.yaml is there already, and nothing was written\. .*--force/);
    expect(await configOf('x')).toBe('mine');

    await writeFile(join(folder, 'x', 'knowledge', 'mine.md'), 'My own text.');
    await writeFile(join(folder, 'x', '.gitignore'), 'my rules');
    const forced = await runCli(
      ['init', 'x', '--force', '--backend', 'openai', '--languages', 'no, de'],
      folder,
    );
    expect(forced.code).toBe(0);
    expect(forced.stderr).toContain('Left as it was: .env.example, .gitignore, knowledge/');
    expect(await configOf('x')).toContain('target_languages: ["no", "de"]');
    expect(await readFile(join(folder, 'x', '.gitignore'), 'utf8')).toBe('my rules');
  });

  test('says it when the folder cannot be written', async () => {
    await writeFile(join(folder, 'file'), '');
    const { code, stderr } = await runCli(['init', 'file/x'], folder);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^dlgforge init failed: Cannot write to .*file\/x: /);
  });
});
