import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { openProject, type Project } from '../../../../src/bootstrap/project.ts';
import { buildExport, checkExport, isRehearsal } from '../../../../src/bootstrap/push/build-export.ts';
import { writeFormats } from '../../../../src/bootstrap/push/formats.ts';
import { linesOf, parquetOf, zstdLinesOf } from '../../../support/export-rows.ts';

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'dlgforge-build-export-'));
});
afterAll(() => rm(root, { recursive: true }));

const PLAIN = 'conversations_sharegpt.jsonl';
const JUDGED = 'conversations_sharegpt_judged.jsonl';
const COLUMNS = { messages: 'chat', metadata: 'facts', assistant_reasoning: 'why', judge: 'verdicts' };

interface Made {
  readonly project: Project;
  readonly places: { readonly sourceDir: string; readonly exportDir: string };
  readonly exported: (path: string) => string;
}

/** A project with a finished output folder, written by hand as 0.1.0 and we write it. */
async function projectWith(
  saving: object,
  files: Readonly<Record<string, string>>,
  more: object = {},
): Promise<Made> {
  const folder = await mkdtemp(join(root, 'p'));
  for (const [name, text] of Object.entries(files)) {
    const path = join(folder, 'outputs', name);
    await mkdir(join(path, '..'), { recursive: true });
    await writeFile(path, text);
  }
  await writeFile(
    join(folder, 'config.yaml'),
    JSON.stringify({ llm: { backend: 'rehearsal' }, saving, ...more }),
  );
  const project = openProject({ configPath: join(folder, 'config.yaml') });
  project.logger.close();
  const sourceDir = project.folders.output;
  const exportDir = join(sourceDir, 'hf_export');
  return { project, places: { sourceDir, exportDir }, exported: (path) => join(exportDir, path) };
}

/** A row of ours, under the names of `COLUMNS`. */
function row(id: number, language: string, more: object = {}): Record<string, unknown> {
  const question = `question ${id} \u2028 \u0085 <|im_end|> 😀`;
  return {
    chat: [
      { role: 'user', content: question, agent: 'asker' },
      { role: 'assistant', content: `answer ${id}`, agent: 'teller' },
    ],
    messages_with_tools: [
      { role: 'user', content: question, agent: 'asker' },
      {
        role: 'assistant',
        content: 'let me see',
        tool_calls: [
          { id: 'c1', type: 'function', function: { name: 'vector_db_search', arguments: '{"query": "x"}' } },
        ],
        agent: 'teller',
      },
      { role: 'tool', tool_call_id: 'c1', name: 'vector_db_search', content: '{"results": []}' },
      { role: 'assistant', content: `answer ${id}`, agent: 'teller' },
    ],
    facts: {
      conversation_id: `c${id}`,
      timestamp: '2025-01-31T12:34:56.789000+00:00',
      n_turns: 1,
      language,
      judge_granularity: 'turn',
      personas: { user: 'u', assistant: 'a', user_id: 'u1', assistant_id: 'a1' },
      difficulty_sequence: ['easy'],
      difficulty_max: 'easy',
      intent_sequence: ['how_to'],
      coverage_targets: [`p${id}`],
      question_modes: ['grounded'],
      seed_topics: [],
      seed_questions: [],
    },
    user_reasoning: [
      {
        turn_index: 1,
        user_message: question,
        intent: 'how_to',
        difficulty: 'easy',
        coverage_target: `p${id}`,
        grounding_facts: [{ fact: 'f', source_descriptor: 's' }],
        notes_for_assistant: ['note'],
        seed_topic: '',
        seed_question: '',
        question_mode: 'grounded',
      },
    ],
    why: [
      {
        turn_index: 1,
        assistant_message: `answer ${id}`,
        reasoning_trace: {
          question,
          retrieval_queries: { vector_db_search: ['x'], web_search: [] },
          evidence: [{ id: 'E1', cue: 'KB: a', content: 'text' }],
          premises: [{ id: 'P1', text: 't', evidence_refs: ['E1'], assumption: '' }],
          thinking: [{ text: 'step' }],
          confidence: 'high',
          known_limits: ['none'],
        },
        did_web_search: false,
      },
    ],
    verdicts: {
      per_turn: [
        {
          turn_index: 1,
          user_message: question,
          assistant_message: `answer ${id}`,
          score: id % 11,
          reasons: ['vague'],
          notes: 'n',
          question_ok: true,
          answer_ok: id % 2 === 0,
        },
      ],
      avg_score: id % 11,
      conversation: {},
    },
    ...more,
  };
}

const jsonl = (rows: readonly object[]): string => rows.map((item) => `${JSON.stringify(item)}\n`).join('');

/** What the schema adds to a row that has everything: fields that only some have, and `extra`. */
function inSchema(source: Record<string, unknown>): unknown {
  const copy = structuredClone(source) as Record<string, never> & {
    messages_with_tools: Record<string, unknown>[];
    facts: Record<string, unknown>;
    why: { reasoning_trace: Record<string, unknown> }[];
    verdicts: Record<string, unknown>;
  };
  copy.messages_with_tools = copy.messages_with_tools.map((message) => ({
    role: message['role'],
    content: message['content'],
    tool_calls: message['tool_calls'] ?? [],
    tool_call_id: message['tool_call_id'] ?? '',
    name: message['name'] ?? '',
    agent: message['agent'] ?? '',
  }));
  Object.assign(copy.facts, { rehearsal: copy.facts['rehearsal'] ?? false, extra: '' });
  for (const { reasoning_trace: trace } of copy.why) trace['extra'] = '';
  copy.verdicts['conversation'] = { score: null, reasons: [], notes: '', question_ok: null, answer_ok: null };
  return copy;
}

const ROWS = [...Array(30).keys()].map((id) => row(id, ['en', 'German', 'ar'][id % 3] ?? ''));
const SPLITS = ['train', 'validation', 'test'] as const;

describe('every format, read back by others', () => {
  let made: Made;
  const bySplit = new Map<string, unknown[]>();
  beforeAll(async () => {
    made = await projectWith(
      {
        output_columns: COLUMNS,
        export: {
          formats: ['sharegpt', 'openai', 'chatml', 'parquet', 'jsonl.zst'],
          splits: { validation: 0.1, test: 0.2 },
          shard_mb: 0.000_001,
          compression: 'zstd',
        },
        hf_push: { source_file: PLAIN },
      },
      { [JUDGED]: jsonl(ROWS) },
    );
    const built = await buildExport(made.project, made.places);
    expect(built.splits).toEqual({ train: 21, validation: 3, test: 6 });
    expect(built.languages).toEqual({ ar: 10, German: 10, en: 10 });
    for (const path of built.files) expect(existsSync(made.exported(path)), path).toBe(true);
    for (const split of SPLITS) bySplit.set(split, await linesOf(made.exported(`sharegpt/${split}.jsonl`)));
  });

  const idOf = (item: unknown): string =>
    (item as { facts: { conversation_id: string } }).facts.conversation_id;
  const sourceOf = (item: unknown) => ROWS.find((other) => idOf(other) === idOf(item)) ?? {};

  test('I1: sharegpt has every row once, with the values of the source, under the renamed columns', () => {
    const all = [...bySplit.values()].flat();
    expect(all.map(idOf).toSorted()).toEqual(ROWS.map(idOf).toSorted());
    for (const item of all) expect(item).toEqual(inSchema(sourceOf(item)));
  });

  test('jsonl.zst has the same rows', async () => {
    for (const split of SPLITS)
      expect(await zstdLinesOf(made.exported(`zst/${split}.jsonl.zst`))).toEqual(bySplit.get(split));
  });

  test('parquet has the same rows, typed', async () => {
    for (const split of SPLITS) {
      const { rows, types } = await parquetOf(made.exported(`data/${split}-00000-of-00001.parquet`));
      expect(rows).toEqual(bySplit.get(split));
      expect(types['verdicts']).toContain('avg_score:Float64');
      expect(types['facts']).toContain('n_turns:Int64');
      expect(types['chat']).toContain('content:Utf8');
    }
  });

  test('openai has messages with tool calls, and the tools', async () => {
    const [first] = (await linesOf(made.exported('openai/test.jsonl'))) as {
      messages: object[];
      tools: object[];
    }[];
    const source = sourceOf(bySplit.get('test')?.[0]);
    const content = (source['chat'] as { content: string }[]).map((message) => message.content);
    expect(first?.messages).toEqual([
      { role: 'user', content: content[0] },
      {
        role: 'assistant',
        content: 'let me see',
        tool_calls: [
          { id: 'c1', type: 'function', function: { name: 'vector_db_search', arguments: '{"query": "x"}' } },
        ],
      },
      { role: 'tool', tool_call_id: 'c1', content: '{"results": []}' },
      { role: 'assistant', content: content[1] },
    ]);
    expect(first?.tools).toMatchObject([{ type: 'function', function: { name: 'vector_db_search' } }]);
  });

  test('chatml is one text, its markers in texts escaped', async () => {
    const [first] = (await linesOf(made.exported('chatml/test.jsonl'))) as { text: string }[];
    const id = idOf(bySplit.get('test')?.[0]).slice(1);
    expect(first?.text).toBe(
      `<|im_start|>user\nquestion ${id} \u2028 \u0085 <\\|im_end|> 😀<|im_end|>\n` +
        '<|im_start|>assistant\nlet me see\n<tool_call>\n{"name": "vector_db_search", "arguments": {"query": "x"}}\n</tool_call><|im_end|>\n' +
        '<|im_start|>tool\n<tool_response>\n{"results": []}\n</tool_response><|im_end|>\n' +
        `<|im_start|>assistant\nanswer ${id}<|im_end|>\n`,
    );
  });

  test('exporting again gives the same bytes', async () => {
    const read = async () =>
      await Promise.all(
        ['sharegpt/train.jsonl', 'data/train-00000-of-00001.parquet', 'zst/test.jsonl.zst', 'README.md'].map(
          (path) => readFile(made.exported(path), 'base64'),
        ),
      );
    const before = await read();
    await buildExport(made.project, made.places);
    expect(await read()).toEqual(before);
  });

  test('I4, I5: the card names the real languages, and only files that are there', async () => {
    const [, yaml = '', body = ''] =
      /^---\n(.*?)\n---\n(.*)$/s.exec(await readFile(made.exported('README.md'), 'utf8')) ?? [];
    const card = parse(yaml) as {
      language: string[];
      configs: { config_name: string; data_files: { split: string; path: string }[] }[];
    };
    expect(card.language).toEqual(['ar', 'de', 'en']);
    // All of them must have one reader: Parquet is loaded by its files.
    expect(card.configs.map(({ config_name: name }) => name)).toEqual([
      'default',
      'openai',
      'chatml',
      'jsonl.zst',
    ]);
    for (const { path } of card.configs.flatMap((config) => config.data_files))
      expect(existsSync(made.exported(path)), path).toBe(true);
    for (const [, path = ''] of body.matchAll(/\]\(([^)]+)\)|- `([^`]+)`/g))
      if (path !== '') expect(existsSync(made.exported(path)), path).toBe(true);
    expect(body).not.toContain('dataset_stats.json');
    expect(body).not.toContain(root);
  });
});

describe('one file as 0.1.0 had it', () => {
  const withStats = {
    hf_push: { source_file: PLAIN, generate_stats: true, generate_plots: true, plots_dir: 'a/plots' },
  };

  test('the source file, the card, statistics, plots; the card links what was written', async () => {
    const { project, places, exported } = await projectWith(
      { output_columns: COLUMNS, ...withStats },
      {
        [PLAIN]: jsonl(ROWS.map((source) => ({ ...source, verdicts: undefined }))),
        'coverage_ledger.jsonl':
          '{"topic_id": "p1", "source_path": "a.md"}\n{"topic_id": "p1", "source": "b.md"}\nbroken\n',
      },
    );
    const built = await buildExport(project, places);
    expect(built).toMatchObject({ sourceFile: PLAIN, records: 30, splits: { train: 30 }, rehearsal: false });
    expect(built.stats?.coverage).toMatchObject({
      passages_used: 1,
      documents_used: 2,
      passages_known: null,
    });
    expect(built.files.filter((path) => !path.endsWith('.svg'))).toEqual([
      PLAIN,
      'dataset_stats.json',
      'README.md',
    ]);
    expect(built.files.filter((path) => path.startsWith('a/plots/'))).not.toEqual([]);
    const [first] = await linesOf(exported(PLAIN));
    expect(Object.keys(first as object)).toEqual([
      'chat',
      'messages_with_tools',
      'facts',
      'user_reasoning',
      'why',
    ]);
    const card = await readFile(exported('README.md'), 'utf8');
    expect(card).toContain(
      `config_name: default\n    data_files:\n      - split: train\n        path: ${PLAIN}\n`,
    );
    expect(card).toContain('- turn_count.avg: 1');
    expect(card).toContain('](a/plots/turn_count_distribution.svg)');
    const stats = JSON.parse(await readFile(exported('dataset_stats.json'), 'utf8')) as {
      source_file: string;
    };
    expect(stats.source_file).toBe(PLAIN);
  });

  test('I4: with plots and without statistics the card links no statistics file', async () => {
    const { project, places, exported } = await projectWith(
      { output_columns: COLUMNS, hf_push: { ...withStats.hf_push, generate_stats: false } },
      { [PLAIN]: jsonl(ROWS) },
    );
    const built = await buildExport(project, places);
    expect(built.files).not.toContain('dataset_stats.json');
    expect(await readFile(exported('README.md'), 'utf8')).not.toContain('dataset_stats.json');
  });

  test('I10: a source file in a sub-folder keeps its place', async () => {
    const { project, places, exported } = await projectWith(
      { output_columns: COLUMNS, hf_push: { source_file: 'parts/one.jsonl' } },
      { 'parts/one.jsonl': jsonl(ROWS) },
    );
    expect((await buildExport(project, places)).files).toContain('parts/one.jsonl');
    expect(await linesOf(exported('parts/one.jsonl'))).toHaveLength(30);
  });

  test('what a model made of NaN and half surrogates is readable; what is no row is counted', async () => {
    const { project, places, exported } = await projectWith(
      { hf_push: { source_file: PLAIN } },
      {
        [PLAIN]: `{"messages": [{"role": "user", "content": "a\\ud800b"}], "judge": {"avg_score": NaN}}\n{torn\n`,
      },
    );
    const built = await buildExport(project, places);
    expect(built).toMatchObject({ records: 1, skippedLines: 1, replacedTexts: 1 });
    const [first] = (await linesOf(exported(PLAIN))) as { messages: { content: string }[]; judge: object }[];
    expect(first?.messages[0]?.content).toBe('a\ufffdb');
    expect(first?.judge).toMatchObject({ avg_score: null });
    expect(await readFile(exported('README.md'), 'utf8')).toContain('could not be read and are not here: 1');
  });

  test('I11: run states leave without paths of this machine', async () => {
    const files = { [PLAIN]: jsonl(ROWS) };
    const { project, places, exported } = await projectWith(
      { output_columns: COLUMNS, hf_push: { source_file: PLAIN, include_run_state: true } },
      files,
    );
    const state = {
      run_id: 'r',
      inputs: {
        project_root: '/srv/work/old',
        config_dir: '/srv/work/old/conf',
        seed_topics_path: '/data/t/topics.yaml',
      },
      turns: [`see /srv/work/old/knowledge/a.md, ${project.root}/x and ${project.root}.`, '/srv/work/older'],
      score: 1,
    };
    await mkdir(join(places.sourceDir, 'run_state'));
    await writeFile(
      join(places.sourceDir, 'run_state', 'r.json'),
      JSON.stringify(state).replace('"score":1', '"score":1.0'),
    );
    await writeFile(join(places.sourceDir, 'run_state', 'last_run_id.txt'), 'r');
    await writeFile(join(places.sourceDir, 'run_state', 'notes.md'), 'private');
    await writeFile(
      join(places.sourceDir, 'run_state', 'container.json'),
      '{"inputs": {"project_root": "/"}}',
    );
    const built = await buildExport(project, places);
    expect(await readFile(exported('run_state/container.json'), 'utf8')).toContain('"project_root": "."');
    expect(built.files.filter((path) => path.startsWith('run_state'))).toEqual([
      'run_state/container.json',
      'run_state/last_run_id.txt',
      'run_state/r.json',
    ]);
    const text = await readFile(exported('run_state/r.json'), 'utf8');
    expect(text).toContain('"score": 1.0');
    expect(JSON.parse(text)).toEqual({
      run_id: 'r',
      inputs: { project_root: '.', config_dir: '.', seed_topics_path: 'topics.yaml' },
      turns: ['see knowledge/a.md, x and ..', '/srv/work/older'],
      score: 1,
    });
  });
});

test('I11: the card says how rows were made, and nothing of places, addresses and keys', async () => {
  const { project, places, exported } = await projectWith(
    { output_columns: COLUMNS },
    { [JUDGED]: jsonl(ROWS) },
    {
      run: { seed: 7, data: { seeding: { topics: { path: '/srv/private/topics.yaml' } } } },
      llm: {
        backend: 'openai',
        agents: {
          user: { model: 'asker-1', base_url: 'http://10.1.2.3:8000/v1' },
          assistant: { model: '/srv/private/models/teller', temperature: 0.3 },
        },
        routing: { endpoints: [{ name: 'a', base_url: 'http://10.1.2.4:8000/v1', api_key: 'sk-private' }] },
      },
      tools: { retrieval: { index: { persist_dir: '/srv/private/index' } } },
    },
  );
  await buildExport(project, places);
  const card = await readFile(exported('README.md'), 'utf8');
  expect(card).toContain('- user: asker-1');
  expect(card).toContain('- assistant: teller');
  expect(card).toContain('llm.agents.assistant.temperature: 0.3');
  expect(card).toContain('seed 7');
  for (const secret of ['private', '10.1.2', root]) expect(card).not.toContain(secret);
});

describe('what is refused before anything is written', () => {
  const source = { [JUDGED]: jsonl(ROWS) };

  test('A5, I7: an empty or missing source leaves the last export as it is', async () => {
    const { project, places, exported } = await projectWith({ output_columns: COLUMNS }, source);
    await buildExport(project, places);
    const before = await readFile(exported(JUDGED), 'utf8');
    await writeFile(join(places.sourceDir, JUDGED), '');
    await expect(buildExport(project, places)).rejects.toThrow('nothing to export');
    await rm(join(places.sourceDir, JUDGED));
    await expect(buildExport(project, places)).rejects.toThrow('not found');
    expect(await readFile(exported(JUDGED), 'utf8')).toBe(before);
    expect(await readdir(places.sourceDir)).toEqual(['hf_export']);
  });

  test('A4: places that hold anything else, by any name', async () => {
    const { project, places } = await projectWith({ output_columns: COLUMNS }, source);
    const { sourceDir } = places;
    for (const exportDir of [
      sourceDir,
      project.root,
      root,
      homedir(),
      '/',
      join(sourceDir, 'conversations'),
      project.folders.knowledge,
    ]) {
      await expect(checkExport(project, { sourceDir, exportDir }), exportDir).rejects.toMatchObject({
        code: 'output',
      });
      await expect(buildExport(project, { sourceDir, exportDir }), exportDir).rejects.toMatchObject({
        code: 'output',
      });
    }
    expect(await readdir(sourceDir)).toEqual([JUDGED]);
  });

  test('filters that leave nothing, files that are no rows, names outside the export', async () => {
    const { project, places } = await projectWith(
      { output_columns: COLUMNS, export: { languages: ['ja'] } },
      source,
    );
    await expect(buildExport(project, places)).rejects.toThrow(
      'leave out all 30 conversations (30 by language)',
    );
    const turns = await projectWith(
      { hf_push: { source_file: 'turns.jsonl' } },
      { 'turns.jsonl': '{"turn_index": 1}\n' },
    );
    await expect(buildExport(turns.project, turns.places)).rejects.toThrow('none of the columns');
    const outside = await projectWith(
      { output_columns: COLUMNS, hf_push: { generate_stats: true, stats_file: '../stats.json' } },
      source,
    );
    await expect(checkExport(outside.project, outside.places)).rejects.toMatchObject({ code: 'config' });
    expect(existsSync(places.exportDir)).toBe(false);
  });

  test('a stop in the middle leaves no trace', async () => {
    const { project, places } = await projectWith({ output_columns: COLUMNS }, source);
    await expect(buildExport(project, { ...places, stop: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'cancelled',
    });
    expect(await readdir(places.sourceDir)).toEqual([JUDGED]);
  });
});

test('rehearsal rows are told, unless a filter leaves them out', async () => {
  const rows = [row(1, 'en'), { ...row(2, 'fr'), facts: { language: 'fr', rehearsal: true } }];
  const { project, places } = await projectWith({ output_columns: COLUMNS }, { [JUDGED]: jsonl(rows) });
  expect(await isRehearsal(project, places)).toBe(true);
  expect((await buildExport(project, places)).rehearsal).toBe(true);
  const filtered = await projectWith(
    { output_columns: COLUMNS, export: { languages: 'en' } },
    { [JUDGED]: jsonl(rows) },
  );
  expect(await isRehearsal(filtered.project, filtered.places)).toBe(false);
});

test('formats that stay here take what is there when nothing is judged, and have no statistics', async () => {
  const { project, places } = await projectWith(
    { output_columns: COLUMNS, hf_push: { generate_stats: true, include_run_state: true } },
    { [PLAIN]: jsonl(ROWS), [JUDGED]: '', 'run_state/r.json': '{}' },
  );
  const built = await writeFormats(project, { sourceDir: places.sourceDir, formats: ['parquet'] });
  expect(built.folder).toBe(join(places.sourceDir, 'exports'));
  expect(built.files).toEqual(['data/train-00000-of-00001.parquet', 'README.md']);
});
