import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseOutput, questionOutput } from '../../../../src/dialogue/outputs.ts';
import { type Rehearsal, startRehearsal } from '../../../../src/llm/rehearsal/server.ts';
import { QUESTION_FORMAT, questionMessages } from './rehearsed-calls.ts';

const KEY = 'rehearsal-test-key';
let rehearsal: Rehearsal;
let client: OpenAI;
beforeAll(async () => {
  rehearsal = await startRehearsal({ api_key: KEY, models: ['small', 'large'] });
  client = new OpenAI({ baseURL: `${rehearsal.url}/v1`, apiKey: KEY, maxRetries: 0 });
});
afterAll(() => rehearsal.close());

const story =
  'The lighthouse was built of granite. Its lamp burned whale oil for sixty years. What did the lamp burn?';

const weather: OpenAI.Chat.Completions.ChatCompletionTool = {
  type: 'function',
  function: {
    name: 'get_weather',
    parameters: {
      type: 'object',
      properties: { city: { type: 'string' }, unit: { type: 'string', enum: ['celsius', 'fahrenheit'] } },
      required: ['city', 'unit'],
    },
  },
};

describe('the openai SDK', () => {
  it('gets a plain answer, extracted from the request and marked as rehearsal', async () => {
    const completion = await client.chat.completions.create({
      model: 'small',
      messages: [{ role: 'user', content: story }],
    });
    expect(completion.choices[0]?.message.content).toContain('Its lamp burned whale oil for sixty years.');
    expect(completion).toMatchObject({
      object: 'chat.completion',
      model: 'small',
      system_fingerprint: 'rehearsal',
    });
    expect(completion.usage?.total_tokens).toBe(
      (completion.usage?.prompt_tokens ?? 0) + (completion.usage?.completion_tokens ?? 0),
    );
  });

  it('runs a tool loop with a tool of its own', async () => {
    const messages: OpenAI.Chat.Completions.ChatCompletionMessageParam[] = [
      { role: 'user', content: 'How is the weather in Lisbon?' },
    ];
    const first = await client.chat.completions.create({ model: 'small', messages, tools: [weather] });
    const call = first.choices[0]?.message.tool_calls?.[0];
    expect(first.choices[0]?.finish_reason).toBe('tool_calls');
    if (first.choices[0] === undefined || call?.type !== 'function') throw new Error('no tool call');
    expect(JSON.parse(call.function.arguments)).toMatchObject({
      city: expect.stringContaining('Lisbon') as unknown,
      unit: expect.stringMatching(/^(?:celsius|fahrenheit)$/u) as unknown,
    });
    messages.push(first.choices[0].message, {
      role: 'tool',
      tool_call_id: call.id,
      content: JSON.stringify({
        results: [{ source: 'station', content: 'Lisbon has 22 degrees and a light wind.' }],
      }),
    });
    const second = await client.chat.completions.create({ model: 'small', messages, tools: [weather] });
    expect(second.choices[0]?.message.content).toBe('Lisbon has 22 degrees and a light wind.');
  });

  it('gets structured output for a schema of its own', async () => {
    const completion = await client.chat.completions.parse({
      model: 'large',
      messages: [{ role: 'user', content: story }],
      response_format: {
        type: 'json_schema',
        json_schema: {
          name: 'building',
          strict: true,
          schema: {
            type: 'object',
            properties: {
              material: { type: 'string', enum: ['granite', 'brick'] },
              years: { type: 'integer', minimum: 10, maximum: 20 },
              notes: { type: 'array', items: { type: 'string' }, minItems: 2 },
            },
            required: ['material', 'years', 'notes'],
            additionalProperties: false,
          },
        },
      },
    });
    const building = completion.choices[0]?.message.parsed as Record<string, unknown>;
    expect(['granite', 'brick']).toContain(building['material']);
    expect(building['years']).toBeGreaterThanOrEqual(10);
    expect(building['notes']).toHaveLength(2);
  });

  it('streams the same content as it answers whole, with usage at the end', async () => {
    const body = {
      model: 'small',
      messages: questionMessages() as unknown as OpenAI.Chat.Completions.ChatCompletionMessageParam[],
      response_format: QUESTION_FORMAT as OpenAI.ResponseFormatJSONSchema,
    };
    const whole = await client.chat.completions.create(body);
    const stream = await client.chat.completions.create({
      ...body,
      stream: true,
      stream_options: { include_usage: true },
    });
    let content = '';
    let finishReason: string | null = null;
    let usage: OpenAI.CompletionUsage | null | undefined;
    let chunks = 0;
    for await (const chunk of stream) {
      chunks += 1;
      content += chunk.choices[0]?.delta.content ?? '';
      finishReason = chunk.choices[0]?.finish_reason ?? finishReason;
      usage = chunk.usage ?? usage;
    }
    expect(content).toBe(whole.choices[0]?.message.content);
    expect(parseOutput(questionOutput.schema, content).ok).toBe(true);
    expect(chunks).toBeGreaterThan(10);
    expect(finishReason).toBe('stop');
    expect(usage?.completion_tokens).toBe(whole.usage?.completion_tokens);
  });

  it('streams tool calls piece by piece', async () => {
    const stream = client.chat.completions.stream({
      model: 'small',
      messages: [{ role: 'user', content: 'How is the weather in Lisbon, Porto, Faro and the other towns?' }],
      tools: [weather],
      tool_choice: 'required',
    });
    const final = await stream.finalChatCompletion();
    const call = final.choices[0]?.message.tool_calls?.[0];
    if (call?.type !== 'function') throw new Error('no tool call');
    expect(JSON.parse(call.function.arguments)).toHaveProperty('city');
    expect(final.choices[0]?.finish_reason).toBe('tool_calls');
  });

  it('gets embeddings, which it asks for in base64, and in floats when told to', async () => {
    const input = ['The hive is damp.', 'A damp hive in winter.', 'Interest rates rose in March.'];
    const packed = await client.embeddings.create({ model: 'small', input });
    const plain = await client.embeddings.create({
      model: 'small',
      input,
      encoding_format: 'float',
      dimensions: 256,
    });
    const vectors = packed.data.map((item) => item.embedding);
    expect(vectors.map((vector) => vector.length)).toEqual([256, 256, 256]);
    plain.data.forEach((item, index) => expect(vectors[index]).toEqual(item.embedding));
    const dot = (a: number[] = [], b: number[] = []): number =>
      a.reduce((sum, x, i) => sum + x * (b[i] ?? 0), 0);
    expect(dot(vectors[0], vectors[0])).toBeCloseTo(1, 5);
    expect(dot(vectors[0], vectors[1])).toBeGreaterThan(dot(vectors[0], vectors[2]) + 0.2);
  });

  it('lists the models and is told when one does not exist', async () => {
    const ids: string[] = [];
    for await (const model of client.models.list()) ids.push(model.id);
    expect(ids).toEqual(['small', 'large']);
    const messages = [{ role: 'user' as const, content: 'Hello there.' }];
    await expect(client.chat.completions.create({ model: 'huge', messages })).rejects.toMatchObject({
      status: 404,
      code: 'model_not_found',
      param: 'model',
    });
  });

  it('is refused with a wrong key', async () => {
    const stranger = new OpenAI({ baseURL: rehearsal.url, apiKey: 'another', maxRetries: 0 });
    await expect(stranger.models.list()).rejects.toMatchObject({ status: 401, code: 'invalid_api_key' });
  });
});
