/** The batch API of the rehearsal, as the official SDK uses it. */
import OpenAI from 'openai';
import { describe, expect, test } from 'vitest';
import { type Rehearsal, startRehearsal } from '../../../../src/llm/rehearsal/server.ts';
import { call, rehearsing } from './rehearsed-calls.ts';

const clientOf = (rehearsal: Rehearsal): OpenAI =>
  new OpenAI({ baseURL: `${rehearsal.url}/v1`, apiKey: 'any', maxRetries: 0 });

const line = (id: string, text = id): string =>
  JSON.stringify({
    custom_id: id,
    method: 'POST',
    url: '/v1/chat/completions',
    body: { model: 'any', messages: [{ role: 'user', content: text }] },
  });

const upload = async (client: OpenAI, lines: readonly string[]): Promise<string> => {
  const file = new File([lines.join('\n')], 'requests.jsonl');
  return (await client.files.create({ file, purpose: 'batch' })).id;
};

const create = (client: OpenAI, fileId: string, metadata: Record<string, string> = {}) =>
  client.batches.create({
    input_file_id: fileId,
    endpoint: '/v1/chat/completions',
    completion_window: '24h',
    metadata,
  });

async function ended(client: OpenAI, id: string): Promise<OpenAI.Batch> {
  for (let looks = 0; looks < 500; looks += 1) {
    const batch = await client.batches.retrieve(id);
    if (!['validating', 'in_progress', 'cancelling'].includes(batch.status)) return batch;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error('the batch did not end');
}

const linesOf = async (client: OpenAI, fileId: string | undefined): Promise<Record<string, unknown>[]> =>
  (await (await client.files.content(fileId ?? '')).text())
    .trim()
    .split('\n')
    .map((text) => JSON.parse(text) as Record<string, unknown>);

describe('batches of the rehearsal', () => {
  test('upload, create, list, fetch, delete', () =>
    rehearsing(async (rehearsal) => {
      const client = clientOf(rehearsal);
      const fileId = await upload(client, [line('a'), '', line('b')]);
      expect(await (await client.files.content(fileId)).text()).toBe([line('a'), '', line('b')].join('\n'));
      const { id } = await create(client, fileId, { part: 'p' });
      const batch = await ended(client, id);
      expect(batch).toMatchObject({
        status: 'completed',
        input_file_id: fileId,
        metadata: { part: 'p' },
        request_counts: { total: 2, completed: 2, failed: 0 },
        error_file_id: null,
      });
      const results = await linesOf(client, batch.output_file_id);
      expect(results.map((result) => result['custom_id'])).toEqual(['a', 'b']);
      expect(rehearsal.stats()).toMatchObject({ requests: 2, answered: 2, in_flight: 0 });
      await create(client, fileId);
      const listed: string[] = [];
      for await (const each of client.batches.list({ limit: 1 })) listed.push(each.id);
      expect(listed).toEqual(['batch_rehearsal_2', id]);
      await ended(client, 'batch_rehearsal_2');
      expect(await client.files.delete(fileId)).toMatchObject({ deleted: true });
      await expect(client.files.content(fileId)).rejects.toMatchObject({ status: 404 });
    }));

  test.each([
    ['no requests', [''], 'empty_file'],
    ['a line that is none', ['{"custom_id": 1}'], 'invalid_json_line'],
    ['another route', [line('a').replace('chat/completions', 'embeddings')], 'mismatched_url'],
    ['an id twice', [line('a'), line('a', 'b')], 'duplicate_custom_id'],
    ['more than it takes', [line('a'), line('b'), line('c'), line('d')], 'too_many_tasks'],
  ])('%s fails the validation', (_what, lines, code) =>
    rehearsing(
      async (rehearsal) => {
        const client = clientOf(rehearsal);
        const { id } = await create(client, await upload(client, lines));
        expect(await ended(client, id)).toMatchObject({ status: 'failed', errors: { data: [{ code }] } });
        expect(rehearsal.stats().requests).toBe(0);
      },
      { batch: { requests_max: 3 } },
    ),
  );

  test('errors of requests stand in a file of their own, drawn anew in each batch', () =>
    rehearsing(
      async (rehearsal) => {
        const client = clientOf(rehearsal);
        const ids = Array.from({ length: 60 }, (_, index) => `id-${index}`);
        const fileId = await upload(
          client,
          ids.map((id) => line(id)),
        );
        const failed: unknown[][] = [];
        for (let times = 0; times < 2; times += 1) {
          const batch = await ended(client, (await create(client, fileId)).id);
          const errors = await linesOf(client, batch.error_file_id);
          const answers = await linesOf(client, batch.output_file_id);
          expect(errors[0]).toMatchObject({ response: { status_code: 500 } });
          expect(answers.length + errors.length).toBe(60);
          failed.push(errors.map((error) => error['custom_id']));
        }
        expect(failed[0]?.length).toBeGreaterThan(5);
        expect(failed[1]).not.toEqual(failed[0]);
      },
      { batch: { request_error_rate: 0.3 } },
    ));

  test('its answers come evenly over its duration; a cancelled batch keeps what it has', () =>
    rehearsing(
      async (rehearsal) => {
        const client = clientOf(rehearsal);
        const ids = Array.from({ length: 40 }, (_, index) => line(`id-${index}`));
        const { id } = await create(client, await upload(client, ids));
        for (;;) {
          const { request_counts: counts, status } = await client.batches.retrieve(id);
          expect(['validating', 'in_progress']).toContain(status);
          if ((counts?.completed ?? 0) > 4) break;
        }
        await client.batches.cancel(id);
        const batch = await ended(client, id);
        expect(batch.status).toBe('cancelled');
        await expect(client.batches.cancel(id)).rejects.toMatchObject({ status: 409 });
        const done = (await linesOf(client, batch.output_file_id)).length;
        expect(done).toBe(rehearsal.stats().answered);
        expect(done).toBeLessThan(40);
      },
      { batch: { duration_ms: 2_000 } },
    ));

  test('files and batches are bounded: the oldest that nobody needs are forgotten', () =>
    rehearsing(
      async (rehearsal) => {
        const client = clientOf(rehearsal);
        const text = 'x'.repeat(2_000);
        const first = await upload(client, [text]);
        const second = await upload(client, [text]);
        const third = await upload(client, [text]);
        await expect(client.files.content(first)).rejects.toMatchObject({ status: 404 });
        await client.files.content(second);
        await expect(upload(client, ['x'.repeat(6_000)])).rejects.toMatchObject({ status: 413 });
        for (const id of [second, third]) await client.files.delete(id);
        const fileId = await upload(client, [line('a')]);
        rehearsal.setOptions({ batch: { duration_ms: 60_000 } });
        await create(client, fileId);
        await expect(client.files.delete(fileId)).resolves.toMatchObject({ deleted: false });
        await create(client, fileId);
        await expect(create(client, fileId)).rejects.toMatchObject({ status: 429 });
      },
      { batch: { files_bytes_max: 5_000, batches_max: 2 } },
    ));

  test('what it does not have, and what is not asked well, is said', () =>
    rehearsing(async (rehearsal) => {
      const client = clientOf(rehearsal);
      await expect(client.batches.retrieve('batch_x')).rejects.toMatchObject({ status: 404 });
      await expect(create(client, 'file-x')).rejects.toMatchObject({ status: 400, param: 'input_file_id' });
      expect((await call(rehearsal.url, '/v1/files', 'no form')).status).toBe(400);
      expect((await call(rehearsal.url, '/v1/batches', '[]')).status).toBe(400);
      rehearsal.setOptions({ batch: { is_supported: false } });
      await expect(upload(client, [line('a')])).rejects.toMatchObject({ status: 404 });
    }));

  test('it ends with a batch under way', async () => {
    const rehearsal = await startRehearsal({ batch: { duration_ms: 60_000 } });
    const client = clientOf(rehearsal);
    await create(client, await upload(client, [line('a'), line('b')]));
    await rehearsal.close();
    await expect(client.batches.list()).rejects.toThrow('Connection error');
  });
});
