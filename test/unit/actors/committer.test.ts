import { afterEach, beforeEach, expect, test } from 'vitest';
import { committer, type CommitterOptions } from '../../../src/actors/committer.ts';
import type {
  CommitterMessage,
  ConversationMessage,
  CoordinatorMessage,
  HandOver,
} from '../../../src/actors/messages.ts';
import { createActorSystem } from '../../../src/actors/runtime/actor-system.ts';
import type { ActorRef, ActorSystem } from '../../../src/actors/runtime/types.ts';
import { questionKey } from '../../../src/dialogue/question-key.ts';
import type { Rank, Standing } from '../../../src/dialogue/schedule.ts';
import { datasetId, runId } from '../../../src/kernel/ids.ts';
import { silentLogger } from '../../../src/kernel/logger.ts';
import type { Store } from '../../../src/ports/store.ts';
import { MemoryStore } from '../../../src/store/memory-store.ts';
import { failing } from '../../support/failing.ts';
import { until } from '../../support/simulation.ts';

let system: ActorSystem;
let store: MemoryStore;
let told: CoordinatorMessage[];
let heard: ConversationMessage[];
let conversation: ActorRef<ConversationMessage>;
let coordinator: ActorRef<CoordinatorMessage>;
let standing: (rank: Rank) => Standing;

beforeEach(async () => {
  system = createActorSystem({ node: 'test', logger: silentLogger, strictMessages: true });
  store = new MemoryStore();
  await store.openDataset(datasetId('D'), '/nowhere');
  await store.createRun({ id: runId('R'), datasetId: datasetId('D'), config: {}, fingerprint: {}, plan: {} });
  told = [];
  heard = [];
  standing = () => 'to_come';
  const listener = <M>(name: string, list: M[]): ActorRef<M> =>
    system.spawn<M>(name, { kind: name, start: () => ({ receive: (message) => void list.push(message) }) });
  coordinator = listener('coordinator', told);
  conversation = listener('conversation', heard);
});
afterEach(() => system.stop());

async function spawnCommitter(over: Store = store): Promise<ActorRef<CommitterMessage>> {
  const holder = { host: 'test', pid: 1, processKey: 'test', command: 'test', sinceMs: 0 };
  const granted = await store.acquireLease('dataset/D', holder, 1_000, () => false);
  if (granted.type !== 'granted') throw new Error('held');
  const options: CommitterOptions = {
    store: over,
    datasetId: datasetId('D'),
    runId: runId('R'),
    lease: granted.lease,
    languages: ['english'],
    coordinator,
    standing: (rank) => standing(rank),
  };
  return system.spawn('committer', committer(options));
}

const handOver = (index: number, questions: readonly (readonly string[])[]): HandOver => ({
  type: 'HandOver',
  rank: { index, languageIndex: 0 },
  conversationId: `R-${index}`,
  conversation,
  turns: questions.map((attempts, i) => ({
    turn: i + 1,
    attempts: attempts.map(questionKey),
    accepted: true,
  })),
  payload: null,
  ledger: [],
  outcome: { type: 'finished' },
});
const types = (): string[] => told.map((message) => message.type);

test('a hand-over that was repeated while its conversation was being committed is answered and not kept', async () => {
  const ref = await spawnCommitter();
  const first = handOver(0, [['When is high water?']]);
  system.tell(ref, first);
  system.tell(ref, { type: 'CommitNext', rank: first.rank });
  // The coordinator, which knows the order, has not heard of the commit yet.
  system.tell(ref, first);
  await until(() => heard.length === 2, 'two answers');
  expect(types()).toEqual(['ConversationHandedOver', 'ConversationSettled']);
  expect(heard.map((message) => message.type === 'CommitterSays' && message.command.type)).toEqual([
    'SettleConversation',
    'SettleConversation',
  ]);
});

test('whoever hands over can hear that it has arrived', async () => {
  const ref = await spawnCommitter();
  const told = system.ask<CommitterMessage, 'taken'>(ref, (replyTo) => ({
    ...handOver(0, [['When is high water?']]),
    replyTo,
  }));
  expect(await told).toBe('taken');
});

test('a conversation of a language that has ended is never told that it is settled', async () => {
  const ref = await spawnCommitter();
  standing = ({ index }) => (index === 1 ? 'left' : 'settled');
  system.tell(ref, handOver(1, [['When is high water?']]));
  system.tell(ref, handOver(0, [['Who keeps the buoys?']]));
  await until(() => heard.length > 0, 'an answer to the second');
  expect([types(), heard.length]).toEqual([[], 1]);
});

test('I4: a question that a lower rank has committed sends the conversation back, and the right one is then committed', async () => {
  const ref = await spawnCommitter();
  const next = (message: HandOver): void => {
    system.tell(ref, message);
    system.tell(ref, { type: 'CommitNext', rank: message.rank });
  };
  next(handOver(0, [['When is high water?']]));
  await until(() => types().includes('ConversationSettled'), 'the first commit');
  next(handOver(1, [['Who keeps the buoys?'], ['when is HIGH water']]));
  await until(() => types().includes('ConversationSentBack'), 'the send-back');
  expect(heard.at(-1)).toEqual({
    type: 'CommitterSays',
    epoch: 1,
    command: { type: 'SendBack', turn: 2, attempt: 0, verdict: 'reject' },
  });
  next(handOver(1, [['Who keeps the buoys?'], ['when is HIGH water', 'Where is the lighthouse?']]));
  await until(() => types().filter((type) => type === 'ConversationSettled').length === 2, 'the commit');
});

test('I3: a commit that fails is done again after the restart, once', async () => {
  const faulty = failing<Store>(store, 'commit', (call) => call === 1);
  const ref = await spawnCommitter(faulty.target);
  const first = handOver(0, [['When is high water?']]);
  system.tell(ref, first);
  system.tell(ref, { type: 'CommitNext', rank: first.rank });
  await until(() => types().includes('ConversationSettled'), 'the commit');
  expect(faulty.fired()).toBe(1);
  expect(await store.runCounts(runId('R'))).toMatchObject([{ committed: 1, nextIndex: 1 }]);
});

test('a reminder is answered when the hand-over is not known here, or is settled, and costs nothing otherwise', async () => {
  const ref = await spawnCommitter();
  const remind = (index: number): void =>
    system.tell(ref, { type: 'RemindOfHandOver', rank: { index, languageIndex: 0 }, conversation });
  const commands = (): string[] =>
    heard.flatMap((message) => (message.type === 'CommitterSays' ? message.command.type : []));
  remind(0);
  await until(() => heard.length === 1, 'the wish to have it again');
  expect(commands()).toEqual(['HandOverAgain']);
  const first = handOver(0, [['When is high water?']]);
  system.tell(ref, first);
  remind(0);
  // Of a conversation that went on in another actor it has the wrong one.
  system.tell(ref, {
    ...first,
    conversation: { ...conversation, incarnation: conversation.incarnation + 1 },
  });
  remind(0);
  await until(() => heard.length === 2, 'the wish again');
  expect(commands()).toEqual(['HandOverAgain', 'HandOverAgain']);
  system.tell(ref, first);
  system.tell(ref, { type: 'CommitNext', rank: first.rank });
  await until(() => heard.length === 3, 'that it is settled');
  remind(0);
  await until(() => heard.length === 4, 'that it is settled');
  expect(commands().slice(2)).toEqual(['SettleConversation', 'SettleConversation']);
});
