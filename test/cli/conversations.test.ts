/** `show`, `replay` and `stats` on one project, whose endpoint is recorded on the way. */
import { createServer, request as httpRequest, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Replay, ReplayedRequest } from '../../src/bootstrap/replay.ts';
import { sha256 } from '../../src/kernel/hash.ts';
import { type Rehearsal, startRehearsal } from '../../src/llm/rehearsal/server.ts';
import { type CliProject, makeProject } from '../support/cli-project.ts';

const SECRET = 'sk-never-to-be-seen';
const ADDRESS_SECRET = 'hunter2';
const ENV = { OPENAI_API_KEY: SECRET };

/** Passes everything on, and keeps what was sent and answered, byte for byte. */
class Recorder {
  readonly sent: { readonly body: string; readonly answered: boolean }[] = [];
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async before(rehearsal: Rehearsal): Promise<Recorder> {
    const server = createServer((incoming, response) => {
      const chunks: Buffer[] = [];
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
      incoming.on('end', () => {
        const body = Buffer.concat(chunks).toString('utf8');
        const { method = 'GET', url = '/', headers } = incoming;
        const onward = httpRequest(new URL(url, rehearsal.url), { method, headers }, (answer) => {
          if (url.endsWith('/chat/completions'))
            recorder.sent.push({ body, answered: answer.statusCode === 200 });
          response.writeHead(answer.statusCode ?? 500, answer.headers);
          answer.pipe(response);
        });
        onward.on('error', () => response.destroy());
        onward.end(body);
      });
    });
    const recorder = new Recorder(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return recorder;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/v1`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

let rehearsal: Rehearsal;
let recorder: Recorder;
let project: CliProject;

beforeAll(async () => {
  rehearsal = await startRehearsal({ seed: 5, malformed_rate: 0.15, duplicate_rate: 0.5 });
  recorder = await Recorder.before(rehearsal);
  const agent = { temperature: 0.7, max_tokens: 900, extra: { presence_penalty: 0.5 } };
  project = await makeProject({
    run: { run_id: 'demo', total_samples: 2, batch_size: 2, turns: { mode: 'exact', exact: 3 } },
    llm: {
      backend: 'openai',
      routing: { endpoints: [recorder.url.replace('//', `//me:${ADDRESS_SECRET}@`)] },
      agents: {
        user: { ...agent, model: 'm-user' },
        assistant: { model: 'm-assistant' },
        judge: { model: 'm-judge' },
      },
    },
    judge: { mode: 'online', granularity: 'turn' },
  });
  const { code, stderr } = await project.run(['run', 'config.yaml', '--quiet'], ENV);
  expect(code, stderr).toBe(0);
});
afterAll(async () => {
  await project[Symbol.asyncDispose]();
  await recorder[Symbol.asyncDispose]();
  await rehearsal.close();
});

const replayed = async (...args: string[]): Promise<Replay> => {
  const { code, stdout, stderr } = await project.run(['replay', ...args, '--json']);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return JSON.parse(stdout) as Replay;
};

describe('replay', () => {
  test('gives every request byte for byte as it was sent, rejected questions and repairs too', async () => {
    const requests: ReplayedRequest[] = [];
    for (const id of ['demo-0000', 'demo-0001']) requests.push(...(await replayed(id)).requests);
    const bodies = requests.map(({ body }) => JSON.stringify(body));
    const answered = recorder.sent.filter((one) => one.answered).map(({ body }) => body);
    expect(bodies.toSorted()).toEqual(answered.toSorted());
    expect(new Set(requests.map(({ purpose }) => purpose))).toEqual(
      new Set(['question', 'answer', 'verdict']),
    );
    expect(new Set(requests.map(({ result }) => result.type))).toEqual(
      new Set(['used', 'tools', 'malformed', 'rejected']),
    );
    for (const { body, body_sha256: hash, is_as_sent: isAsSent, url } of requests) {
      expect({ hash, isAsSent, url }).toEqual({
        hash: sha256(JSON.stringify(body)),
        isAsSent: true,
        url: `${recorder.url}/chat/completions`,
      });
    }
  });

  test('sent again, a request gets the answer that it got', async () => {
    const { requests } = await replayed('demo-0000', '--turn', '1');
    for (const { body, answer } of requests) {
      const response = await fetch(`${rehearsal.url}/v1/chat/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
      const { choices } = (await response.json()) as { choices: { message: { content: string | null } }[] };
      expect(choices[0]?.message.content ?? '').toBe(answer?.content);
    }
  });

  test('--turn takes one turn, with its passages and their hashes', async () => {
    const { requests, passages } = await replayed('demo-0001', '--turn', '2');
    expect(new Set([...requests, ...passages].map(({ turn }) => turn))).toEqual(new Set([2]));
    for (const { sha256: hash } of passages) expect(hash).toMatch(/^[0-9a-f]{64}$/);
    const offered = JSON.stringify(requests[0]?.body);
    for (const { id } of passages.filter(({ attempt }) => attempt === 0)) expect(offered).toContain(id);
    expect(await project.run(['replay', 'demo-0001', '--turn', '9'])).toMatchObject({
      code: 2,
      stdout: '',
      stderr: 'dlgforge replay failed: The conversation demo-0001 has no turn 9: it has 3.\n',
    });
  });

  test('no secret is in it, as text or as JSON (I8)', async () => {
    for (const args of [
      ['replay', 'demo-0000'],
      ['replay', 'demo-0000', '--json'],
      ['show', 'demo-0000', '--json'],
    ]) {
      const { code, stdout, stderr } = await project.run(args, ENV);
      expect(code).toBe(0);
      expect(stdout + stderr).not.toMatch(new RegExp(`${SECRET}|${ADDRESS_SECRET}`));
    }
  });

  test('a setting that was changed since shows: the bytes are not those that were sent', async () => {
    const changed = ['--set', 'llm.agents.user.temperature=0.1', '--set', 'run.total_samples=2'];
    const again = await project.run(
      ['run', 'config.yaml', '--resume', 'demo', '--allow-config-change', '--quiet', ...changed],
      ENV,
    );
    expect(again.code, again.stderr).toBe(0);
    const { requests } = await replayed('demo-0000');
    for (const { purpose, is_as_sent: isAsSent } of requests) expect(isAsSent).toBe(purpose !== 'question');
  });
});

describe('show', () => {
  test('tells a conversation on stdout; --json has the record of its file', async () => {
    const { code, stdout, stderr } = await project.run(['show', 'demo-0001']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const file = JSON.parse((await project.files()).get(join('conversations', 'demo-0001.json')) ?? '') as {
      messages: { content: string }[];
    };
    for (const { content } of file.messages) expect(stdout).toContain(content.split('\n')[0]);
    expect(stdout).toMatch(/^Conversation demo-0001\n {2}committed 20/);
    const whole = await project.run(['show', 'demo-0001', 'config.yaml', '--json']);
    expect(JSON.parse(whole.stdout)).toMatchObject({ status: 'committed', run_id: 'demo', record: file });
  });

  test('an id that is not there: the ones that are close', async () => {
    const { code, stdout, stderr } = await project.run(['show', 'dmo-0001']);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(
      /^dlgforge show failed: There is no conversation "dmo-0001"\. Close to it: demo-0001, /,
    );
  });

  test('files of 0.1.0 that no store knows are shown and counted too', async () => {
    const old = await makeProject({});
    try {
      await mkdir(join(old.folder, 'outputs', 'conversations'), { recursive: true });
      const turn = {
        qa_generation: { user_message: 'An old question?' },
        kb_answer: { assistant_message: 'An old answer.' },
        qa_judge: { score: 3, reasons: [], notes: 'old notes', question_ok: true, answer_ok: true },
      };
      const line = {
        messages: [{ role: 'user', content: 'An old question?' }],
        metadata: { language: 'en', n_turns: 1 },
      };
      await writeFile(
        join(old.folder, 'outputs', 'conversations_sharegpt.jsonl'),
        `${JSON.stringify(line)}\nno json\n`,
      );
      const record = { conversation_id: 'old-1', language: 'en', turns: [turn] };
      await writeFile(join(old.folder, 'outputs', 'conversations', 'old-1.json'), JSON.stringify(record));
      const { code, stdout } = await old.run(['show', 'old-1', 'config.yaml']);
      expect(code).toBe(0);
      for (const text of ['An old question?', 'An old answer.', 'score 3', 'old notes'])
        expect(stdout).toContain(text);
      expect((await old.run(['show', '../../etc/passwd'])).code).toBe(1);
      const figures = await old.run(['stats', '--json']);
      expect(JSON.parse(figures.stdout)).toMatchObject({
        records: 1,
        languages: { en: 1 },
        turn_count: { avg: 1 },
      });
      expect(figures.stderr).toBe('1 lines are no conversations and were left out\n');
      const replay = await old.run(['replay', 'old-1']);
      expect(replay).toMatchObject({ code: 1, stdout: '' });
      expect(replay.stderr).toContain('kept no requests');
    } finally {
      await old[Symbol.asyncDispose]();
    }
  });
});

describe('stats', () => {
  test('are those of the dataset, as tables and as JSON; a run alone has the same when it is the only one', async () => {
    const { code, stdout, stderr } = await project.run(['stats']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    for (const text of ['2 conversations', 'Judge', 'Documents', 'm-assistant'])
      expect(stdout).toContain(text);
    const figures = async (...args: string[]): Promise<object> => {
      const of = JSON.parse((await project.run(['stats', ...args, '--json'])).stdout) as object;
      return { ...of, run_id: '', place: '', source_file: '' };
    };
    const whole = await figures('config.yaml');
    expect(whole).toMatchObject({ records: 2, turn_count: { min: 3, max: 3, avg: 3 } });
    expect(await figures('--run', 'demo')).toEqual(whole);
    const without = await project.run(['stats', '--run', 'nobody']);
    expect(without).toMatchObject({ code: 1, stdout: '' });
    expect(without.stderr).toContain('There is no run nobody');
  });

  test('files that are elsewhere: the store counts', async () => {
    const outputs = join(project.folder, 'outputs');
    const before = JSON.parse((await project.run(['stats', '--json'])).stdout) as { records: number };
    await rename(join(outputs, 'conversations_sharegpt_judged.jsonl'), join(outputs, 'aside'));
    await rm(join(outputs, 'conversations_sharegpt.jsonl'));
    const { stdout } = await project.run(['stats', '--json']);
    expect(JSON.parse(stdout)).toMatchObject({
      records: before.records,
      place: expect.stringContaining('database'),
    });
  });
});
