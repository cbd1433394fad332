import { expect, test } from 'vitest';
import { type CliProject, makeProject } from '../support/cli-project.ts';

const SAMPLES = 3;
const config = (judge: object = {}, llm: object = { backend: 'rehearsal' }) => ({
  run: {
    run_id: 'mine',
    total_samples: SAMPLES,
    batch_size: 4,
    target_languages: ['english', 'french'],
    turns: { mode: 'range', min: 2, max: 2, mean: 2 },
  },
  llm,
  judge: { mode: 'offline', ...judge },
});

interface Report {
  readonly asked: number;
  readonly given: number;
  readonly left: number;
  readonly calls: number;
  readonly batches: { readonly created: number; readonly requests: number };
}

async function judge(project: CliProject, ...args: string[]): Promise<Report> {
  const done = await project.run(['judge', 'config.yaml', '--json', '--batch', ...args]);
  expect(done.code, done.stderr).toBe(0);
  return JSON.parse(done.stdout) as Report;
}

async function artifacts(project: CliProject): Promise<Map<string, string>> {
  return new Map([...(await project.files())].filter(([path]) => !path.startsWith('run_state')));
}

test('--batch with --limit, --language, --granularity and --rejudge means what it means without; servers of ours have no batches', async () => {
  await using project = await makeProject(config({ batch: { max_requests: 5 } }));
  expect((await project.run(['run', 'config.yaml'])).code).toBe(0);
  const part = await judge(project, '--language', 'French', '--limit', '2');
  expect(part).toMatchObject({ asked: 4, left: SAMPLES - 2, batches: { created: 1, requests: 4 } });
  expect(await judge(project)).toMatchObject({ asked: 8, calls: 12, batches: { created: 2, requests: 8 } });
  const byTurn = await artifacts(project);
  expect(await judge(project, '--granularity', 'conversation')).toMatchObject({ asked: 6, given: 6 });
  expect(await artifacts(project)).not.toEqual(byTurn);
  expect(await judge(project, '--rejudge')).toMatchObject({ asked: 12, calls: 24 });
  expect(await artifacts(project)).toEqual(byTurn);

  const managed = ['--set', 'llm.backend=vllm_managed', '--set', 'llm.vllm.model=some/model'];
  const refused = await project.run(['judge', 'config.yaml', '--batch', ...managed]);
  expect(refused.stderr).toContain('servers that dlgforge starts have none. Leave --batch out');
  expect(refused.code).toBe(2);
});
