import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { connect } from 'nats';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { subjectsOf } from '../../../src/transport/nats/subjects.ts';
import type { NatsLink } from '../../../src/transport/nats/connection.ts';
import { startCutProxy } from '../../support/cut-proxy.ts';
import { freshNamespace, startTestNats, type TestNats } from '../../support/nats-server.ts';
import { startWorker, workItem, workQueueContract } from './work-queue-contract.ts';

let server: TestNats;

beforeAll(async () => {
  server = await startTestNats();
});

afterAll(() => server.remove());

workQueueContract('nats', async () => {
  const namespace = freshNamespace();
  const links: NatsLink[] = [];
  return {
    async open() {
      const link = await server.connect({ namespace });
      links.push(link);
      return await link.workQueue();
    },
    async close() {
      for (const link of links) await link.close();
    },
  };
});

const SOON = { timeout: 10_000 };

describe('a work queue on a server that fails', () => {
  test('what is in hand stays there while it is worked on; what a dead worker had comes to others', async () => {
    const namespace = freshNamespace();
    const proxy = await startCutProxy(server.port);
    const [publisher, living, dying] = await Promise.all([
      server.connect({ namespace }),
      server.connect({ namespace }),
      server.connect({ namespace, urls: [`nats://127.0.0.1:${proxy.port}`] }),
    ]);
    const queue = await publisher.workQueue();
    const dead = startWorker(await dying.workQueue(), 1);
    queue.publish(workItem(0));
    await expect.poll(() => dead.indices, SOON).toEqual([0]);
    const worker = startWorker(await living.workQueue(), 5);
    queue.publish(workItem(1));
    await expect.poll(() => worker.indices, SOON).toEqual([1]);
    proxy.cut();
    await expect.poll(() => worker.indices, { timeout: 15_000 }).toEqual([1, 0]);
    // The living worker's item was held for longer than that, and did not come again.
    for (const link of [publisher, living, dying]) await link.close();
    await proxy.close();
  });

  test('a restart keeps the work, says that it may be lost, and everything goes on', async () => {
    const namespace = freshNamespace();
    const [publisher, working] = [await server.connect({ namespace }), await server.connect({ namespace })];
    const queue = await publisher.workQueue();
    let losses = 0;
    const end = queue.onLoss(() => {
      losses += 1;
    });
    const worker = startWorker(await working.workQueue(), 10);
    queue.publish(workItem(0));
    await expect.poll(() => worker.indices, SOON).toEqual([0]);
    await server.kill();
    await expect.poll(() => publisher.isConnected, SOON).toBe(false);
    // Published while nobody is there.
    for (let index = 1; index < 5; index += 1) queue.publish(workItem(index));
    await server.start();
    await expect.poll(() => losses, SOON).toBeGreaterThanOrEqual(1);
    await expect
      .poll(() => [...new Set(worker.indices)].toSorted((a, b) => a - b), SOON)
      .toEqual([0, 1, 2, 3, 4]);
    end();
    for (const link of [publisher, working]) await link.close();
  });

  test('the storage folder deleted while the server is down: it says so, and what is published again arrives', async () => {
    const namespace = freshNamespace();
    const [publisher, working] = [await server.connect({ namespace }), await server.connect({ namespace })];
    const queue = await publisher.workQueue();
    const worker = startWorker(await working.workQueue(), 1);
    for (let index = 0; index < 3; index += 1) queue.publish(workItem(index));
    queue.onLoss(() => {
      for (let index = 0; index < 3; index += 1) queue.publish(workItem(index));
    });
    await expect.poll(() => worker.indices.length, SOON).toBe(1);
    await server.stop();
    await rm(join(server.folder, 'streams'), { recursive: true });
    await server.start();
    const settle = (): number => {
      for (const delivery of worker.hands) delivery.ack();
      return new Set(worker.indices).size;
    };
    await expect.poll(settle, SOON).toBe(3);
    for (const link of [publisher, working]) await link.close();
  });

  test('a stream that somebody deletes is made anew, and every process hears of it', async () => {
    const namespace = freshNamespace();
    const [publisher, working] = [await server.connect({ namespace }), await server.connect({ namespace })];
    const queue = await publisher.workQueue();
    const worker = startWorker(await working.workQueue(), 10);
    const heard = { publisher: 0, worker: 0 };
    queue.onLoss(() => {
      heard.publisher += 1;
    });
    (await working.workQueue()).onLoss(() => {
      heard.worker += 1;
    });
    queue.publish(workItem(0));
    await expect.poll(() => worker.indices, SOON).toEqual([0]);
    const stranger = await connect({ servers: `127.0.0.1:${server.port}`, token: server.token });
    const manager = await stranger.jetstreamManager();
    await manager.streams.delete(subjectsOf(namespace).workStream);
    await stranger.close();
    queue.publish(workItem(1));
    await expect.poll(() => worker.indices, SOON).toEqual([0, 1]);
    expect([heard.publisher > 0, heard.worker > 0]).toEqual([true, true]);
    for (const link of [publisher, working]) await link.close();
  });

  test('what is no work item is thrown away', async () => {
    const namespace = freshNamespace();
    const messages: string[] = [];
    const link = await server.connect({
      namespace,
      logger: { log: (_level, _category, text) => void messages.push(text) },
    });
    const queue = await link.workQueue();
    const subjects = subjectsOf(namespace);
    const stranger = await connect({ servers: `127.0.0.1:${server.port}`, token: server.token });
    stranger.publish(subjects.workItem('r', 0, 0), 'not JSON');
    stranger.publish(subjects.workItem('r', 0, 1), JSON.stringify({ ...workItem(1, 'r'), index: '1' }));
    stranger.publish(subjects.workItem('r', 0, 2), JSON.stringify(workItem(2, 'another')));
    await stranger.drain();
    const worker = startWorker(queue, 10, 'r');
    queue.publish(workItem(3, 'r'));
    await expect.poll(() => worker.indices, SOON).toEqual([3]);
    expect(messages.filter((text) => /no work item/.test(text)).length).toBe(3);
    await link.close();
  });
});
