import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { chunkText } from '../../../src/retrieval/chunking.ts';
import { markdownOutline } from '../../../src/retrieval/outline.ts';

const fragment = fc.constantFrom(
  'word',
  ' ',
  '\n',
  '\n\n',
  '. ',
  '。',
  '😀',
  'سوق',
  '# H\n',
  '\n## Two\n',
  'a'.repeat(30),
  '\t',
  '\u2028',
  '\u0085',
  'é',
  '! ',
);
const anyText = fc.oneof(
  fc.array(fragment, { maxLength: 60 }).map((parts) => parts.join('')),
  fc.string({ unit: 'binary', maxLength: 200 }).map((text) => text.toWellFormed()),
);
const chunking = fc
  .integer({ min: 1, max: 60 })
  .chain((size) => fc.record({ size: fc.constant(size), overlap: fc.integer({ min: 0, max: size - 1 }) }));
const headingsOf = (text: string): number[] => markdownOutline(text).headings.map(({ start }) => start);
const cut = (text: string, parameters: { size: number; overlap: number }) =>
  chunkText(text, parameters, headingsOf(text));

describe('chunking', () => {
  it('F5 covers every character that is not white space, for every size and overlap, and ends', () => {
    fc.assert(
      fc.property(anyText, chunking, (text, parameters) => {
        const covered = new Uint8Array(text.length);
        for (const { start, end } of cut(text, parameters)) covered.fill(1, start, end);
        for (let i = 0; i < text.length; i += 1) if (/\S/.test(text.charAt(i))) expect(covered[i]).toBe(1);
      }),
      { numRuns: 500 },
    );
  });

  it('keeps to size and overlap, in order, trimmed, and never inside a surrogate pair', () => {
    fc.assert(
      fc.property(anyText, chunking, (text, parameters) => {
        const chunks = cut(text, parameters);
        for (const [i, { start, end }] of chunks.entries()) {
          const passage = text.slice(start, end);
          expect(passage).toBe(passage.trim());
          expect(passage).not.toBe('');
          expect(passage.isWellFormed()).toBe(true);
          expect(passage.length).toBeLessThanOrEqual(Math.max(parameters.size, 2));
          if (passage.length > parameters.size) expect(Array.from(passage)).toHaveLength(1);
          const before = chunks[i - 1];
          if (before) {
            expect(start).toBeGreaterThan(before.start);
            expect(end).toBeGreaterThan(before.end);
            expect(before.end - start).toBeLessThanOrEqual(parameters.overlap);
          }
        }
      }),
      { numRuns: 500 },
    );
  });

  it('F5 takes an overlap of 0 as 0', () => {
    const text = 'One two three. Four five six. Seven eight nine. Ten eleven twelve.';
    const chunks = chunkText(text, { size: 20, overlap: 0 });
    for (const [i, chunk] of chunks.entries())
      expect(chunk.start).toBeGreaterThanOrEqual(chunks[i - 1]?.end ?? 0);
    expect(chunks.map(({ start, end }) => text.slice(start, end))).toEqual([
      'One two three.',
      'Four five six.',
      'Seven eight nine.',
      'Ten eleven twelve.',
    ]);
  });

  it('F5 ends where 0.1.0 went on for ever: a size below its default overlap', () => {
    const text = 'market '.repeat(90).slice(0, 600);
    expect(chunkText(text, { size: 100, overlap: 99 }).length).toBeLessThan(600);
  });

  it('repeats whole words of the chunk before', () => {
    const text = 'alpha beta gamma delta epsilon zeta eta theta iota kappa';
    const chunks = chunkText(text, { size: 30, overlap: 12 }).map(({ start, end }) => text.slice(start, end));
    expect(chunks).toEqual([
      'alpha beta gamma delta epsilon',
      'epsilon zeta eta theta iota',
      'theta iota kappa',
    ]);
  });

  it('prefers headings, then paragraphs, then sentences', () => {
    const text =
      '# One\n\nFirst part here, quite long.\n\n# Two\n\nSecond part. It has two sentences.\n\nAnd a paragraph of its own.';
    const passages = chunkText(text, { size: 60, overlap: 25 }, headingsOf(text)).map(({ start, end }) =>
      text.slice(start, end),
    );
    expect(passages).toEqual([
      '# One\n\nFirst part here, quite long.',
      '# Two\n\nSecond part. It has two sentences.',
      'It has two sentences.\n\nAnd a paragraph of its own.',
    ]);
  });

  it('cuts a long word where the size ends', () => {
    expect(chunkText('x'.repeat(25), { size: 10, overlap: 0 })).toEqual([
      { start: 0, end: 10 },
      { start: 10, end: 20 },
      { start: 20, end: 25 },
    ]);
  });

  it('is linear enough for a large document', () => {
    const text = 'Sentence number one is here. Another one follows it.\n\n'.repeat(20_000);
    const started = performance.now();
    expect(chunkText(text, { size: 750, overlap: 150 }).length).toBeGreaterThan(1_000);
    expect(performance.now() - started).toBeLessThan(2_000);
  });
});
