/** The checker finds what it is there for: facts of a good run, and each way to spoil them. */
import { expect, test } from 'vitest';
import type { LogEntry } from '../../src/llm/rehearsal/request-entry.ts';
import {
  brokenPromises,
  type CommitFact,
  differingFiles,
  type EventFact,
  type JournalFact,
  type Promised,
  type RunFacts,
} from '../support/cluster-checker.ts';

const answer = (id: string, seq: number, epoch: number, answerKey: string, atMs: number): JournalFact => ({
  id,
  seq,
  epoch,
  atMs,
  type: 'ModelAnswered',
  answerKey,
});
const commit = (commitSeq: number, index: number, epoch: number, question: string): CommitFact => ({
  commitSeq,
  epoch,
  languageIndex: 0,
  index,
  language: 'english',
  conversationId: `c-${index}`,
  status: 'committed',
  questions: [question],
});
const settled = (seq: number, index: number): EventFact => ({
  seq,
  epoch: 1,
  type: 'ConversationSettled',
  settled: { languageIndex: 0, index, commitSeq: seq },
});
const request = (event: 'arrival' | 'completion', key: string, at_ms: number, in_flight = 1): LogEntry => ({
  event,
  seq: 1,
  at_ms,
  route: 'chat',
  key,
  role: 'user',
  model: 'm',
  arrival: 1,
  in_flight,
  ...(event === 'completion' ? { outcome: 'answered', status: 200 } : {}),
});

const GOOD: RunFacts = {
  journal: [answer('a', 1, 1, 'k1', 100), answer('a', 2, 2, 'k2', 200), answer('b', 1, 1, 'k3', 150)],
  commits: [commit(1, 0, 1, 'Why?'), commit(2, 1, 3, 'How?')],
  events: [settled(1, 0), settled(2, 1), { seq: 3, epoch: 1, type: 'RunEnded', settled: null }],
  requests: ['k1', 'k2', 'k3'].flatMap((key) => [
    request('arrival', key, 50),
    request('completion', key, 90),
  ]),
};
const PROMISED: Promised = { languages: ['english'], samples: 2, maxInFlight: 2, disruptions: 0 };
const broken = (change: Partial<RunFacts>, promised: Partial<Promised> = {}): string =>
  brokenPromises({ ...GOOD, ...change }, { ...PROMISED, ...promised }).join('\n');

test('a good run breaks no promise', () => {
  expect(broken({})).toBe('');
});

test.each<[string, Partial<RunFacts>, RegExp]>([
  [
    'an older epoch after a newer one',
    { journal: [answer('a', 1, 2, 'k1', 100), answer('a', 2, 1, 'k2', 200)] },
    /two writers: a has epoch 1/,
  ],
  [
    'commits of two leaders',
    { commits: [commit(1, 0, 3, 'Why?'), commit(2, 1, 1, 'How?')] },
    /two writers: commits/,
  ],
  ['a lost event of a journal', { journal: [answer('a', 2, 1, 'k2', 200)] }, /a: number 1 is 2/],
  ['a missing conversation', { commits: GOOD.commits.slice(0, 1) }, /english has 1 conversations/],
  ['a hole in the commits', { commits: [commit(1, 0, 1, 'Why?'), commit(3, 1, 1, 'How?')] }, /number 2 is 3/],
  [
    'a question that differs in case only',
    { commits: [commit(1, 0, 1, 'Why?'), commit(2, 1, 1, 'WHY?')] },
    /question .* twice/,
  ],
  [
    'a conversation that is there twice',
    { commits: [commit(1, 0, 1, 'Why?'), commit(2, 0, 1, 'How?')] },
    /id c-0 is there twice/,
  ],
  [
    'commits out of rank order',
    { commits: [commit(1, 1, 1, 'Why?'), commit(2, 0, 1, 'How?')] },
    /c-0 is committed after c-1/,
  ],
  [
    'an answer that is paid for again',
    { requests: [...GOOD.requests, request('arrival', 'k1', 102)] },
    /paid again: k1/,
  ],
  [
    'an answer that nobody kept',
    { requests: [...GOOD.requests, request('completion', 'k4', 90)] },
    /1 answers were wasted/,
  ],
  [
    'one request too many',
    { requests: [...GOOD.requests, request('arrival', 'k4', 60, 3)] },
    /3 requests were open/,
  ],
  ['an event twice', { events: [settled(1, 0), settled(2, 0), ...GOOD.events.slice(2)] }, /not committed/],
  [
    'an event too few',
    { events: [settled(1, 0), { seq: 2, epoch: 1, type: 'RunEnded', settled: null }] },
    /no event tells/,
  ],
  ['a gap in the events', { events: [settled(1, 0), { ...settled(3, 1) }] }, /events: number 2 is 3/],
])('%s', (_, change, said) => {
  expect(broken(change)).toMatch(said);
});

test('what dies may waste what was in flight, and no more', () => {
  const wasted = ['x', 'y', 'z'].map((key) => request('completion', key, 95));
  expect(broken({ requests: [...GOOD.requests, ...wasted.slice(1)] }, { disruptions: 1 })).toBe('');
  expect(broken({ requests: [...GOOD.requests, ...wasted] }, { disruptions: 1 })).toMatch(/3 answers/);
});

test('files that differ are named with the line', () => {
  const files = new Map([
    ['a', '1\n2\n'],
    ['b', ''],
  ]);
  expect(differingFiles(files, new Map(files))).toEqual([]);
  expect(
    differingFiles(
      files,
      new Map([
        ['a', '1\n3\n'],
        ['c', ''],
      ]),
    ),
  ).toEqual(['a differs in line 2: 2 | 3', 'b is missing', 'c is new']);
});
