import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Logger } from '../../../src/kernel/logger.ts';
import { chooseEmbedder, type EmbeddingSettings } from '../../../src/retrieval/embedders/choose.ts';
import { chooseReranker, type RerankerSettings } from '../../../src/retrieval/rerankers/choose.ts';
import { embeddingService } from '../../contract/retriever/services.ts';

/**
 * Stands in for the optional package, which brings hundreds of megabytes: the same doors, with
 * vectors of word lengths. It refuses options that would run a model's own code, and devices it lacks.
 */
const PACKAGE = `
export const env = { version: '9.9.9', allowRemoteModels: true, localModelPath: '' };
const check = async (model, options) => {
  if ('trust_remote_code' in options) throw new Error('remote code');
  if (env.allowRemoteModels) throw new Error('would download');
  if (options.device && options.device !== 'cpu') throw new Error('no device ' + options.device);
  const { access } = await import('node:fs/promises');
  await access(env.localModelPath + '/' + model + '/config.json');
  globalThis.loads = (globalThis.loads ?? 0) + 1;
};
export async function pipeline(task, model, options) {
  await check(model, options);
  return async (texts, { pooling }) => ({ dims: [texts.length, 3], data: Float32Array.from(texts.flatMap((t) => [t.length, pooling === 'cls' ? 9 : 1, globalThis.loads])) });
}
export const AutoTokenizer = { from_pretrained: async (model, options) => (queries, { text_pair }) => ({ queries, text_pair }) };
export const AutoModelForSequenceClassification = { from_pretrained: async (model, options) => {
  await check(model, options);
  return async ({ queries, text_pair }) => ({ logits: { dims: [queries.length, 1], data: text_pair.map((t, i) => t.split(queries[i]).length - 1) } });
} };
`;

let projectDir: string;
let lines: string[];
const logger: Logger = { log: (_level, _category, message) => void lines.push(message) };

beforeEach(async () => {
  projectDir = await mkdtemp(join(tmpdir(), 'dlgforge-choose-'));
  lines = [];
});
afterEach(() => rm(projectDir, { recursive: true }));

async function installPackage(): Promise<void> {
  const folder = join(projectDir, 'node_modules', '@huggingface', 'transformers');
  await mkdir(folder, { recursive: true });
  await writeFile(
    join(folder, 'package.json'),
    JSON.stringify({ name: '@huggingface/transformers', type: 'module', main: 'index.js' }),
  );
  await writeFile(join(folder, 'index.js'), PACKAGE);
}

async function putModel(name: string): Promise<void> {
  await mkdir(join(projectDir, 'models', name), { recursive: true });
  await writeFile(join(projectDir, 'models', name, 'config.json'), '{}');
}

const embeddings = (changes: Partial<EmbeddingSettings> = {}): EmbeddingSettings => ({
  backend: 'auto',
  model: 'org/small',
  baseUrl: '',
  key: () => null,
  dimensions: null,
  fallbackModel: 'org/small',
  device: 'auto',
  fallbackOnCpu: true,
  modelKwargs: {},
  tokenizerKwargs: {},
  encodeKwargs: {},
  projectDir,
  ...changes,
});

const reranker = (changes: Partial<RerankerSettings> = {}): RerankerSettings => ({
  enabled: true,
  backend: 'cross_encoder',
  model: 'org/cross',
  baseUrl: '',
  key: () => null,
  instruction: '',
  maxLength: 512,
  batchSize: 4,
  device: 'auto',
  fallbackOnCpu: true,
  projectDir,
  ...changes,
});

describe('choosing an embedder', () => {
  it('F6 auto takes none when there is nothing, and says why in one line', async () => {
    expect(await chooseEmbedder(embeddings(), logger)).toBeNull();
    expect(lines).toEqual([
      '[retrieval] full-text search without embeddings: no embeddings.base_url, and no local model package installed',
    ]);
    await installPackage();
    expect(await chooseEmbedder(embeddings(), logger)).toBeNull();
    expect(lines[1]).toContain('the model org/small is not on disk');
  });

  it('F6 auto takes the endpoint when there is an address', async () => {
    await using service = await embeddingService();
    const embedder = await chooseEmbedder(embeddings({ baseUrl: service.url }), logger);
    expect(embedder?.identity).toMatchObject({ model: 'org/small', dimension: 64 });
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain('embeddings.base_url is set');
    await embedder?.close();
  });

  it('F6 auto takes the local model when package and model are there', async () => {
    await installPackage();
    await putModel('org/small');
    const embedder = await chooseEmbedder(embeddings(), logger);
    expect(embedder?.identity).toMatchObject({
      model: 'org/small',
      dimension: 3,
      version: expect.stringMatching(/^transformers-9\.9\.9\//),
    });
    expect(lines).toHaveLength(1);
    const [short, long] = (await embedder?.embed(['aa', 'aaaaaaaaaa'], 'passage')) ?? [];
    expect(short?.[0]).toBeLessThan(long?.[0] ?? 0);
    expect(Math.hypot(...(long ?? []))).toBeCloseTo(1, 5);
    await embedder?.close();
  });

  it('a named backend that cannot be had is an error with what to do', async () => {
    await expect(
      chooseEmbedder(embeddings({ backend: 'sentence_transformers' }), logger),
    ).rejects.toMatchObject({
      code: 'retrieval',
      message: expect.stringContaining('npm install @huggingface/transformers'),
    });
    await expect(chooseEmbedder(embeddings({ backend: 'endpoint' }), logger)).rejects.toMatchObject({
      code: 'retrieval',
      message: expect.stringContaining('base_url'),
    });
    expect(
      await chooseEmbedder(embeddings({ backend: 'none', baseUrl: 'http://127.0.0.1:1/v1' }), logger),
    ).toBeNull();
  });

  it('F6 honours device, CPU fallback and fallback model, and says what it fell back to', async () => {
    await installPackage();
    await putModel('org/small');
    const onCpu = await chooseEmbedder(embeddings({ device: 'cuda:0' }), logger);
    expect(lines[0]).toContain('using org/small on cpu, because org/small on cuda:0 failed (no device cuda)');
    await onCpu?.close();
    await expect(
      chooseEmbedder(
        embeddings({
          backend: 'sentence_transformers',
          device: 'cuda',
          fallbackOnCpu: false,
          fallbackModel: '',
        }),
        logger,
      ),
    ).rejects.toMatchObject({ message: expect.stringContaining('no device cuda') });
    const other = await chooseEmbedder(
      embeddings({ backend: 'sentence_transformers', model: 'org/missing' }),
      logger,
    );
    expect(other?.identity.model).toBe('org/small');
    expect(lines.some((line) => line.includes('because org/missing on auto failed (would download)'))).toBe(
      true,
    );
    await other?.close();
  });

  it('F6 honours encode_kwargs, in the identity too, and names those without meaning', async () => {
    await installPackage();
    await putModel('org/small');
    const plain = await chooseEmbedder(embeddings(), logger);
    const cls = await chooseEmbedder(
      embeddings({
        encodeKwargs: { pooling: 'cls', batch_size: 2, query_prompt: 'query: ', show_progress_bar: true },
      }),
      logger,
    );
    expect(cls?.identity.version).not.toBe(plain?.identity.version);
    expect(await cls?.embed(['a'], 'query')).not.toEqual(await cls?.embed(['a'], 'passage'));
    expect(lines.some((line) => line.includes('without meaning here: show_progress_bar'))).toBe(true);
    await Promise.all([plain?.close(), cls?.close()]);
  });

  it('F7 never passes on the wish to run code of a model', async () => {
    await installPackage();
    await putModel('org/small');
    const embedder = await chooseEmbedder(embeddings({ modelKwargs: { trust_remote_code: true } }), logger);
    expect(embedder).not.toBeNull();
    expect(lines.some((line) => line.includes('trust_remote_code is ignored'))).toBe(true);
    await embedder?.close();
  });
});

describe('choosing a reranker', () => {
  it('is none when off', async () => {
    expect(await chooseReranker(reranker({ enabled: false }), logger)).toBeNull();
    expect(await chooseReranker(reranker({ model: '' }), logger)).toBeNull();
  });

  it('F11 refuses to load a generative reranker as a cross-encoder, and says how to have it', async () => {
    await expect(chooseReranker(reranker({ model: 'Qwen/Qwen3-Reranker-4B' }), logger)).rejects.toMatchObject(
      { code: 'retrieval', message: expect.stringContaining('base_url') },
    );
    const served = await chooseReranker(
      reranker({ model: 'Qwen/Qwen3-Reranker-4B', baseUrl: 'http://127.0.0.1:1/v1' }),
      logger,
    );
    expect(served).not.toBeNull();
    await served?.close();
  });

  it('D6 loads a local cross-encoder once, and scores in order', async () => {
    await expect(chooseReranker(reranker(), logger)).rejects.toMatchObject({
      message: expect.stringContaining('npm install @huggingface/transformers'),
    });
    await installPackage();
    await putModel('org/cross');
    const local = await chooseReranker(reranker(), logger);
    const texts = ['a', 'b a a a', 'a a', 'none of it', 'aaaa'];
    expect(await local?.rank('a', texts)).toEqual([1, 3, 2, 0, 4]);
    expect(await local?.rank('a', texts)).toEqual([1, 3, 2, 0, 4]);
    await local?.close();
  });
});
