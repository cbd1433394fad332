import { afterEach, expect, test } from 'vitest';
import { type Rehearsal, startRehearsal } from '../../src/llm/rehearsal/server.ts';
import { MemoryStore } from '../../src/store/memory-store.ts';
import { sha256 } from '../../src/kernel/hash.ts';
import { type ChatBody, outputOf, startRelay } from '../support/failing.ts';
import {
  committedOf,
  droppedOf,
  expectWhole,
  journalledAnswers,
  payloadOf,
  until,
} from '../support/simulation.ts';
import { hurried, startWorld, type WorldOptions } from '../support/world.ts';

let rehearsal: Rehearsal | null = null;
afterEach(async () => {
  await rehearsal?.close();
  rehearsal = null;
});

async function runToEnd(options: Partial<WorldOptions> & { readonly url: string }) {
  const store = options.store ?? new MemoryStore();
  const world = await startWorld({ store, clock: hurried, ...options });
  const end = await world.end;
  await world.close();
  return { store, end };
}

test('A3, A7, A11, A12, E9: malformed answers, 5xx, 429 and stalls at once cost retries and nothing else', async () => {
  rehearsal = await startRehearsal({
    seed: 3,
    malformed_rate: 0.1,
    wrong_type_rate: 0.05,
    empty_rate: 0.05,
    server_error_rate: 0.1,
    rate_limit_rate: 0.1,
    retry_after_s: 0.02,
    stall_rate: 0.05,
    stall_s: 3,
    prose_rate: 0.1,
  });
  const { store, end } = await runToEnd({
    url: rehearsal.url,
    totalSamples: 10,
    batchSize: 16,
    timeoutMs: 150,
  });
  expect(end).toEqual({ type: 'completed' });
  await expectWhole(store, 10);
  const { outcomes } = faultsOf(rehearsal);
  expect(
    Math.min(outcomes.malformed, outcomes.rate_limit, outcomes.server_error, outcomes.stalled),
    JSON.stringify(outcomes),
  ).toBeGreaterThan(0);
  for (const row of await droppedOf(store))
    expect(row.reason).toMatch(/^(malformed_question|malformed_answer)$/);
});

function faultsOf(server: Rehearsal) {
  const completions = server.log().filter((entry) => entry.event === 'completion');
  const count = (test: (entry: (typeof completions)[number]) => boolean): number =>
    completions.filter(test).length;
  return {
    outcomes: {
      malformed: count(
        (entry) =>
          entry.outcome === 'malformed' || entry.outcome === 'wrong_type' || entry.outcome === 'empty',
      ),
      rate_limit: count((entry) => entry.status === 429),
      server_error: count((entry) => (entry.status ?? 0) >= 500),
      stalled: count((entry) => entry.stalled === true),
    },
  };
}

test('A11: a model that never answers in JSON ends the run with what to do, after a bounded number of calls', async () => {
  rehearsal = await startRehearsal({ seed: 4, malformed_rate: 1 });
  const [batchSize, consecutiveDropsMax, maxAttempts, languages] = [8, 4, 3, 2];
  const { store, end } = await runToEnd({
    url: rehearsal.url,
    totalSamples: 500,
    batchSize,
    consecutiveDropsMax,
    settings: { maxAttempts },
  });
  expect(end).toMatchObject({ type: 'failed', trouble: { code: 'run_failed' } });
  const message = end.type === 'failed' ? end.trouble.message : '';
  for (const part of [
    'english: stopped at 0 of 500',
    'french',
    'malformed_question',
    'logs/llm.log',
    'run the same command again',
  ]) {
    expect(message).toContain(part);
  }
  expect(await committedOf(store)).toEqual([]);
  const dropped = await droppedOf(store);
  expect(dropped.map((row) => row.reason)).toEqual(dropped.map(() => 'malformed_question'));
  expect(dropped.length).toBe(languages * consecutiveDropsMax);
  // Every try is an answer and its repair. Besides the dropped ones only a window of conversations was ever open.
  const window = batchSize + Math.max(64, 4 * batchSize);
  const paid = (await journalledAnswers(store)).length;
  expect(paid).toBeGreaterThanOrEqual(dropped.length * 2 * maxAttempts);
  expect(paid).toBeLessThanOrEqual((dropped.length + window) * 2 * maxAttempts);
});

test('A9: one language whose questions all fail ends alone, and the other reaches its target', async () => {
  rehearsal = await startRehearsal({ seed: 5 });
  const relay = await startRelay(rehearsal.url, (body) =>
    outputOf(body) === 'dlgforge_question' && JSON.stringify(body.messages).includes('french')
      ? { content: 'Bonjour' }
      : null,
  );
  const { store, end } = await runToEnd({
    url: relay.url,
    totalSamples: 12,
    batchSize: 6,
    consecutiveDropsMax: 3,
  });
  await relay.close();
  expect(end).toMatchObject({ type: 'failed' });
  expect(end.type === 'failed' && end.trouble.message).toMatch(/french: stopped at 0 of 12 after 3/);
  expect(end.type === 'failed' && end.trouble.message).not.toContain('english');
  const rows = await committedOf(store);
  expect(rows.map((row) => row.languageIndex)).toEqual(Array.from({ length: 12 }, () => 0));
  // B9, B10: what was dropped is neither counted nor exported, and its record says how far it came.
  for (const row of await droppedOf(store)) expect(payloadOf(row).turns).toEqual([]);
});

test('A9: what is open when a language is given up is left where it is, and nothing more is paid for it', async () => {
  rehearsal = await startRehearsal({ seed: 5, latency: { mean_ms: 2 } });
  let bad = 0;
  // The first three conversations get no usable question; the later ones are fine.
  const relay = await startRelay(rehearsal.url, (body) => {
    if (outputOf(body) !== 'dlgforge_question' || !JSON.stringify(body.messages).includes('french'))
      return null;
    bad += 1;
    return bad <= 3 * 2 * 3 ? { content: 'Bonjour' } : null;
  });
  const store = new MemoryStore();
  const options = { store, url: relay.url, totalSamples: 12, batchSize: 6, clock: hurried };
  const world = await startWorld({ ...options, consecutiveDropsMax: 3 });
  expect(await world.end).toMatchObject({ type: 'failed' });
  expect((await store.journal.list('run/R/1/')).length, 'others were open').toBeGreaterThan(3);
  const alive = (): string[] =>
    world
      .actors()
      .filter((actor) => actor.kind === 'conversation')
      .map((actor) => actor.path);
  await until(() => alive().length === 0, 'the end of every conversation', 3_000);
  await world.close();
  expect((await droppedOf(store)).length).toBe(3);

  // It is not lost: whoever runs it again goes on with it.
  const answered = (await journalledAnswers(store)).length;
  const { end } = await runToEnd(options);
  expect(end).toEqual({ type: 'completed' });
  const rows = await committedOf(store);
  expect([0, 1].map((language) => rows.filter((row) => row.languageIndex === language).length)).toEqual([
    12, 12,
  ]);
  const keys = (await journalledAnswers(store)).map(
    ({ conversation, requestKey }) => `${conversation} ${requestKey}`,
  );
  expect(new Set(keys).size).toBe(keys.length);
  expect(keys.length).toBeGreaterThan(answered);
  await relay.close();
});

test('E18: a judge that gives no usable verdict leaves null, not a score of 0', async () => {
  rehearsal = await startRehearsal({ seed: 6 });
  const relay = await startRelay(rehearsal.url, (body) =>
    outputOf(body) === 'dlgforge_verdict' ? { content: 'I would say eight.' } : null,
  );
  const { store, end } = await runToEnd({ url: relay.url, totalSamples: 2, batchSize: 4 });
  expect(end).toEqual({ type: 'completed' });
  await expectWhole(store, 2);
  for (const row of await committedOf(store))
    for (const turn of payloadOf(row).turns) expect(turn.verdict).toBeNull();

  const judged = await runToEnd({
    url: relay.url,
    totalSamples: 1,
    settings: { judge: { granularity: 'conversation', reasons: ['vague', 'other'] } },
  });
  await relay.close();
  expect(judged.end).toEqual({ type: 'completed' });
  for (const row of await committedOf(judged.store))
    expect(payloadOf(row)).toMatchObject({ conversationJudge: null, conversationJudgeAnswerSeq: null });
});

test('B7: a conversation judge is asked once per conversation, after its last turn', async () => {
  rehearsal = await startRehearsal({ seed: 7 });
  const { store, end } = await runToEnd({
    url: rehearsal.url,
    totalSamples: 4,
    settings: { judge: { granularity: 'conversation', reasons: ['vague', 'other'] } },
  });
  expect(end).toEqual({ type: 'completed' });
  await expectWhole(store, 4);
  for (const row of await committedOf(store)) {
    const { conversationJudge, turns } = payloadOf(row);
    expect(conversationJudge).toMatchObject({ score: expect.any(Number) as number });
    expect(turns.every((turn) => turn.verdict === null)).toBe(true);
  }
  const verdicts = (await journalledAnswers(store)).filter(
    (answer) => answer.purpose === 'conversation_verdict',
  );
  expect(new Set(verdicts.map((answer) => answer.conversation)).size).toBe(verdicts.length);
});

test('C16: an endpoint that refuses some requests for good costs those conversations, with the reason, and not the run', async () => {
  rehearsal = await startRehearsal({ seed: 8 });
  // In whatever response format they are asked.
  const refuses = (body: ChatBody): boolean =>
    (body.tools ?? []).length > 0 && sha256(body.messages[1]?.content ?? '') < '4';
  const relay = await startRelay(rehearsal.url, (body) => (refuses(body) ? 400 : null));
  const { store, end } = await runToEnd({
    url: relay.url,
    totalSamples: 5,
    settings: { maxAttempts: 1 },
    batchSize: 4,
  });
  await relay.close();
  expect(end).toEqual({ type: 'completed' });
  await expectWhole(store, 5);
  const dropped = await droppedOf(store);
  expect(dropped.length).toBeGreaterThan(0);
  expect(new Set(dropped.map((row) => row.reason))).toEqual(new Set(['model_refused']));
});
