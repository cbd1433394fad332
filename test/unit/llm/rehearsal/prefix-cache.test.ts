import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BoundedMap } from '../../../../src/llm/rehearsal/bounded-map.ts';
import { PrefixCache } from '../../../../src/llm/rehearsal/prefix-cache.ts';
import { chat, questionMessages, rehearsing } from './rehearsed-calls.ts';

const usageOf = (reply: { body: Record<string, unknown> }) =>
  reply.body['usage'] as { prompt_tokens: number; prompt_tokens_details: { cached_tokens: number } };

describe('prefix cache', () => {
  it('knows the longest prefix that it has seen, in whole blocks of 16 tokens', () => {
    const blocks = fc.array(fc.constantFrom('a', 'b', 'c'), { maxLength: 12 });
    fc.assert(
      fc.property(fc.array(fc.tuple(blocks, fc.nat(63)), { maxLength: 12 }), (prompts) => {
        const cache = new PrefixCache(() => 10_000);
        const seen: string[][] = [];
        for (const [letters, rest] of prompts) {
          const prompt = letters.map((letter) => letter.repeat(64)).join('') + 'z'.repeat(rest);
          const shared = Math.max(0, ...seen.map((other) => sharedPrefix(other, letters)));
          const ceiling = Math.floor((Math.ceil(prompt.length / 4) - 1) / 16);
          expect(cache.account('m', prompt)).toBe(16 * Math.max(0, Math.min(shared, ceiling)));
          seen.push(letters);
        }
      }),
    );
  });

  it('keeps models apart and can be turned off', () => {
    const cache = new PrefixCache(() => 100);
    const prompt = 'x'.repeat(1000);
    expect([cache.account('a', prompt), cache.account('b', prompt), cache.account('a', prompt)]).toEqual([
      0, 0, 240,
    ]);
    const off = new PrefixCache(() => 0);
    expect([off.account('a', prompt), off.account('a', prompt)]).toEqual([0, 0]);
  });

  it('is bounded, and forgets first what was not used lately', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 20 }),
        fc.array(fc.nat(40), { maxLength: 200 }),
        (limit, keys) => {
          const map = new BoundedMap<number, number>(() => limit);
          for (const key of keys) {
            map.set(key, key);
            expect(map.get(key)).toBe(map.size > limit / 2 || map.get(key) !== undefined ? key : undefined);
            expect(map.size).toBeLessThanOrEqual(limit);
          }
          const lately = new Set(keys.toReversed().slice(0, Math.floor(limit / 2)));
          for (const key of lately) expect(map.get(key)).toBe(key);
        },
      ),
    );
  });

  it('reports cached tokens as a real server does: turns of a conversation share their start', () =>
    rehearsing(async ({ url, stats }) => {
      const first = usageOf(await chat(url, { messages: questionMessages() }));
      expect(first.prompt_tokens_details.cached_tokens).toBe(0);
      const other = usageOf(await chat(url, { messages: questionMessages({ userPersona: 'Another one.' }) }));
      const { cached_tokens: cached } = other.prompt_tokens_details;
      expect(cached).toBeGreaterThan(500);
      expect(cached).toBeLessThan(other.prompt_tokens);
      expect(cached % 16).toBe(0);
      expect(stats()).toMatchObject({
        cached_tokens: cached,
        prompt_tokens: first.prompt_tokens + other.prompt_tokens,
      });
    }));
});

function sharedPrefix(a: readonly string[], b: readonly string[]): number {
  const end = a.findIndex((letter, index) => letter !== b[index]);
  return end === -1 ? Math.min(a.length, b.length) : end;
}
