import { describe, expect, it } from 'vitest';
import { documentPassages, readableStem } from '../../../src/retrieval/passages.ts';

const chunking = { size: 120, overlap: 20 };
const body = (n: number): string =>
  Array.from({ length: n }, (_, i) => `Sentence ${i} tells something about the market.`).join(' ');
const RULES = `# Market Rules\n\n${body(2)}\n\n## Opening *hours*\n\n${body(3)}\n\n## Prices\n\n${body(2)}\n`;

describe('passages', () => {
  it('are exactly the text between their offsets', () => {
    for (const passage of documentPassages('a/rules.md', RULES, chunking)) {
      expect(RULES.slice(passage.charStart, passage.charEnd)).toBe(passage.text);
      expect(passage.source).toBe('a/rules.md');
    }
  });

  it('F12 are named by title and section, never by path or extension', () => {
    const names = documentPassages('secret_folder/market-rules.md', RULES, chunking).map(
      ({ descriptor }) => descriptor,
    );
    expect(names[0]).toBe('Market Rules');
    expect(names).toContain('Market Rules › Opening hours');
    expect(names).toContain('Market Rules › Opening hours (part 2)');
    expect(names).toContain('Market Rules › Prices');
    expect(new Set(names).size).toBe(names.length);
    for (const name of names) expect(name).not.toMatch(/secret|\.md|market-rules/);
  });

  it.each([
    ['x/market-rules_2024.md', 'Market rules 2024'],
    ['Prix.du.marché.PDF', 'Prix du marché'],
    ['السوق.txt', 'السوق'],
    ['---.txt', 'Document'],
  ])('F12 name a document without headings by its readable stem: %s', (source, title) => {
    expect(readableStem(source)).toBe(title);
    expect(documentPassages(source, 'Plain text.', chunking)[0]?.descriptor).toBe(title);
  });

  it('take no heading out of code, lists and front matter', () => {
    const text =
      '---\ntitle: "The Guide"\nlevel: 1\n---\n```\n# not a heading\n```\n- item\n---\nUnderlined\n---\n\nText.';
    expect(documentPassages('x.md', text, chunking).map(({ descriptor }) => descriptor)[0]).toMatch(
      /^The Guide/,
    );
    expect(documentPassages('x.md', '```\n# no\n```\ntext', chunking)[0]?.descriptor).toBe('X');
    expect(documentPassages('x.md', '# rules.md\n\ntext', chunking)[0]?.descriptor).toBe('Rules');
  });

  it('F3 keep their ids when other parts of the document change', () => {
    const before = documentPassages('r.md', RULES, chunking);
    const after = documentPassages('r.md', RULES.replace('## Opening', `${body(4)}\n\n## Opening`), chunking);
    const kept = new Set(after.map(({ id }) => id));
    const prices = before.filter(({ descriptor }) => /Opening|Prices/.test(descriptor));
    expect(prices.length).toBeGreaterThan(2);
    for (const { id } of prices) expect(kept).toContain(id);
  });

  it('have different ids in different documents and for repeated text', () => {
    const repeated = documentPassages('r.md', '# A\n\nsame words\n\n# A\n\nsame words', {
      size: 17,
      overlap: 0,
    });
    expect(new Set(repeated.map(({ id }) => id)).size).toBe(repeated.length);
    expect(documentPassages('a.txt', 'x', chunking)[0]?.id).not.toBe(
      documentPassages('b.txt', 'x', chunking)[0]?.id,
    );
  });

  it('are none for white space', () => {
    expect(documentPassages('a.md', ' \n\u2028\t ', chunking)).toEqual([]);
  });
});
