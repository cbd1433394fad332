import * as fc from 'fast-check';
import { expect, it } from 'vitest';
import { fromStoredText, toStoredText } from '../../../src/store/stored-text.ts';

const utf16 = fc.string({
  unit: fc.integer({ min: 0, max: 0xffff }).map((code) => String.fromCharCode(code)),
});

it('A6: every string can be stored and comes back as it was', () => {
  const few = fc.string({ unit: fc.constantFrom('\u0001', '\0', '\ud800', '\udc00', '"', '\\', 'a') });
  fc.assert(
    fc.property(fc.oneof(utf16, few), (text) => {
      const stored = toStoredText(text);
      expect(stored.isWellFormed() && !stored.includes('\0')).toBe(true);
      expect(fromStoredText(stored)).toBe(text);
    }),
  );
});

it('leaves ordinary text readable', () => {
  expect(toStoredText('Où est “la” 圖書館?\n')).toBe('Où est “la” 圖書館?\n');
});
