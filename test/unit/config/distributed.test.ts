/** `run.distributed`: the keys of today, and what becomes of the ones that were made for Ray. */
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { tlsFiles, tlsFilesOfNode } from '../../../src/config/nats-tls.ts';
import { indexDir } from '../../../src/config/paths.ts';
import { checkRequirements } from '../../../src/config/requirements.ts';
import { storageOptionsOf } from '../../../src/config/object-store.ts';
import { withoutSecrets } from '../../../src/config/show.ts';
import { load, refused } from './project.ts';

const enabled = (more: string): string => `run: {distributed: {enabled: true, ${more}}}`;

describe('a configuration that was made for Ray', () => {
  const RAY = `
run:
  distributed:
    enabled: true
    executor: ray
    ray:
      address: auto
      auto_start_local: false
      namespace: mine
      actor: {num_cpus: 2, num_gpus: 0.5, coordinator_num_cpus: 1, replicas_qa: 3, replicas_complete: 4}
`;

  test('is read as what it means today, each key with one line', () => {
    const { config, notices } = load(RAY);
    expect(config.run.distributed).toMatchObject({
      backend: 'nats',
      address: 'auto',
      auto_start_local: false,
      namespace: 'mine',
      replicas_qa: 3,
      replicas_complete: 4,
      actor: { num_cpus: 2, num_gpus: 0.5 },
    });
    const deprecated = notices.filter((notice) => notice.includes('Deprecated'));
    expect(deprecated).toHaveLength(9);
    expect(deprecated).toContainEqual(
      expect.stringContaining('`run.distributed.ray.address` is now `run.distributed.address`'),
    );
    expect(deprecated).toContainEqual(
      expect.stringContaining('`run.distributed.ray.actor.replicas_qa` is now `run.distributed.replicas_qa`'),
    );
  });

  test.each([
    ['in the file', enabled('backend: ray'), {}],
    ['in the environment', enabled('spawn: {workers: true}'), { DISTRIBUTED_BACKEND: 'ray' }],
  ])('has its backend ray read as nats, with a notice: %s', (_where, yaml, env) => {
    const { config, notices } = load(yaml, env);
    expect(config.run.distributed.backend).toBe('nats');
    expect(notices.filter((notice) => /\bray\b/.test(notice) && /\bnats\b/.test(notice))).toHaveLength(1);
  });

  test.each([
    ['ray://head:10001', enabled('address: "ray://head:10001"'), {}],
    ['ray://head:10001', enabled('ray: {address: "ray://head:10001"}'), {}],
    ['10.0.0.5:6379', enabled('namespace: x'), { RAY_ADDRESS: '10.0.0.5:6379' }],
  ])('H: the address %s is an error that explains', (address, yaml, env) => {
    const { message } = refused(yaml, env);
    expect(message).toContain('is the address of a Ray cluster, and dlgforge does not run on Ray any more');
    expect(message).toContain(`Got: ${address}`);
    expect(message).toContain('dlgforge cluster start --head');
  });

  test('has an address for Ray that nobody uses: no error', () => {
    expect(load('', { RAY_ADDRESS: 'http://127.0.0.1:8265' }).config.run.distributed.enabled).toBe(false);
  });
});

describe('an address', () => {
  test.each([
    'auto',
    'nats://a:4222',
    'tls://a.example',
    'nats://a:4222, nats://b:4222',
    'nats://[::1]:4222',
  ])('%s is taken', (address) => {
    const { config } = load(enabled(`address: "${address}"`));
    expect(config.run.distributed.address).toBe(address);
  });

  test.each(['localhost:4222', 'http://a', 'nats://a:4222, b', 'automatic', 'nats://'])(
    '%s is refused with what it may be',
    (address) => {
      const { message } = refused(enabled(`address: "${address}"`));
      expect(message).toMatch(/must be `auto`, or start with nats:\/\/ or tls:\/\//);
    },
  );

  test('does not show the secret that it carries', () => {
    const { message } = refused(enabled('address: "http://me:hunter2@a"'));
    expect(message).not.toContain('hunter2');
  });
});

test('a token comes from the environment and is never shown', () => {
  const { config } = load('', { DLGFORGE_NATS_TOKEN: 'hunter2' });
  expect(config.run.distributed.nats_token?.reveal()).toBe('hunter2');
  expect(JSON.stringify(withoutSecrets(config))).not.toContain('hunter2');
});

test('a client certificate needs its key', () => {
  expect(refused(enabled('tls: {cert_file: c.pem}')).message).toContain('belong together');
  expect(load(enabled('tls: {cert_file: c.pem, key_file: k.pem}')).config.run.distributed.tls).toEqual({
    ca_file: '',
    cert_file: 'c.pem',
    key_file: 'k.pem',
  });
});

test('files for TLS are found from the project, and by a node from its working folder', () => {
  const { config, projectRoot } = load(
    enabled('tls: {ca_file: certs/ca.pem, cert_file: /c.pem, key_file: k.pem}'),
  );
  expect(tlsFiles(config, projectRoot)).toEqual({
    ca: join(projectRoot, 'certs/ca.pem'),
    cert: '/c.pem',
    key: join(projectRoot, 'k.pem'),
  });
  expect(tlsFiles(load('').config, '/p')).toBeNull();
  expect(tlsFilesOfNode({ DLGFORGE_NATS_CA: 'ca.pem' }, '/work')).toEqual({ ca: '/work/ca.pem' });
  expect(tlsFilesOfNode({}, '/work')).toBeNull();
});

test('a cluster needs no DSN: it has a database of its own', () => {
  const { problems } = checkRequirements(
    load(`${enabled('address: auto')}\nllm: {backend: rehearsal}`),
    'run',
  );
  expect(problems).toEqual([]);
});

test('replicas may need no GPU, and a process may bring no workers', () => {
  expect(load('llm: {vllm: {num_gpus_per_replica: 0}}').config.llm.vllm.num_gpus_per_replica).toBe(0);
  const { distributed } = load(enabled('replicas_qa: 0, replicas_complete: 0')).config.run;
  expect(distributed.replicas_qa + distributed.replicas_complete).toBe(0);
});

describe('an index in an object store', () => {
  test('is built in the state folder of this machine', () => {
    const { config, projectRoot } = load('tools: {retrieval: {index: {persist_dir: "s3://bucket/index"}}}');
    expect(indexDir(config, projectRoot)).toBe(join(projectRoot, '.dlgforge', 'knowledge_index'));
  });

  test("is reached with the node's own credentials, and nothing else of its environment", () => {
    const environment = {
      AWS_ACCESS_KEY_ID: 'a',
      GOOGLE_SERVICE_ACCOUNT: 'g',
      OPENAI_API_KEY: 'k',
      AWS_REGION: '',
    };
    expect(storageOptionsOf(environment)).toEqual({ aws_access_key_id: 'a', google_service_account: 'g' });
  });
});
