import { describe, expect, test } from 'vitest';
import { Pool } from '../../../../src/actors/endpoint-router/pool.ts';
import { createLocalRouter } from '../../../../src/actors/endpoint-router/router.ts';
import { meteredModel, meteredRouter } from '../../../../src/bootstrap/metrics/metered-model.ts';
import { meteredQueue } from '../../../../src/bootstrap/metrics/metered-queue.ts';
import { meteredStore } from '../../../../src/bootstrap/metrics/metered-store.ts';
import { endpointSource, membershipSource, queueSource } from '../../../../src/bootstrap/metrics/sources.ts';
import { systemClock } from '../../../../src/kernel/clock.ts';
import { persistenceId } from '../../../../src/kernel/ids.ts';
import { noMetrics } from '../../../../src/kernel/metrics.ts';
import type { Membership } from '../../../../src/ports/membership.ts';
import type { Delivery, WorkQueue } from '../../../../src/ports/work-queue.ts';
import { MemoryStore } from '../../../../src/store/memory-store.ts';
import { committing, holder, startRun } from '../../../contract/store/store-contract.ts';
import { clusterContract } from '../../../contract/store/cluster-contract.ts';
import { runEndpointsContract } from '../../../contract/store/run-endpoints-contract.ts';
import { storeContract } from '../../../contract/store/store-contract.ts';
import { completion, sendJson } from '../../../support/chat-server.ts';
import { endpointAt, never, portFor, request, roleSettings, serverFor } from '../../llm/fixtures.ts';
import { openRegistry } from '../../../../src/bootstrap/metrics/registry.ts';
import { serve } from './scrape.ts';

describe('a metered store keeps every promise of a store', () => {
  storeContract((use) => use(meteredStore(new MemoryStore(), openRegistry())));
  clusterContract((use) => use(meteredStore(new MemoryStore(), openRegistry())));
  runEndpointsContract((use) => use(meteredStore(new MemoryStore(), openRegistry())));
});

describe('a metered store', () => {
  test('tells the time of appends and commits, and what became of conversations', async () => {
    const { node, scrape } = await serve();
    const store = meteredStore(new MemoryStore(), node.metrics);
    const { journal } = store;
    const { epoch: own } = await journal.recover(persistenceId('a'));
    await journal.append(persistenceId('a'), own, 0, [{ type: 'A' }, { type: 'B' }]);
    const lease = await startRun(store);
    await store.commit(committing(lease, 0, ['one']));
    await store.commit(committing(lease, 1, ['one']));
    await store.commit({
      ...committing(lease, 1, []),
      outcome: { type: 'dropped', reason: 'judge', payload: {} },
    });
    const { value } = await scrape();
    expect(value('dlgforge_journal_append_seconds_count')).toBe(1);
    expect(value('dlgforge_journal_recover_seconds_count')).toBe(1);
    expect(value('dlgforge_journal_events_total')).toBe(2);
    expect(value('dlgforge_commit_seconds_count')).toBe(3);
    for (const outcome of ['committed', 'duplicate', 'dropped'])
      expect(value('dlgforge_conversations_total', { outcome }), outcome).toBe(1);
  });

  test('tells the epoch of each lease while it is held, and counts what the fence refused', async () => {
    const { node, scrape } = await serve();
    const inner = new MemoryStore();
    const store = meteredStore(inner, node.metrics);
    const lease = await startRun(store);
    expect((await scrape()).value('dlgforge_lease_epoch', { singleton: 'run' })).toBe(lease.epoch);

    await inner.acquireLease('run', holder(2, 'other'), 0, () => false);
    await expect(store.renewLease(lease)).rejects.toMatchObject({ code: 'stale_epoch' });
    await expect(store.commit(committing(lease, 0, ['one']))).rejects.toMatchObject({ code: 'stale_epoch' });
    const { journal } = store;
    const id = persistenceId('a');
    const old = await journal.recover(id);
    await inner.journal.recover(id);
    const usage = { promptTokens: 10, cachedTokens: 8, completionTokens: 4 };
    const events = [{ type: 'ModelAnswered', answer: { usage } }];
    await expect(journal.append(id, old.epoch, 0, events)).rejects.toMatchObject({ code: 'stale_epoch' });

    const { value } = await scrape();
    expect(value('dlgforge_lease_epoch', { singleton: 'run' })).toBeUndefined();
    for (const operation of ['renewLease', 'commit', 'append'])
      expect(value('dlgforge_fenced_writes_total', { operation }), operation).toBe(1);
    expect(value('dlgforge_tokens_wasted_total', { cause: 'fenced', kind: 'completion' })).toBe(4);
  });

  test('counts other failures by their code', async () => {
    const { node, scrape } = await serve();
    const store = meteredStore(new MemoryStore(), node.metrics);
    await startRun(store);
    await expect(startRun(store)).rejects.toMatchObject({ code: 'resume' });
    expect(
      (await scrape()).value('dlgforge_store_failures_total', { operation: 'createRun', reason: 'resume' }),
    ).toBe(1);
  });

  test('tells tokens that were paid for and not used', async () => {
    const { node, scrape } = await serve();
    const { journal } = meteredStore(new MemoryStore(), node.metrics);
    const id = persistenceId('a');
    const { epoch: own } = await journal.recover(id);
    const answer = (completionTokens: number) => ({
      usage: { promptTokens: 100, cachedTokens: 0, completionTokens },
    });
    await journal.append(id, own, 0, [
      { type: 'RequestSent' },
      { type: 'ModelAnswered', answer: answer(1) },
      { type: 'AnswerGiven' },
    ]);
    await journal.append(id, own, 3, [
      { type: 'ModelAnswered', answer: answer(20) },
      { type: 'OutputRejected' },
    ]);
    await journal.append(id, own, 5, [{ type: 'LateAnswerKept', answer: answer(300) }]);
    await journal.append(id, own, 6, [{ type: 'AnswerReused' }, { type: 'OutputRejected' }]);
    const { value } = await scrape();
    const wasted = (cause: string, kind: string) => value('dlgforge_tokens_wasted_total', { cause, kind });
    expect([wasted('unusable', 'completion'), wasted('unusable', 'prompt')]).toEqual([20, 100]);
    expect([wasted('late', 'completion'), wasted('late', 'prompt')]).toEqual([300, 100]);
    expect(wasted('fenced', 'completion')).toBeUndefined();
    expect(value('dlgforge_answers_kept_late_total')).toBe(1);
    expect(value('dlgforge_answers_reused_total')).toBe(1);
  });

  test('is the store itself where nobody looks', () => {
    const store = new MemoryStore();
    expect(meteredStore(store, noMetrics)).toBe(store);
  });
});

describe('metered models', () => {
  test('count calls by outcome, and tokens by role and kind', async () => {
    const { node, scrape } = await serve();
    let answers = 0;
    const server = await serverFor((_, response) => {
      answers += 1;
      if (answers === 1) sendJson(response, 200, completion('hi'));
      else if (answers === 2) sendJson(response, 429, { error: { message: 'slow down' } });
    });
    const port = meteredModel(
      portFor([endpointAt(server.url)], { roles: { judge: roleSettings({ timeoutMs: 5_000 }) } }),
      node.metrics,
    );
    await port.attempt('one', request('judge'), never);
    await port.attempt('one', request('judge'), never);
    const stop = new AbortController();
    const cut = port.attempt('one', request('judge'), stop.signal);
    stop.abort();
    await expect(cut).rejects.toMatchObject({ code: 'cancelled' });
    const { value } = await scrape();
    for (const outcome of ['answered', 'retry_later', 'cancelled'])
      expect(value('dlgforge_model_calls_total', { endpoint: 'one', outcome }), outcome).toBe(1);
    const tokens = (kind: string) => value('dlgforge_model_tokens_total', { role: 'judge', kind });
    expect([tokens('prompt'), tokens('cached'), tokens('completion')]).toEqual([10, 8, 4]);
    expect(value('dlgforge_model_call_seconds_count', { role: 'judge' })).toBe(1);
  });

  test('count the calls that wait for an endpoint; the router tells its load and state', async () => {
    const { node, scrape } = await serve();
    const pool = new Pool({
      runs: [{ runId: 'run', endpoints: [{ name: 'one', roles: ['user'], weight: 1, maxInFlight: 1 }] }],
    });
    const router = meteredRouter(createLocalRouter(pool, systemClock, 'run'), node.metrics);
    node.metrics.source(endpointSource(() => router.stats()));
    const wish = {
      role: 'user',
      conversation: 'c',
      priority: 1,
      avoid: null,
      waitMs: 5_000,
      leaseMs: 5_000,
    } as const;
    const first = await router.acquire(wish, never);
    const second = router.acquire(wish, never);
    const busy = await scrape();
    expect(busy.value('dlgforge_permits_waiting', { role: 'user' })).toBe(1);
    expect(busy.value('dlgforge_endpoint_in_flight', { endpoint: 'one' })).toBe(1);
    expect(busy.value('dlgforge_endpoint_waiting', { endpoint: 'one' })).toBe(1);
    expect(busy.value('dlgforge_endpoint_limit', { endpoint: 'one' })).toBe(1);
    expect(busy.value('dlgforge_endpoint_state', { endpoint: 'one', state: 'open_for_traffic' })).toBe(1);
    expect(busy.value('dlgforge_endpoint_state', { endpoint: 'one', state: 'sick' })).toBe(0);
    if (first.type === 'granted') router.release(first.ticket, { type: 'answered' });
    await second;
    const { value } = await scrape();
    expect(value('dlgforge_permits_waiting', { role: 'user' })).toBe(0);
    expect(value('dlgforge_permit_wait_seconds_count', { role: 'user' })).toBe(2);
    router.close();
  });
});

describe('a metered queue', () => {
  test('tells what is in hand and how deliveries end, once each', async () => {
    const { node, scrape } = await serve();
    const delivered: Delivery[] = [];
    const queue = meteredQueue(new ListQueue(), node.metrics);
    queue.consume('run', 10, (delivery) => delivered.push(delivery));
    for (const index of [0, 1, 2]) queue.publish({ runId: 'run', languageIndex: 0, index, priority: index });
    queue.republish({ runId: 'run', languageIndex: 0, index: 0, priority: 0 });
    node.metrics.source(queueSource(() => queue.counts()));
    delivered[0]?.ack();
    delivered[0]?.release();
    delivered[1]?.forget();
    const { value } = await scrape();
    expect(value('dlgforge_queue_in_hand')).toBe(2);
    expect(value('dlgforge_queue_published_total', { again: 'no' })).toBe(3);
    expect(value('dlgforge_queue_published_total', { again: 'yes' })).toBe(1);
    expect(value('dlgforge_queue_deliveries_total', { end: 'acked' })).toBe(1);
    expect(value('dlgforge_queue_deliveries_total', { end: 'forgotten' })).toBe(1);
    expect(value('dlgforge_queue_deliveries_total', { end: 'released' })).toBeUndefined();
    expect(value('dlgforge_queue_pending')).toBe(5);
    expect(value('dlgforge_queue_redelivered')).toBe(1);
  });
});

test('the members of the cluster are told by kind', async () => {
  const { node, scrape } = await serve();
  const card = (kind: 'agent' | 'worker') => ({ card: { kind }, lastHeardMs: 0 });
  const membership = {
    members: () => [card('agent'), card('worker'), card('worker')],
    inContact: () => false,
  } as unknown as Membership;
  node.metrics.source(membershipSource(membership));
  const { value } = await scrape();
  expect(value('dlgforge_members', { kind: 'worker' })).toBe(2);
  expect(value('dlgforge_members', { kind: 'agent' })).toBe(1);
  expect(value('dlgforge_in_contact')).toBe(0);
});

/** Delivers at once whatever is published. */
class ListQueue implements WorkQueue {
  #deliver: (delivery: Delivery) => void = () => undefined;

  publish(item: Delivery['item']): void {
    const nothing = (): void => undefined;
    this.#deliver({ item, renew: nothing, ack: nothing, release: nothing, forget: nothing });
  }

  republish(item: Delivery['item']): void {
    this.publish(item);
  }

  consume(_runId: string, _capacity: number, deliver: (delivery: Delivery) => void) {
    this.#deliver = deliver;
    return { setCapacity: () => undefined, close: () => undefined };
  }

  counts() {
    return Promise.resolve({ waiting: 5, inHand: 2, redelivered: 1 });
  }

  withdraw(): void {}
  onLoss(): () => void {
    return () => undefined;
  }
  drop(): void {}
}
