import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { openNodeMetrics } from '../../../../src/bootstrap/metrics/node-metrics.ts';
import { METRIC_CATALOGUE } from '../../../../src/kernel/metric-catalogue.ts';
import { sample } from '../../../../src/kernel/metrics.ts';
import { serve } from './scrape.ts';

describe('the port', () => {
  test('serves the text format to Prometheus, and the process is in it', async () => {
    const { url, scrape } = await serve();
    const response = await fetch(`${url}/metrics`);
    expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
    await response.text();
    const { value, types } = await scrape();
    expect(value('dlgforge_build_info', { version: '1.0.0', node_kind: 'agent' })).toBe(1);
    expect(value('dlgforge_process_resident_bytes')).toBeGreaterThan(10_000_000);
    expect(value('dlgforge_process_cpu_seconds_total', { mode: 'user' })).toBeGreaterThan(0);
    expect(value('dlgforge_event_loop_lag_seconds', { of: 'max' })).toBeGreaterThanOrEqual(0);
    expect(types.get('dlgforge_process_cpu_seconds_total')).toBe('counter');
  });

  test.each([
    ['GET', '/'],
    ['GET', '/metrics/'],
    ['GET', '/healthz/x'],
    ['POST', '/metrics'],
    ['DELETE', '/healthz'],
    ['GET', '/..%2fmetrics'],
  ])('%s %s is not there', async (method, path) => {
    const { url } = await serve();
    const response = await fetch(`${url}${path}`, { method });
    expect(response.status).toBe(404);
    await response.text();
  });

  test('/healthz tells the trouble of a node that cannot work', async () => {
    let trouble: string | null = null;
    const { url } = await serve({ trouble: () => trouble });
    const healthy = await fetch(`${url}/healthz`);
    expect([healthy.status, await healthy.text()]).toEqual([200, 'ok\n']);
    trouble = 'NATS is away';
    const sick = await fetch(`${url}/healthz`);
    expect([sick.status, await sick.text()]).toEqual([503, 'NATS is away\n']);
  });

  test('that is taken is named, with what to do', async () => {
    const { url } = await serve();
    const other = openNodeMetrics({ version: '1.0.0', nodeKind: 'agent' });
    onTestFinished(() => other.close());
    await expect(other.serve({ port: Number(new URL(url).port) })).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringMatching(/EADDRINUSE.*Choose another --metrics-port/),
    });
  });

  test('is given back, also while somebody is connected', async () => {
    const node = openNodeMetrics({ version: '1.0.0', nodeKind: 'agent' });
    const server = await node.serve({ port: 0 });
    await (await fetch(`http://127.0.0.1:${server.port}/healthz`)).text();
    await server.close();
    await server.close();
    await node.close();
    await expect(fetch(`http://127.0.0.1:${server.port}/healthz`)).rejects.toThrow();
  });
});

describe('series', () => {
  test('every metric is described from the start, also without any', async () => {
    const { scrape } = await serve();
    const { types } = await scrape();
    expect([...types]).toEqual(Object.entries(METRIC_CATALOGUE).map(([name, { type }]) => [name, type]));
  });

  test('add up, keep their labels apart and escape them', async () => {
    const { node, scrape } = await serve();
    const { metrics } = node;
    metrics.counter('dlgforge_dead_letters_total', { reason: 'stopped' }).add();
    metrics.counter('dlgforge_dead_letters_total', { reason: 'stopped' }).add(2);
    metrics.counter('dlgforge_dead_letters_total', { reason: 'stopped' }).add(-5);
    metrics.counter('dlgforge_dead_letters_total', { reason: 'refused' }).add();
    metrics.gauge('dlgforge_lease_epoch', { singleton: 'run/"a"\\\n' }).set(7);
    const gone = metrics.gauge('dlgforge_lease_epoch', { singleton: 'router' });
    gone.set(3);
    gone.remove();
    const { value, values } = await scrape();
    expect(value('dlgforge_dead_letters_total', { reason: 'stopped' })).toBe(3);
    expect(value('dlgforge_dead_letters_total', { reason: 'refused' })).toBe(1);
    expect(values.get('dlgforge_lease_epoch{process="main",singleton="run/\\"a\\"\\\\\\n"}')).toBe(7);
    expect(value('dlgforge_lease_epoch', { singleton: 'router' })).toBeUndefined();
  });

  test('histograms are cumulative and end at +Inf', async () => {
    const { node, scrape } = await serve();
    const seconds = node.metrics.histogram('dlgforge_commit_seconds');
    for (const value of [0.0005, 0.001, 0.0011, 0.3, 99]) seconds.observe(value);
    const { value } = await scrape();
    const below = (le: string) => value('dlgforge_commit_seconds_bucket', { le });
    expect([below('0.001'), below('0.002'), below('0.5'), below('30'), below('+Inf')]).toEqual([
      2, 3, 4, 4, 5,
    ]);
    expect(value('dlgforge_commit_seconds_count')).toBe(5);
    expect(value('dlgforge_commit_seconds_sum')).toBeCloseTo(99.3026);
  });

  test('are bounded: what comes too late is counted under `other`', async () => {
    const { node, scrape } = await serve();
    const epoch = (n: number) => node.metrics.gauge('dlgforge_lease_epoch', { singleton: `run/${n}` });
    for (let n = 0; n < 2_000; n += 1) {
      epoch(n).set(n);
      if (n < 400) epoch(n).remove();
    }
    const { values, value } = await scrape();
    expect([...values.keys()].filter((key) => key.startsWith('dlgforge_lease_epoch')).length).toBe(501);
    expect(value('dlgforge_lease_epoch', { singleton: 'other' })).toBe(1_999);
    expect(value('dlgforge_lease_epoch', { singleton: 'run/899' })).toBe(899);
    expect(value('dlgforge_lease_epoch', { singleton: 'run/399' })).toBeUndefined();
  });

  test('of two sources are one', async () => {
    const { node, scrape } = await serve();
    const members = (count: number) => () => [sample('dlgforge_members', count, { kind: 'agent' })];
    const end = node.metrics.source(members(2));
    node.metrics.source(members(3));
    expect((await scrape()).value('dlgforge_members', { kind: 'agent' })).toBe(5);
    end();
    expect((await scrape()).value('dlgforge_members', { kind: 'agent' })).toBe(3);
  });

  test('a source that fails or hangs takes nothing along, and is counted', async () => {
    const { node, scrape } = await serve();
    node.metrics.source(() => {
      throw new Error('no');
    });
    node.metrics.source(() => new Promise(() => undefined));
    node.metrics.source(() => [sample('dlgforge_members', 1, { kind: 'agent' })]);
    const { value } = await scrape();
    expect(value('dlgforge_members', { kind: 'agent' })).toBe(1);
    expect(value('dlgforge_metric_sources_failed_total')).toBe(2);
  });
});

test('one port tells of the worker processes too', async () => {
  const worker = fork(join(import.meta.dirname, 'metrics-worker.ts'), { execArgv: [] });
  const gone = once(worker, 'exit');
  onTestFinished(async () => {
    worker.kill('SIGKILL');
    await gone;
  });
  await once(worker, 'message');
  const { scrape } = await serve({ workers: () => [{ name: 'w0', channel: worker }] });
  const { value } = await scrape();
  expect(value('dlgforge_asks_timed_out_total', { process: 'w0' })).toBe(42);
  expect(value('dlgforge_build_info', { process: 'w0', node_kind: 'worker' })).toBe(1);
  expect(value('dlgforge_build_info', { process: 'main' })).toBe(1);
  worker.kill('SIGKILL');
  await gone;
  const after = await scrape();
  expect(after.value('dlgforge_build_info', { process: 'w0' })).toBeUndefined();
  expect(after.value('dlgforge_build_info', { process: 'main' })).toBe(1);
});
