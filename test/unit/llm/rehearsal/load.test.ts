import { describe, expect, it } from 'vitest';
import { drawLatency } from '../../../../src/llm/rehearsal/latency.ts';
import { parseRehearsalOptions } from '../../../../src/llm/rehearsal/options.ts';
import { chat, eventually, questionMessages, rehearsing } from './rehearsed-calls.ts';

const question = (index: number) => ({ messages: questionMessages({ userPersona: `Persona ${index}` }) });

describe('capacity', () => {
  it('serves no more than it allows, lets the others wait, and counts both', () =>
    rehearsing(
      async ({ url, stats, log }) => {
        const calls = Array.from({ length: 12 }, (_unused, index) => chat(url, question(index)));
        await eventually(() => stats().waiting === 9);
        expect(stats()).toMatchObject({ running: 3, in_flight: 12 });
        const replies = await Promise.all(calls);
        expect(replies.every((reply) => reply.status === 200)).toBe(true);
        expect(stats()).toMatchObject({ running: 0, waiting: 0, in_flight: 0, max_in_flight: 12 });
        const waits = log().map((entry) => (entry.elapsed_ms ?? 0) - (entry.service_ms ?? 0));
        expect(Math.max(...waits)).toBeGreaterThan(80);
      },
      { capacity: 3, latency: { mean_ms: 40 } },
    ));

  it('serves in the order of arrival', () =>
    rehearsing(
      async ({ url, stats, log }) => {
        const calls: Promise<unknown>[] = [];
        for (let index = 0; index < 6; index += 1) {
          calls.push(chat(url, question(index)));
          await eventually(() => stats().requests === index + 1);
        }
        await Promise.all(calls);
        const completed = log().filter((entry) => entry.event === 'completion');
        expect(completed.map((entry) => entry.seq)).toEqual([1, 2, 3, 4, 5, 6]);
      },
      { capacity: 1, latency: { mean_ms: 15 } },
    ));

  it('answers 429 instead, when told to', () =>
    rehearsing(
      async ({ url }) => {
        const replies = await Promise.all(
          Array.from({ length: 8 }, (_unused, index) => chat(url, question(index))),
        );
        expect(replies.filter((reply) => reply.status === 200)).toHaveLength(2);
        expect(replies.filter((reply) => reply.status === 429)).toHaveLength(6);
      },
      { capacity: 2, reject_over_capacity: true, latency: { mean_ms: 300 } },
    ));

  it('gives the place of a client that has gone to the next, also of one that was waiting', () =>
    rehearsing(
      async ({ url, stats, setOptions }) => {
        const impatient = new AbortController();
        const body = JSON.stringify({ model: 'm', ...question(0) });
        const gone = [0, 1].map(() =>
          fetch(`${url}/v1/chat/completions`, { method: 'POST', body, signal: impatient.signal }),
        );
        await eventually(() => stats().waiting === 1 && stats().running === 1);
        impatient.abort();
        await Promise.allSettled(gone);
        await eventually(() => stats().outcomes.client_gone === 2);
        expect(stats()).toMatchObject({ running: 0, waiting: 0, in_flight: 0, answered: 0 });
        setOptions({ latency: { mean_ms: 0 } });
        expect((await chat(url, question(1))).status).toBe(200);
      },
      { capacity: 1, latency: { mean_ms: 60_000 } },
    ));

  it('lets waiting requests in when it is raised', () =>
    rehearsing(
      async ({ url, stats, setOptions }) => {
        const calls = Array.from({ length: 4 }, (_unused, index) => chat(url, question(index)));
        await eventually(() => stats().waiting === 3);
        setOptions({ capacity: 4 });
        expect(stats()).toMatchObject({ running: 4, waiting: 0 });
        await Promise.all(calls);
      },
      { capacity: 1, latency: { mean_ms: 200 } },
    ));
});

describe('time', () => {
  it('tokens_per_second spreads a stream and delays a whole answer', () =>
    rehearsing(
      async ({ url, log }) => {
        const start = performance.now();
        const reply = await chat(url, question(1));
        const { completion_tokens: tokens } = reply.body['usage'] as { completion_tokens: number };
        expect(performance.now() - start).toBeGreaterThanOrEqual((tokens / 1000) * 1000 - 2);
        expect(log().at(-1)?.service_ms).toBeCloseTo(tokens, 0);

        const streamed = await fetch(`${url}/v1/chat/completions`, {
          method: 'POST',
          body: JSON.stringify({ model: 'm', ...question(1), stream: true }),
        });
        let reads = 0;
        for await (const _chunk of streamed.body ?? []) reads += 1;
        expect(reads).toBeGreaterThan(5);
      },
      { tokens_per_second: 1000 },
    ));

  it('draws lognormal latency with the mean that is asked for, by role, with stragglers', () => {
    const { latency } = parseRehearsalOptions({
      latency: {
        distribution: 'lognormal',
        mean_ms: 100,
        sigma: 0.8,
        per_role: { user: 40, assistant: 200, assistant_tools: 10 },
      },
    });
    const mean = (of: Parameters<typeof drawLatency>[1], straggling = latency): number => {
      const draws = Array.from({ length: 4000 }, (_unused, index) =>
        drawLatency(straggling, of, `key-${index}`, 1),
      );
      return draws.reduce((sum, value) => sum + value, 0) / draws.length;
    };
    expect(mean('judge') / 100).toBeCloseTo(1, 1);
    expect(mean('user') / 40).toBeCloseTo(1, 1);
    expect(mean('assistant') / 200).toBeCloseTo(1, 1);
    expect(mean('assistant_tools') / 10).toBeCloseTo(1, 1);
    const straggling = {
      ...latency,
      distribution: 'fixed' as const,
      straggler_rate: 0.1,
      straggler_factor: 11,
    };
    expect(mean('general', straggling) / 200).toBeCloseTo(1, 1);
  });
});
