/** Folders that 0.1.0 left behind, through the real command line. Fault numbers are those of the contract's section 11. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { questionKey } from '../../src/dialogue/question-key.ts';
import type { RehearsalOptionsInput } from '../../src/llm/rehearsal/options.ts';
import { type Rehearsal, startRehearsal } from '../../src/llm/rehearsal/server.ts';
import { type ChatServer, completion, sendJson, startChatServer } from '../support/chat-server.ts';
import { type CliProject, makeProject } from '../support/cli-project.ts';
import {
  batchedState,
  ledgerLine,
  type OldOutputs,
  oldTurn,
  singleState,
  UPDATED_AT,
  writeOldOutputs,
} from '../support/legacy-files.ts';

let rehearsal: Rehearsal;
const KNOBS: RehearsalOptionsInput = { seed: 3 };
beforeAll(async () => {
  rehearsal = await startRehearsal({ ...KNOBS, log_limit: 100_000 });
});
beforeEach(() => rehearsal.reset());
afterAll(() => rehearsal.close());

interface RunKeys {
  readonly [key: string]: unknown;
}

const configFor = (run: RunKeys, more: object = {}, url = `${rehearsal.url}/v1`): object => ({
  run: { batch_size: 4, turns: { mode: 'exact', exact: 2 }, ...run },
  llm: {
    backend: 'openai',
    agents: Object.fromEntries(
      ['user', 'assistant', 'judge'].map((role) => [
        role,
        { provider: 'hosted_vllm', model: 'rehearsal', base_url: url },
      ]),
    ),
  },
  judge: { mode: 'online' },
  ...more,
});

async function oldProject(config: object, outputs: OldOutputs): Promise<CliProject> {
  const project = await makeProject(config);
  await writeOldOutputs(join(project.folder, 'outputs'), outputs);
  return project;
}

interface Report {
  readonly runId: string;
  readonly resumed: boolean;
  readonly calls: number;
  readonly languages: readonly {
    readonly language: string;
    readonly committed: number;
    readonly turns: number;
  }[];
}

async function finish(
  project: CliProject,
  args: readonly string[] = [],
): Promise<Report & { readonly stderr: string }> {
  const { code, stdout, stderr } = await project.run(['run', 'config.yaml', '--json', ...args]);
  expect(code, stderr).toBe(0);
  return { ...(JSON.parse(stdout) as Report), stderr };
}

async function rows(project: CliProject, name: string): Promise<Record<string, unknown>[]> {
  const text = await readFile(join(project.folder, 'outputs', name), 'utf8');
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

const idsOf = async (project: CliProject): Promise<string[]> =>
  (await rows(project, 'conversations_index.jsonl')).map((row) => String(row['conversation_id']));
const conversationOf = async (project: CliProject, id: string): Promise<Record<string, unknown>> =>
  JSON.parse(
    await readFile(join(project.folder, 'outputs', 'conversations', `${id}.json`), 'utf8'),
  ) as Record<string, unknown>;
const questionsOf = async (project: CliProject): Promise<string[]> =>
  (await rows(project, 'turns.jsonl')).map((row) => String(row['user_message']));
const expectDistinct = (values: readonly string[]): void =>
  expect(values.filter((value, i) => values.indexOf(value) !== i)).toEqual([]);

const Q = (n: number | string): string => `Old question number ${n}?`;

/** Wave 0 is in the files, one of its conversations dropped; wave 1 was cut short. */
const BATCHED: OldOutputs = {
  states: {
    R: batchedState('R', 'english', [
      { id: 'R-0000', target: 2, turns: [oldTurn(1, Q(1)), oldTurn(2, Q(2))] },
      { id: 'R-0001', target: 3, status: 'dropped', turns: [oldTurn(1, Q(3))] },
      { id: 'R-0002', target: 2, turns: [oldTurn(1, Q(4)), oldTurn(2, Q(5))] },
    ]),
    'R-0001': batchedState('R-0001', 'english', [
      { id: 'R-0001-0000', target: 2, turns: [oldTurn(1, Q(6)), oldTurn(2, Q(7))] },
      { id: 'R-0001-0001', target: 3, turns: [oldTurn(1, Q(8))] },
      { id: 'R-0001-0002', target: 4, turns: [] },
    ]),
  },
  written: [
    ['R-0000', 'english', [Q(1), Q(2)]],
    ['R-0001', 'english', [Q(3)]],
    ['R-0002', 'english', [Q(4), Q(5)]],
  ],
  ledger: [1, 2, 3, 4, 5, 6, 7, 8].map((n) => ledgerLine(Q(n))),
  lastRunId: 'R-0001',
};

const RESUMED_IDS = ['R-0000', 'R-0001', 'R-0002', 'R-0001-0000', 'R-0001-0001', 'R-0001-0002', 'R-0006'];

async function expectBatchedFinished(project: CliProject): Promise<void> {
  expect(await idsOf(project)).toEqual(RESUMED_IDS);
  expectDistinct((await questionsOf(project)).map(questionKey));
  expectDistinct((await rows(project, 'coverage_ledger.jsonl')).map((row) => String(row['question'])));
  expect((await questionsOf(project)).slice(5, 8)).toEqual([Q(6), Q(7), Q(8)]);
  const going = await conversationOf(project, 'R-0001-0001');
  expect(going).toMatchObject({ n_turns: 3, personas: { user_id: 'old_sailor', assistant_id: 'old_pilot' } });
  const [first] = going['turns'] as Record<string, Record<string, unknown>>[];
  expect(first?.['kb_answer']?.['assistant_message']).toBe(`An old answer to: ${Q(8)}`);
  expect(await conversationOf(project, 'R-0001-0002')).toMatchObject({ n_turns: 4 });
}

test.each([
  ['--resume', 'R'],
  ['--run-id', 'R'],
  ['--resume', 'R-0001'],
])(
  'B1, B2, B5, B9: %s %s goes on with a batched run where it stopped, with another batch size',
  async (flag, id) => {
    await using project = await oldProject(
      configFor({ total_samples: 6, target_languages: ['english'], batch_size: 2 }),
      BATCHED,
    );
    const report = await finish(project, [flag, id]);
    expect(report).toMatchObject({ runId: 'R', resumed: true, languages: [{ committed: 6 }] });
    expect(report.stderr).toMatch(/1 conversations in the files were dropped by 0\.1\.0/);
    await expectBatchedFinished(project);
    // 1 complete; 2 of 3, 4 and 2 turns to be made, each a question, an answer with a tool round, and a verdict.
    const judged = rehearsal.log().filter((entry) => entry.event === 'arrival' && entry.role === 'judge');
    expect(judged).toHaveLength(2 + 4 + 2);

    const before = await project.files();
    const again = await finish(project, ['--resume', id]);
    expect(again.languages[0]).toMatchObject({ committed: 6 });
    expect(await idsOf(project)).toEqual(RESUMED_IDS);
    expect((await project.files()).get('turns.jsonl')).toBe(before.get('turns.jsonl'));
    expect(before.get('run_state/R.json.0.1.0')).toContain(Q(1));
  },
);

test('a take-over that is killed at any moment is repeated and comes to the same', async () => {
  await using project = await oldProject(
    configFor({ total_samples: 6, target_languages: ['english'] }),
    BATCHED,
  );
  for (const delayMs of [0, 5, 20, 80]) {
    const running = project.start(['run', 'config.yaml', '--resume', 'R']);
    await running.shown(' run R');
    await new Promise((resolve) => setTimeout(resolve, delayMs));
    running.child.kill('SIGKILL');
    expect((await running.finished).signal).toBe('SIGKILL');
  }
  const report = await finish(project, ['--resume', 'R', '--batch-size', '1']);
  expect(report.languages[0]).toMatchObject({ committed: 6 });
  await expectBatchedFinished(project);
});

test.each(['M', 'M-french', 'M-french-0001'])(
  'B4: resuming %s goes on in every language of the run',
  async (id) => {
    await using project = await oldProject(
      configFor({ total_samples: 3, target_languages: ['english', 'french', 'german'] }),
      {
        states: {
          'M-english': batchedState('M-english', 'english', [
            { id: 'M-english-0000', target: 1, turns: [oldTurn(1, Q('e0'))] },
            { id: 'M-english-0001', target: 1, turns: [oldTurn(1, Q('e1'))] },
            { id: 'M-english-0002', target: 1, turns: [oldTurn(1, Q('e2'))] },
          ]),
          'M-french': batchedState('M-french', 'french', [
            { id: 'M-french-0000', target: 1, turns: [oldTurn(1, Q('f0'))] },
            { id: 'M-french-0001', target: 1, turns: [oldTurn(1, Q('f1'))] },
          ]),
          'M-french-0001': singleState('french', {
            id: 'M-french-0001',
            target: 2,
            turns: [oldTurn(1, Q('f2'))],
          }),
        },
        written: [
          ['M-english-0000', 'english', [Q('e0')]],
          ['M-english-0001', 'english', [Q('e1')]],
          ['M-english-0002', 'english', [Q('e2')]],
          ['M-french-0000', 'french', [Q('f0')]],
        ],
        ledger: ['e0', 'e1', 'e2', 'f0', 'f1', 'f2'].map((n) => ledgerLine(Q(n))),
      },
    );
    const report = await finish(project, ['--resume', id]);
    expect(report.runId).toBe('M');
    expect(report.languages.map(({ committed }) => committed)).toEqual([3, 3, 3]);
    const ids = await idsOf(project);
    expectDistinct(ids);
    expect(ids.filter((known) => known.startsWith('M-english'))).toHaveLength(3);
    // A slot and a wave have the same id in 0.1.0: both conversations are kept, the second under another id.
    expect(ids).toEqual(
      expect.arrayContaining([
        'M-french-0001',
        'M-french-0001-2',
        'M-german-0000',
        'M-german-0001',
        'M-german-0002',
      ]),
    );
    expect(await conversationOf(project, 'M-french-0001-2')).toMatchObject({
      language: 'french',
      n_turns: 2,
    });
    expect(await questionsOf(project)).toEqual(expect.arrayContaining([Q('f1'), Q('f2')]));
  },
);

test('B3, B6: a sequential run goes on under its own run_id, personas and ids kept', async () => {
  await using project = await oldProject(
    configFor({ run_id: 'S', total_samples: 4, batch_size: 1, target_languages: ['english'] }),
    {
      states: {
        S: singleState('english', { id: 'S', target: 1, turns: [oldTurn(1, Q(1))] }),
        'S-0001': singleState('english', { id: 'S-0001', target: 1, turns: [oldTurn(1, Q(2))] }),
        'S-0002': singleState('english', {
          id: 'S-0002',
          target: 5,
          turns: [oldTurn(1, Q(3)), oldTurn(2, Q(4))],
        }),
      },
      written: [
        ['S', 'english', [Q(1)]],
        ['S-0001', 'english', [Q(2)]],
      ],
      ledger: [1, 2, 3, 4].map((n) => ledgerLine(Q(n))),
    },
  );
  await finish(project);
  await finish(project);
  expect(await idsOf(project)).toEqual(['S', 'S-0001', 'S-0002', 'S-0003']);
  expect(await conversationOf(project, 'S-0002')).toMatchObject({
    n_turns: 5,
    personas: { user_id: 'old_sailor' },
  });
  expect((await questionsOf(project)).slice(0, 4)).toEqual([Q(1), Q(2), Q(3), Q(4)]);
});

test('B7: a verdict on a whole conversation is not asked for again', async () => {
  const verdict = {
    score: 6,
    reasons: ['vague'],
    notes: 'as 0.1.0 judged it',
    question_ok: true,
    answer_ok: true,
  };
  await using project = await oldProject(
    configFor(
      { total_samples: 1, target_languages: ['english'] },
      { judge: { mode: 'online', granularity: 'conversation' } },
    ),
    {
      states: {
        J: batchedState('J', 'english', [
          {
            id: 'J-0000',
            target: 1,
            turns: [oldTurn(1, Q(1), { qa_judge: {} })],
            rawResults: [{ conversation_judge_raw: {}, conversation_judge: verdict }],
          },
        ]),
      },
      ledger: [ledgerLine(Q(1))],
    },
  );
  const report = await finish(project, ['--resume', 'J']);
  expect(report.calls).toBe(0);
  expect(rehearsal.log()).toEqual([]);
  expect(await conversationOf(project, 'J-0000')).toMatchObject({ conversation_judge: verdict });
});

/** Answers every question request with the same question, whatever it is told. */
async function startRepeatableModel(question: string): Promise<ChatServer> {
  const { qa_generation, kb_answer, qa_judge } = oldTurn(1, question);
  return await startChatServer(({ path, body }, response) => {
    if (!path.endsWith('/chat/completions'))
      return sendJson(response, 200, { object: 'list', data: [{ id: 'rehearsal', object: 'model' }] });
    const asked = JSON.stringify([body['response_format'], body['messages']]);
    const output =
      body['tools'] !== undefined
        ? kb_answer
        : asked.includes('dlgforge_question')
          ? qa_generation
          : qa_judge;
    return sendJson(response, 200, completion(JSON.stringify(output)));
  });
}

test('B8: a question that was in the ledger before its turn was saved is asked again, not dropped', async () => {
  const model = await startRepeatableModel(Q(2));
  try {
    await using project = await oldProject(
      configFor({ total_samples: 1, target_languages: ['english'] }, {}, model.url),
      {
        states: { K: batchedState('K', 'english', [{ id: 'K-0000', target: 2, turns: [oldTurn(1, Q(1))] }]) },
        ledger: [ledgerLine(Q(0)), ledgerLine(Q(1)), ledgerLine(Q(2), UPDATED_AT.replace('12:00', '12:01'))],
        lastRunId: 'K',
      },
    );
    await finish(project, ['--resume', 'K']);
    expect(await idsOf(project)).toEqual(['K-0000']);
    expect(await questionsOf(project)).toEqual([Q(1), Q(2)]);
  } finally {
    await model.close();
  }
});

test('A7, A12: a turn that is empty or of wrong types is generated anew, with those after it', async () => {
  const broken = { ...oldTurn(2, Q(2)), kb_answer: { assistant_message: '', reasoning_trace: 'none' } };
  await using project = await oldProject(configFor({ total_samples: 1, target_languages: ['english'] }), {
    states: {
      A: batchedState('A', 'english', [
        { id: 'A-0000', target: 3, turns: [oldTurn(1, Q(1)), broken, oldTurn(3, Q(3))] },
      ]),
    },
  });
  const { stderr } = await finish(project, ['--resume', 'A']);
  expect(stderr).toMatch(/A-0000: turn 2 of 3 is not usable \(answer: /);
  const questions = await questionsOf(project);
  expect(questions).toHaveLength(3);
  expect(questions[0]).toBe(Q(1));
  expect(questions).not.toContain(Q(3));
});

test.each([
  ['a damaged state', '{"run_id": "X", "conver', /run_state\/X\.json cannot be read/],
  ['an empty state', '', /run_state\/X\.json cannot be read: it is empty/],
  ['a missing state', null, /There is no run X to resume/],
])('B14: %s is an error and never a new run', async (_, state, message) => {
  await using project = await oldProject(configFor({ total_samples: 1, target_languages: ['english'] }), {
    states: state === null ? {} : { X: state },
    ledger: [ledgerLine(Q(1))],
  });
  for (const args of state === null
    ? [['--resume', 'X']]
    : [
        ['--resume', 'X'],
        ['--run-id', 'X'],
      ]) {
    const { code, stderr } = await project.run(['run', 'config.yaml', ...args]);
    expect(code).toBe(1);
    expect(stderr).toMatch(message);
  }
  expect(rehearsal.log()).toEqual([]);
  expect(await idsOf(project)).toEqual([]);
});

test('a plain new run with a config of 0.1.0 beside its ledger works and repeats none of its questions', async () => {
  const text = (await readFile(new URL('../support/old-config.yaml', import.meta.url), 'utf8')).replaceAll(
    'ENDPOINT',
    `${rehearsal.url}/v1`,
  );
  // What this model would ask first, so that the old ledger stands in its way.
  await using undisturbed = await oldProject({}, { states: {} });
  await writeFile(undisturbed.config, text);
  await finish(undisturbed);
  const wouldAsk = await questionsOf(undisturbed);

  const old = wouldAsk.map((question) => `  ${question.toUpperCase()}`);
  await using project = await oldProject(
    {},
    {
      states: {},
      ledger: old.map((question) => ledgerLine(question)),
      written: [['old-0000', 'english', old]],
    },
  );
  await writeFile(project.config, text);
  const report = await finish(project);
  expect(report.languages.map(({ language, committed }) => [language, committed])).toEqual([
    ['english', 2],
    ['french', 2],
  ]);
  const keys = (await questionsOf(project)).map(questionKey);
  expect(keys.length).toBeGreaterThan(old.length);
  expectDistinct(keys);
  expect(
    (await rows(project, 'coverage_ledger.jsonl')).slice(0, old.length).map((row) => row['question']),
  ).toEqual(old);
  expect((await idsOf(project))[0]).toBe('old-0000');
});
