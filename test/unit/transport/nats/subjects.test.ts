import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { readBack, subjectsOf, subjectWord, wordText } from '../../../../src/transport/nats/subjects.ts';

const WORD = /^[^\s.*>]+$/;
const text = fc.string({ unit: 'grapheme', minLength: 1 });

test('any text is one word of a subject, and comes back', () => {
  fc.assert(
    fc.property(text, (name) => {
      expect(subjectWord(name)).toMatch(WORD);
      expect(wordText(subjectWord(name))).toBe(name.toWellFormed());
    }),
  );
});

test('different names never share a subject', () => {
  fc.assert(
    fc.property(text, text, text, text, (a, b, c, d) => {
      fc.pre(a !== b && a.toWellFormed() !== b.toWellFormed());
      const subjects = subjectsOf('n');
      expect(subjects.mailbox(a)).not.toBe(subjects.mailbox(b));
      expect(subjects.workItem(a, 0, 1)).not.toBe(subjects.workItem(b, 0, 1));
      expect(subjects.workConsumer(a)).not.toBe(subjects.workConsumer(b));
      expect(readBack(subjectsOf(a).back(c, d))).toEqual({ from: c.toWellFormed(), to: d.toWellFormed() });
      expect(subjectsOf(a).workStream).not.toBe(subjectsOf(b).workStream);
    }),
  );
});

test('a subject that is no way back names nobody', () => {
  for (const subject of [
    '',
    'x',
    '_INBOX.a.b',
    'dlgforge.n.back.a',
    'dlgforge.n.back.%.b',
    'dlgforge.n.node.a.b',
  ])
    expect(readBack(subject)).toBeNull();
});
