import { expect, test } from 'vitest';
import { answersFromJournal } from '../../../src/export/journal-answers.ts';
import { epoch, persistenceId } from '../../../src/kernel/ids.ts';
import type { StoredEvent } from '../../../src/ports/store.ts';
import { sampleCommit } from './sample-dataset.ts';

const events: StoredEvent[] = [
  { seq: 1, atMs: 0, epoch: epoch(1), event: { type: 'Started' } },
  { seq: 2, atMs: 0, epoch: epoch(1), event: { type: 'ModelAnswered', answer: { raw: { id: 'a' } } } },
  { seq: 3, atMs: 0, epoch: epoch(1), event: { type: 'ModelAnswered', answer: { raw: { id: 'b' } } } },
  { seq: 4, atMs: 0, epoch: epoch(1), event: { type: 'LateAnswerKept', answer: { raw: null } } },
];
const read: string[] = [];
const answers = answersFromJournal(
  {
    pick: async (id, seqs) => {
      read.push(id);
      return events.filter(({ seq }) => seqs.includes(seq));
    },
  },
  (conversation) => persistenceId(`conversation/${conversation.conversationId}`),
);

test('D15 bodies come from the journal, where they stand once', async () => {
  expect(await answers(sampleCommit(1), [4, 2])).toEqual(
    new Map([
      [2, { id: 'a' }],
      [4, null],
    ]),
  );
  expect(read).toEqual(['conversation/harbour-en-0000']);
  expect(await answers(sampleCommit(1), [])).toEqual(new Map());
  expect(read).toHaveLength(1);
});

test.each([[[1]], [[2, 9]]])('an answer that is quoted and not there is an error: %j', async (seqs) => {
  await expect(answers(sampleCommit(1), seqs)).rejects.toMatchObject({
    code: 'store',
    message: expect.stringContaining('conversation/harbour-en-0000'),
  });
});
