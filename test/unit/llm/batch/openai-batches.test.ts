/** The batch port against the real rehearsal server, with what networks do in between. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { silentLogger } from '../../../../src/kernel/logger.ts';
import { createBatchPort } from '../../../../src/llm/batch/openai-batches.ts';
import { type Rehearsal, startRehearsal } from '../../../../src/llm/rehearsal/server.ts';
import type { RoleSettings } from '../../../../src/llm/settings.ts';
import type { BatchForm, BatchPort, BatchResult, BatchState } from '../../../../src/ports/batch.ts';
import type { CapabilityMemory, ResponseFormatKind } from '../../../../src/ports/model.ts';
import { type BatchProxy, startBatchProxy } from '../../../support/batch-proxy.ts';
import { endpointAt, never, request, roleSettings } from '../fixtures.ts';

let rehearsal: Rehearsal;
let proxy: BatchProxy;
let known: Map<string, ResponseFormatKind>;
const ports: BatchPort[] = [];
beforeEach(async () => {
  rehearsal = await startRehearsal({ seed: 9 });
  proxy = await startBatchProxy(rehearsal.url);
  known = new Map();
});
afterEach(async () => {
  for (const port of ports.splice(0)) await port.close();
  await proxy[Symbol.asyncDispose]();
  await rehearsal.close();
});

function portAt(url: string, patienceMs = 5_000, settings: Partial<RoleSettings> = {}): BatchPort {
  const capabilities: CapabilityMemory = {
    load: async () => known,
    remember: async (key, kind) => void known.set(key, kind),
  };
  const port = createBatchPort({
    endpoint: endpointAt(url, { key: () => 'the-secret-key' }),
    settings: roleSettings(settings),
    capabilities,
    logger: silentLogger,
    patienceMs,
  });
  ports.push(port);
  return port;
}

const asks = (text: string) => request('judge', { messages: [{ role: 'user', content: text }] });

interface Submitted {
  readonly form: BatchForm;
  readonly order: { readonly part: string; readonly fileId: string };
  readonly state: BatchState;
}

async function submit(port: BatchPort, texts: readonly string[]): Promise<Submitted> {
  const form = await port.form();
  const lines = texts.map((text, index) => port.line(`id-${index}`, asks(text), form).bytes);
  const order = { part: 'part-1', fileId: await port.upload('part-1.jsonl', lines, never) };
  return { form, order, state: await port.create(order, never) };
}

async function ended(port: BatchPort, id: string): Promise<BatchState> {
  for (let looks = 0; looks < 500; looks += 1) {
    const state = await port.retrieve(id, never);
    if (state?.status !== 'open') return state as BatchState;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error('the batch did not end');
}

async function resultsOf(port: BatchPort, state: BatchState, form: BatchForm): Promise<BatchResult[]> {
  const all: BatchResult[] = [];
  for (const file of state.resultFiles)
    for await (const result of port.results(file, form, never)) all.push(result);
  return all;
}

describe('batches', () => {
  test('the answers of a batch are those of single calls', async () => {
    const port = portAt(proxy.url);
    const texts = ['one', 'two \u2028 lines', 'lone \ud83d surrogate'];
    const { form, state } = await submit(port, texts);
    expect(state).toMatchObject({ status: 'open' });
    const end = await ended(port, state.id);
    expect(end).toMatchObject({ status: 'completed', total: 3, done: 3, errors: '' });
    const results = await resultsOf(port, end, form);
    expect(results.map((result) => result.type)).toEqual(['answered', 'answered', 'answered']);
    for (const [index, text] of texts.entries()) {
      const result = results[index];
      if (result?.type !== 'answered') throw new Error('all are answered');
      const line = JSON.parse(Buffer.from(port.line('x', asks(text), form).bytes).toString()) as {
        body: object;
      };
      const single = await fetch(`${rehearsal.url}/v1/chat/completions`, {
        method: 'POST',
        body: JSON.stringify(line.body),
      });
      const body = (await single.json()) as { usage: object };
      expect({ ...(result.answer.raw as object), usage: null }).toEqual({ ...body, usage: null });
      expect(result).toMatchObject({ customId: `id-${index}`, answer: { endpoint: 'one', rehearsal: true } });
      expect(result.answer.usage.promptTokens).toBeGreaterThan(0);
    }
    for (const file of end.resultFiles) await port.deleteFile(file);
    expect(await resultsOf(port, end, form)).toEqual([]);
  });

  test('trouble that passes is waited out, and Retry-After is obeyed', async () => {
    const port = portAt(proxy.url);
    proxy.rule = ({ call, count }) => {
      if (count > 1) return 'pass';
      if (call === 'POST /v1/files') return { status: 503 };
      if (call === 'GET /v1/batches/<id>') return { status: 200, body: '{"id":"no batch"}' };
      if (call.endsWith('/content')) return { status: 429, headers: { 'retry-after-ms': '300' } };
      return 'pass';
    };
    const { form, state } = await submit(port, ['one']);
    const end = await ended(port, state.id);
    const startedMs = performance.now();
    expect(await resultsOf(port, end, form)).toMatchObject([{ type: 'answered' }]);
    expect(performance.now() - startedMs).toBeGreaterThan(295);
    expect(proxy.calls.filter((call) => call === 'POST /v1/files').length).toBe(2);
    expect(proxy.calls.filter((call) => call === 'POST /v1/batches').length).toBe(1);
  });

  test('a batch whose creation was answered to nobody is found, and not created again', async () => {
    const port = portAt(proxy.url);
    proxy.rule = ({ call, count }) => (call === 'POST /v1/batches' && count === 1 ? 'lose' : 'pass');
    const { order, state } = await submit(port, ['one']);
    expect(proxy.calls.filter((call) => call === 'POST /v1/batches').length).toBe(1);
    await ended(port, state.id);
    expect(rehearsal.stats().requests).toBe(1);
    expect((await port.find({ part: 'no part', fileId: order.fileId }, never))?.id).toBe(state.id);
    expect((await port.find({ part: order.part, fileId: 'no file' }, never))?.id).toBe(state.id);
    expect(await port.find({ part: 'no part', fileId: 'no file' }, never)).toBeNull();
  });

  test('answers that break off are fetched again from where they were, a few times', async () => {
    const port = portAt(proxy.url);
    const texts = Array.from({ length: 40 }, (_, index) => `question ${index}`);
    const { form, state } = await submit(port, texts);
    const end = await ended(port, state.id);
    proxy.rule = ({ call, count }) => (call.endsWith('/content') && count <= 2 ? 'halve' : 'pass');
    const results = await resultsOf(port, end, form);
    expect(results.map((result) => 'customId' in result && result.customId)).toEqual(
      texts.map((_, index) => `id-${index}`),
    );
    proxy.rule = () => 'halve';
    await expect(resultsOf(port, end, form)).rejects.toMatchObject({ code: 'endpoint', retryable: true });
  });

  test('one of ours is found among more batches than a page has', async () => {
    const port = portAt(rehearsal.url);
    const { order, state } = await submit(port, ['one']);
    for (let more = 0; more < 120; more += 1)
      await port.create({ part: `other-${more}`, fileId: order.fileId }, never);
    expect((await port.find({ part: 'part-1', fileId: 'no file' }, never))?.id).toBe(state.id);
  });

  test('patience ends, with the address and without the key', async () => {
    const port = portAt(proxy.url, 300);
    proxy.rule = () => ({ status: 500, body: '{"error":{"message":"the-secret-key is tired"}}' });
    const failed = port.upload('a.jsonl', [], never);
    await expect(failed).rejects.toMatchObject({ code: 'endpoint', retryable: true });
    await expect(failed).rejects.toThrow('*** is tired');
  });

  test.each([404, 405, 501])('HTTP %i means that there is no batch API, and that is said', async (status) => {
    const port = portAt(proxy.url);
    proxy.rule = () => ({ status });
    await expect(port.upload('a.jsonl', [], never)).rejects.toThrow(/no batch API.*Leave --batch out/);
    expect(await port.retrieve('batch_1', never)).toBeNull();
  });

  test('a key that is refused is an error at once', async () => {
    rehearsal.setOptions({ api_key: 'another key' });
    const failed = portAt(rehearsal.url).upload('a.jsonl', [], never);
    await expect(failed).rejects.toMatchObject({ code: 'credentials' });
  });

  test('a batch that expires has answers and errors; a cancelled one ends with what it has', async () => {
    const port = portAt(rehearsal.url);
    rehearsal.setOptions({ batch: { expiry_rate: 1, expires_after: 0.5 } });
    const first = await submit(port, ['a', 'b', 'c', 'd']);
    const end = await ended(port, first.state.id);
    expect(end).toMatchObject({ status: 'expired', done: 4 });
    const results = await resultsOf(port, end, first.form);
    expect(results.map(({ type }) => type)).toEqual(['answered', 'answered', 'failed', 'failed']);
    expect(results[3]).toMatchObject({
      customId: 'id-3',
      reason: expect.stringContaining('batch_expired') as string,
    });

    rehearsal.setOptions({ batch: { expiry_rate: 0, duration_ms: 60_000 } });
    const second = await submit(port, ['e', 'f']);
    await port.cancel(second.state.id, never);
    expect(await ended(port, second.state.id)).toMatchObject({ status: 'cancelled' });
    await port.cancel(second.state.id, never);
  });

  test('a batch that is refused says why', async () => {
    const port = portAt(rehearsal.url);
    const form = await port.form();
    const { bytes } = port.line('twice', asks('one'), form);
    const fileId = await port.upload('a.jsonl', [bytes, bytes], never);
    const { id } = await port.create({ part: 'p', fileId }, never);
    expect(await ended(port, id)).toMatchObject({
      status: 'failed',
      errors: 'line 2: The custom_id twice is there twice.',
      resultFiles: [],
    });
  });

  test('a format that is refused is weaker in the next batch, and remembered for single calls', async () => {
    const port = portAt(rehearsal.url);
    rehearsal.setOptions({ unsupported_response_formats: ['json_schema'] });
    const first = await submit(port, ['one', 'two']);
    const refused = await resultsOf(port, await ended(port, first.state.id), first.form);
    expect(refused.map(({ type }) => type)).toEqual(['failed', 'failed']);
    expect([...known.entries()]).toEqual([[`${rehearsal.url} m1`, 'json_object']]);
    const second = await submit(port, ['one']);
    expect(second.form.format).toBe('json_object');
    expect(await resultsOf(port, await ended(port, second.state.id), second.form)).toMatchObject([
      { type: 'answered' },
    ]);
    expect((await portAt(rehearsal.url).form()).format).toBe('json_object');
  });

  test('lines that say nothing, and errors of requests, are told apart', async () => {
    const port = portAt(proxy.url);
    const line = (id: string, status: number, body: unknown): string =>
      JSON.stringify({ custom_id: id, response: { status_code: status, body }, error: null });
    const lines = [
      'no JSON',
      '',
      '{"response":{}}',
      line('a', 500, { error: { message: 'the-secret-key' } }),
      line('b', 400, { error: { message: 'bad words', code: 'content_policy' } }),
      line('c', 404, { error: { message: 'no such model', code: 'model_not_found' } }),
      line('d', 200, { choices: [] }),
      line('e', 200, { choices: [{ message: { content: null, refusal: 'no' } }] }),
      JSON.stringify({ custom_id: 'f', response: null, error: { code: 'x', message: 'y' } }),
    ];
    proxy.rule = () => ({ status: 200, body: lines.join('\n') });
    const form = await port.form();
    const results: BatchResult[] = [];
    for await (const result of port.results('file-1', form, never)) results.push(result);
    expect(results.map((result) => [result.type, 'customId' in result ? result.customId : null])).toEqual([
      ['unreadable', null],
      ['unreadable', null],
      ['failed', 'a'],
      ['refused', 'b'],
      ['unusable', 'c'],
      ['failed', 'd'],
      ['refused', 'e'],
      ['failed', 'f'],
    ]);
    expect(JSON.stringify(results)).not.toContain('the-secret-key');
    expect(results.at(-1)).toMatchObject({ reason: 'x: y' });
  });
});
