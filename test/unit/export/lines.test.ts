import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { type FileLine, fileLines } from '../../../src/export/lines.ts';

test('A13 lines end at \\n only, wherever a read ends; starts and ends are byte positions', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'dlgforge-lines-'));
  const path = join(folder, 'lines');
  const unit = fc.constantFrom('a', '\n', '\r', '\u2028', '\u0085', 'é', '😀', 'x'.repeat(100_000));
  try {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit, maxLength: 12 }), async (text) => {
        await writeFile(path, text);
        const found: FileLine[] = [];
        for await (const line of fileLines(path)) found.push(line);
        const expected = text.split('\n');
        if (expected.at(-1) === '') expected.pop();
        expect(found.map((line) => line.text)).toEqual(expected);
        const bytes = Buffer.from(text);
        for (const [at, line] of found.entries()) {
          expect(line.number).toBe(at + 1);
          expect(bytes.subarray(line.start, line.end).toString().replace(/\n$/, '')).toBe(line.text);
        }
      }),
      { numRuns: 60 },
    );
  } finally {
    await rm(folder, { recursive: true });
  }
});
