import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { renderConfigurationDocs } from '../../../src/config/docs.ts';
import { ENVIRONMENT_VARIABLES } from '../../../src/config/environment-table.ts';
import { starterConfig } from '../../../src/config/init-config.ts';
import { ALL_KEYS, KEYS } from '../../../src/config/keys.ts';
import { exportDir, indexDir, outputDir, promptsDir, seedTopicsFile } from '../../../src/config/paths.ts';
import { configRows, renderConfig, renderConfigJson, withoutSecrets } from '../../../src/config/show.ts';
import { parseRehearsalOptions } from '../../../src/llm/rehearsal/options.ts';
import { load, project } from './project.ts';

const SECRETIVE = `
llm:
  routing: {endpoints: [{base_url: "http://u:hunter2@h/v1", api_key: hunter2}]}
  agents: {user: {extra: {headers: {Authorization: hunter2, x-api-key: hunter2}}}}
  vllm: {extra_args: [--api-key, hunter2, "--hf-token=hunter2", --seed, "1"], env: {HF_TOKEN: hunter2}}
`;

describe('config show', () => {
  const loaded = () =>
    load(SECRETIVE, { POSTGRES_DSN: 'postgres://me:hunter2@db/data', DLGFORGE_NATS_URL: 'nats://hunter2@n' });

  test('shows every key with its origin, secrets masked', () => {
    const rows = configRows(loaded());
    expect(rows.map(({ key }) => key)).toEqual([...KEYS.keys()]);
    const plain = renderConfig(rows, true);
    expect(plain).toMatch(/^store\.postgres\.dsn +"postgres:\/\/me:\*\*\*@db\/data" +env:POSTGRES_DSN$/m);
    expect(plain).toMatch(/^run\.batch_size +1 +default$/m);
    expect(renderConfig(rows, false)).not.toContain('env:POSTGRES_DSN');
    const json = JSON.parse(renderConfigJson(rows, true)) as Record<string, unknown>;
    expect(json['run.batch_size']).toEqual({ value: 1, origin: 'default' });
    expect(JSON.parse(renderConfigJson(rows, false))).toMatchObject({ 'run.batch_size': 1 });
    expect(plain + renderConfigJson(rows, true)).not.toContain('hunter2');
  });

  test('what is stored of a configuration has no secrets either', () => {
    const stored = JSON.stringify(withoutSecrets(loaded().config));
    expect(stored).not.toContain('hunter2');
    expect(stored).toContain('"batch_size":1');
    expect(stored).toContain('"--seed","1"');
  });
});

describe('documentation', () => {
  test('docs/configuration.md is current (node scripts/generate-docs.ts writes it)', () => {
    expect(readFileSync(new URL('../../../docs/configuration.md', import.meta.url), 'utf8')).toBe(
      renderConfigurationDocs(),
    );
  });

  test('names every key and variable, and every key says what it means', () => {
    const docs = renderConfigurationDocs();
    for (const { path, meta } of ALL_KEYS) {
      expect(meta.description.length, path).toBeGreaterThan(5);
      if (meta.kind !== 'section') expect(docs).toContain(`\`${path}\``);
    }
    for (const { name } of ENVIRONMENT_VARIABLES) expect(docs).toContain(`\`${name}\``);
  });

  test('the variables of one key stand side by side, and no name stands twice', () => {
    const names = ENVIRONMENT_VARIABLES.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
  });
});

describe('dlgforge init', () => {
  test.each(['openai', 'rehearsal'] as const)('the starter file for %s loads without a notice', (backend) => {
    const { config, notices } = load(starterConfig({ backend }));
    expect(notices).toEqual([]);
    expect(config.llm.backend).toBe(backend);
    expect(config.run.turns).toMatchObject({ min: 2, max: 6 });
  });
});

test('the section of the rehearsal is a valid set of its options', () => {
  const { config } = load('llm: {rehearsal: {seed: 3, latency: {mean_ms: 5}, reset_rate: 0.1}}');
  expect(parseRehearsalOptions(config.llm.rehearsal)).toMatchObject({
    seed: 3,
    latency: { mean_ms: 5 },
    reset_rate: 0.1,
    model: 'rehearsal',
  });
});

describe('paths', () => {
  test('start at the project, except the export folder, which starts at the output folder', () => {
    const { config, projectRoot } = load('saving: {output_dir: out}');
    expect(outputDir(config, projectRoot)).toBe(join(projectRoot, 'out'));
    expect(exportDir(config, projectRoot)).toBe(join(projectRoot, 'out', 'hf_export'));
    expect(indexDir(config, projectRoot)).toBe(join(projectRoot, 'knowledge_index'));
  });

  test('may be absolute or start at home', () => {
    const { config, projectRoot } = load('saving: {output_dir: ~/out, hf_push: {export_dir: /exports/here}}');
    expect(outputDir(config, projectRoot)).toBe(join(homedir(), 'out'));
    expect(exportDir(config, projectRoot)).toBe('/exports/here');
  });

  test('own prompts and seed topics count where they exist', () => {
    const root = project({ 'prompts/tasks.yaml': '', 'data/seeds/topics.yaml': '' });
    const { config } = load('');
    expect(promptsDir(config, root)).toEqual({ type: 'own', path: join(root, 'prompts') });
    expect(seedTopicsFile(config, root)).toMatchObject({ type: 'own' });
    expect(promptsDir(config, '/nowhere')).toMatchObject({ type: 'shipped' });
    expect(seedTopicsFile(config, '/nowhere')).toBeNull();
  });
});
