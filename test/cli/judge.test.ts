import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type CliProject, makeProject } from '../support/cli-project.ts';
import { oldConversation, writeOldDataset } from '../support/old-dataset.ts';

const SAMPLES = 3;
const config = (change: object = {}) => ({
  run: {
    run_id: 'mine',
    total_samples: SAMPLES,
    batch_size: 4,
    target_languages: ['english', 'french'],
    turns: { mode: 'range', min: 2, max: 2, mean: 2 },
  },
  llm: { backend: 'rehearsal' },
  judge: { mode: 'offline' },
  ...change,
});

interface Report {
  readonly status: string;
  readonly asked: number;
  readonly given: number;
  readonly left: number;
  readonly skipped: number;
  readonly calls: number;
  readonly promptTokens: number;
  readonly judge: { readonly verdicts: number; readonly without: number; readonly mean: number | null };
}

async function judge(project: CliProject, ...args: string[]): Promise<Report> {
  const done = await project.run(['judge', 'config.yaml', '--json', '--quiet', ...args]);
  expect(done.code, done.stderr).toBe(0);
  return JSON.parse(done.stdout) as Report;
}

/** What Python writes besides JSON is in old files on purpose. */
const parsed = (text: string): Record<string, unknown> =>
  JSON.parse(text.replaceAll('NaN', 'null')) as Record<string, unknown>;

async function rows(project: CliProject, name: string): Promise<Record<string, unknown>[]> {
  const text = await readFile(join(project.folder, 'outputs', name), 'utf8');
  return text.split('\n').slice(0, -1).map(parsed);
}

/** The marker and the states say when; everything else is what the dataset is. */
async function artifacts(project: CliProject): Promise<Map<string, string>> {
  const files = await project.files();
  return new Map([...files].filter(([path]) => !path.startsWith('run_state')));
}

const scores = async (project: CliProject, field: string): Promise<unknown[]> =>
  (await rows(project, 'turns.jsonl')).map((row) => row[field]);

describe('judge', () => {
  test('G15 B12 B13 judges what a run made offline, in both granularities, and every later command shows the same', async () => {
    await using project = await makeProject(config());
    expect((await project.run(['run', 'config.yaml'])).code).toBe(0);
    expect(await scores(project, 'judge_score')).toEqual(Array.from({ length: 4 * SAMPLES }, () => null));

    const part = await judge(project, '--language', 'French', '--limit', '2');
    expect(part).toMatchObject({ status: 'completed', asked: 4, given: 4, left: SAMPLES - 2 });
    expect((await rows(project, 'conversations_sharegpt_judged.jsonl')).length).toBe(2);
    const first = await judge(project);
    expect(first).toMatchObject({ asked: 4 * SAMPLES - 4, calls: 4 * SAMPLES, left: 0 });
    expect(first.judge).toMatchObject({ verdicts: 4 * SAMPLES, without: 0 });
    expect(first.promptTokens).toBeGreaterThan(0);
    const byTurn = await artifacts(project);
    expect((await scores(project, 'judge_score')).every((score) => typeof score === 'number')).toBe(true);
    expect(await scores(project, 'conversation_judge_score')).toEqual(
      Array.from({ length: 4 * SAMPLES }, () => null),
    );

    expect(await judge(project, '--granularity', 'conversation')).toMatchObject({ asked: 2 * SAMPLES });
    expect((await scores(project, 'judge_score')).every((score) => score === null)).toBe(true);
    expect((await scores(project, 'conversation_judge_score')).every(Number.isFinite)).toBe(true);
    expect(await judge(project)).toMatchObject({ asked: 0 });
    expect(await artifacts(project)).toEqual(byTurn);

    const exported = await project.run(['export', 'config.yaml']);
    expect(exported.code, exported.stderr).toBe(0);
    expect(await artifacts(project)).toEqual(byTurn);
    expect((await judge(project, '--model', 'another-judge', '--limit', '1')).asked).toBe(2);
    expect((await rows(project, 'conversations_sharegpt_judged.jsonl')).length).toBe(1);
  });

  test('what a run judged online is not asked again; --rejudge is', async () => {
    await using project = await makeProject(config({ judge: { mode: 'online' } }));
    expect((await project.run(['run', 'config.yaml', '--languages', 'english'])).code).toBe(0);
    const online = await artifacts(project);
    expect(await judge(project)).toMatchObject({ asked: 0, judge: { verdicts: 2 * SAMPLES } });
    expect(await artifacts(project)).toEqual(online);
    expect(await judge(project, '--rejudge')).toMatchObject({ asked: 2 * SAMPLES, calls: 2 * SAMPLES });
    expect(await artifacts(project)).toEqual(online);
  });

  test('B12 B13 files of 0.1.0 are judged where they are, by turn and then by conversation', async () => {
    await using project = await makeProject(config());
    const outputs = join(project.folder, 'outputs');
    await writeOldDataset(
      outputs,
      [
        oldConversation('old-1', ['What turns the tide?', 'And when?']),
        oldConversation('old-2', ['How high?']),
      ],
      { offline: true },
    );
    const bad = {
      'bad.json': '{"conversation_id": ',
      'none.json': '{"turns": []}',
      'odd.json': '{"turns": [1]}',
    };
    for (const [name, text] of Object.entries(bad))
      await writeFile(join(outputs, 'conversations', name), text);
    await mkdir(join(outputs, 'conversations', 'folder.json'));

    const done = await project.run(['judge', 'config.yaml', '--json']);
    expect(done.code, done.stderr).toBe(0);
    for (const name of Object.keys(bad)) expect(done.stderr).toContain(`[judge] skipped ${name}: `);
    expect(JSON.parse(done.stdout)).toMatchObject({ asked: 3, given: 3, skipped: 3, conversations: 2 });
    const turns = await rows(project, 'turns.jsonl');
    expect(turns.every((row) => Number.isFinite(row['judge_score']))).toBe(true);
    expect(turns.map((row) => row['conversation_judge_score'])).toEqual([null, null, null]);
    const record = parsed(await readFile(join(outputs, 'conversations', 'old-1.json'), 'utf8'));
    expect(record).toMatchObject({
      conversation_judge: {},
      turns: [
        { qa_judge: { score: turns[0]?.['judge_score'], evidence_source: 'self_reported' } },
        { qa_judge: { score: turns[1]?.['judge_score'] } },
      ],
    });
    expect(
      (await rows(project, 'conversations_sharegpt_judged.jsonl')).map(({ judge: column }) => column),
    ).toMatchObject([
      { per_turn: [{}, {}], conversation: {} },
      { per_turn: [{}], conversation: {} },
    ]);

    expect(await judge(project, '--granularity', 'conversation')).toMatchObject({ asked: 2, skipped: 3 });
    const everything = [...(await project.files()).values()].join('\n');
    expect(everything).not.toContain('an old word');
    expect((await rows(project, 'turns.jsonl')).map((row) => row['judge_score'])).toEqual([null, null, null]);
    expect(await scores(project, 'conversation_judge_score')).toEqual([
      expect.any(Number),
      expect.any(Number),
      expect.any(Number),
    ]);
    for (const [name, text] of Object.entries(bad))
      expect(await readFile(join(outputs, 'conversations', name), 'utf8')).toBe(text);

    const formats = await project.run(['export', 'config.yaml', '--format', 'openai']);
    expect(formats.code, formats.stderr).toBe(0);
    expect(formats.stderr).toContain('show the verdicts of the store');
    expect(formats.stderr).toContain('2 conversations are in');
    // Not what is configured: whose verdicts are shown.
    expect(await readFile(join(outputs, 'exports', 'README.md'), 'utf8')).toMatch(
      /^- Judge: by conversation, rehearsal, prompt version [0-9a-f]+$/m,
    );
  });

  test('A10 nobody else writes meanwhile; Ctrl-C keeps what was given, shows it, and the same command goes on', async () => {
    await using project = await makeProject(
      config({ llm: { backend: 'rehearsal', max_in_flight: 2, rehearsal: { latency: { mean_ms: 2_000 } } } }),
    );
    const quick = ['--set', 'llm.rehearsal.latency.mean_ms=0'];
    expect((await project.run(['run', 'config.yaml', ...quick])).code).toBe(0);
    const running = project.start(['judge', 'config.yaml', '--granularity', 'turn']);
    await running.shown('[judge] 12 verdicts');
    const other = await project.run(['export', 'config.yaml']);
    expect(other.stderr).toMatch(
      /process \d+ on .*`dlgforge judge config\.yaml`.* is already writing this dataset/,
    );
    expect(other.code).toBe(1);
    running.child.kill('SIGINT');
    const stopped = await running.finished;
    expect(stopped.code, stopped.stderr).toBe(130);
    expect(stopped.stderr).toContain('Ctrl-C');
    // Without its options it would be another pass.
    expect(stopped.stderr).not.toContain('judge config.yaml');
    expect(stopped.stderr).toContain('Run the same command again, with its options, to go on.');
    const kept = (await scores(project, 'judge_score')).filter((score) => score !== null).length;
    expect(kept).toBeLessThan(12);
    expect(await judge(project, ...quick)).toMatchObject({ asked: 12 - kept, judge: { verdicts: 12 } });
  });

  test.each([
    ['an empty folder', config(), [], 'There is nothing to judge'],
    ['a judge that is switched off', config({ judge: { enabled: false } }), [], 'judge.enabled is false'],
    [
      'a model that no endpoint would be asked for',
      config({
        llm: {
          backend: 'openai',
          routing: { endpoints: [{ base_url: 'http://127.0.0.1:9/v1', model: 'theirs' }] },
        },
      }),
      ['--model', 'mine'],
      'name their own models (theirs)',
    ],
    ['no model', config({ llm: { backend: 'openai' } }), [], 'llm.agents.judge.model'],
    [
      'contradicting options',
      config(),
      ['--only-missing', '--rejudge'],
      "'--only-missing' cannot be used with",
    ],
    ['a limit of nothing', config(), ['--limit', '0'], 'must be a whole number above 0'],
  ])('%s is said before anything is made', async (what, settings, args, text) => {
    await using project = await makeProject(settings);
    await mkdir(join(project.folder, 'outputs', 'conversations'), { recursive: true });
    const refused = await project.run(['judge', 'config.yaml', ...args]);
    expect(refused.stderr, what).toContain(text);
    expect(refused.code).toBe(args.length > 0 ? 2 : 1);
    expect(await project.files('.dlgforge').catch(() => new Map())).toEqual(new Map());
  });

  test('a language without conversations, and files of which none can be read, are errors that say so', async () => {
    await using project = await makeProject(config());
    const outputs = join(project.folder, 'outputs');
    await writeOldDataset(outputs, [oldConversation('old-1', ['Why?'])]);
    const language = await project.run(['judge', 'config.yaml', '--language', 'german']);
    expect(language.stderr).toContain('There are conversations in english.');
    expect(language.code).toBe(2);
    await writeFile(join(outputs, 'conversations', 'old-1.json'), 'no JSON');
    const unreadable = await project.run(['judge', 'config.yaml']);
    expect(unreadable.stderr).toContain('None of the 1 conversation files');
    expect(unreadable.code).toBe(1);
  });
});
