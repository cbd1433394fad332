import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  decodeClaimReply,
  decodeCommitterMessage,
  decodeConversationMessage,
  decodeCoordinatorMessage,
  decodeFinding,
  decodeRetrieverMessage,
  decodeSearchReply,
  decodeWaveMessage,
  decodeWorkerMessage,
} from '../../../src/actors/decode-messages.ts';
import type { HandOver } from '../../../src/actors/messages.ts';

const rank = { index: 3, languageIndex: 1 };
const actor = { node: 'n', path: 'worker:R', incarnation: 5 };
const replyTo = { node: 'n', correlation: 'c.1' };

const handOver: HandOver = {
  type: 'HandOver',
  rank,
  conversationId: 'R-french-0003',
  conversation: actor,
  turns: [{ turn: 1, attempts: ['a'.repeat(64)], accepted: true }],
  payload: {
    zeta: 'a key of a later release, in its place',
    version: 1,
    runId: 'R',
    conversationId: 'R-french-0003',
    language: 'french',
    languageIndex: 1,
    index: 3,
    inputs: { question: '' },
    turns: [{ turn: 1, attempt: 0, question: { b: 1, a: 2 }, answer: {}, verdict: null }],
    conversationJudge: null,
  } as unknown as HandOver['payload'],
  ledger: [],
  outcome: { type: 'dropped', reason: 'crashed', detail: 'x' },
};

/** By decoder: what it takes, and the actor's own messages, which nobody else may send. */
const cases: readonly [string, (body: unknown) => unknown, readonly unknown[], readonly unknown[]][] = [
  [
    'coordinator',
    decodeCoordinatorMessage,
    [
      {
        type: 'WorkerHere',
        worker: actor,
        held: [rank],
        claiming: [],
        lacks: ['A_KEY'],
        trouble: { code: 'store', message: 'm' },
        drained: false,
      },
      { type: 'ClaimWork', rank, worker: actor, replyTo },
      { type: 'StopRun' },
      { type: 'WantedChanged' },
      { type: 'GetRunView', replyTo },
    ],
    [
      { type: 'ConversationHandedOver', rank },
      { type: 'ConversationSettled', settled: {} },
      { type: 'CommitterEnded', terminated: { reason: 'given_up', error: { code: 'stale_epoch' } } },
      { type: 'WantedKnown', wanted: 'cancel' },
      { type: 'StatusSet', error: {} },
      { type: 'GraceOver' },
    ],
  ],
  [
    'worker',
    decodeWorkerMessage,
    [
      {
        type: 'RunNotice',
        epoch: 2,
        term: 3,
        phase: 'paused',
        isLastWindow: true,
        leftLanguages: [1],
        workerCount: 2,
        window: 72,
      },
    ],
    [
      { type: 'TakeWork', delivery: {}, life: 0 },
      { type: 'WorkClaimed', name: '0-1', reply: { epoch: 1, type: 'granted' } },
      { type: 'ReportTrouble', trouble: { code: 'store', message: 'm' } },
      { type: 'HandBack', replyTo },
    ],
  ],
  [
    'conversation',
    decodeConversationMessage,
    [
      { type: 'CommitterSays', epoch: 2, command: { type: 'SettleConversation' } },
      { type: 'CommitterSays', epoch: 2, command: { type: 'HandOverAgain' } },
      {
        type: 'CommitterSays',
        epoch: 2,
        command: { type: 'SendBack', turn: 1, attempt: 0, verdict: 'reject' },
      },
    ],
    [
      { type: 'Command', command: { type: 'StartConversation' } },
      { type: 'CommitterSays', epoch: 2, command: { type: 'StartConversation' } },
      { type: 'EffectFailed', error: new Error('x') },
      { type: 'Drain' },
    ],
  ],
  [
    'committer',
    decodeCommitterMessage,
    [
      { type: 'CheckQuestion', rank, questionKey: 'a'.repeat(64), replyTo },
      { type: 'RemindOfHandOver', rank, conversation: actor },
      handOver,
      { ...handOver, payload: null },
    ],
    [
      { type: 'CommitNext', rank },
      { type: 'LookUpFailed', error: {} },
      { type: 'QuestionsLookedUp', batch: [], known: {} },
      { ...handOver, payload: { version: 2 } },
      { ...handOver, outcome: { type: 'dropped', reason: 'a whim', detail: '' } },
    ],
  ],
  [
    'wave',
    decodeWaveMessage,
    [{ type: 'TurnAccepted', rank, turn: 2 }],
    [
      { type: 'OpenConversation', rank, isHeld: false },
      { type: 'RepublishConversation', rank },
    ],
  ],
  [
    'retriever',
    decodeRetrieverMessage,
    [
      { type: 'Search', query: 'tides', k: 4, replyTo },
      { type: 'Fetch', ids: ['p-1'], replyTo },
    ],
    [{ type: 'LookUpDone', replyTo, reply: { type: 'busy' } }],
  ],
  ['claim reply', decodeClaimReply, [{ epoch: 2, type: 'held' }], [{ epoch: 2, type: 'perhaps' }]],
  ['finding', decodeFinding, ['new', 'claim'], ['old', null]],
  [
    'search reply',
    decodeSearchReply,
    [{ type: 'busy' }, { type: 'failed', message: 'm' }, { type: 'found', passages: [] }],
    [{ type: 'found', passages: [{ id: 'p-1' }] }],
  ],
];

describe.each(cases)('I10: what a %s takes from the wire', (_, decode, taken, refused) => {
  test.each(taken.map((message) => [message]))('takes %j', (message) => {
    expect(decode(JSON.parse(JSON.stringify(message)))).toEqual(message);
  });

  test.each(refused.map((message) => [message]))('refuses %j', (message) => {
    expect(() => decode(message)).toThrow();
  });

  test('refuses garbage, and messages with a part of another kind or none', () => {
    fc.assert(
      fc.property(fc.anything(), (garbage) => {
        if (taken.includes(garbage)) return;
        expect(() => decode(garbage)).toThrow();
      }),
      { numRuns: 100 },
    );
    for (const message of taken) {
      if (typeof message !== 'object' || message === null) continue;
      for (const [key, value] of Object.entries(message)) {
        const { [key as never]: __, ...without } = message;
        expect(() => decode(without), `without ${key}`).toThrow();
        if (key === 'payload') continue;
        const other = typeof value === 'string' ? 17 : 'another kind';
        expect(() => decode({ ...message, [key]: other }), `another ${key}`).toThrow();
      }
    }
  });
});

test('I5: a payload goes on as it came, to the order of its keys', () => {
  const taken = decodeCommitterMessage(JSON.parse(JSON.stringify(handOver)));
  expect(JSON.stringify(taken)).toBe(JSON.stringify(handOver));
});

test('I9: what is too large is refused', () => {
  const held = Array.from({ length: 20_000 }, () => rank);
  const message = {
    type: 'WorkerHere',
    worker: actor,
    held,
    claiming: [],
    lacks: [],
    trouble: null,
    drained: false,
  };
  expect(() => decodeCoordinatorMessage(message)).toThrow();
  expect(() =>
    decodeRetrieverMessage({ type: 'Search', query: 'x'.repeat(2_000_000), k: 1, replyTo }),
  ).toThrow();
});
