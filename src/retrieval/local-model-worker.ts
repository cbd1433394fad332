/**
 * Entry point of the worker thread that runs a local model through the optional package
 * `@huggingface/transformers`. The package runs ONNX graphs and never code that comes with a model
 * (fault F7). Its types are not installed with us; what is used of it is written down here.
 */
import { parentPort } from 'node:worker_threads';
import { invariant, messageOf } from '../kernel/errors.ts';

export interface LoadRequest {
  readonly type: 'load';
  /** File URL of the package's entry. */
  readonly packageUrl: string;
  readonly task: 'embed' | 'rank';
  readonly model: string;
  /** Folder that the model's name is relative to; null for the package's own cache. */
  readonly modelsDir: string | null;
  readonly allowDownload: boolean;
  readonly device: string | null;
  readonly modelOptions: Readonly<Record<string, unknown>>;
  readonly tokenizerOptions: Readonly<Record<string, unknown>>;
}
export type ModelRequest =
  | LoadRequest
  | {
      readonly type: 'embed';
      readonly texts: readonly string[];
      readonly pooling: string;
      readonly batchSize: number;
    }
  | {
      readonly type: 'rank';
      readonly query: string;
      readonly texts: readonly string[];
      readonly maxLength: number;
      readonly batchSize: number;
    };
export type ModelReply =
  | { readonly type: 'loaded'; readonly version: string }
  | { readonly type: 'vectors'; readonly vectors: readonly Float32Array[] }
  | { readonly type: 'scores'; readonly scores: readonly number[] }
  | { readonly type: 'failed'; readonly reason: string };

interface Tensor {
  readonly data: ArrayLike<number>;
  readonly dims: readonly number[];
}
type Options = Readonly<Record<string, unknown>>;
type Extractor = (texts: readonly string[], options: Options) => Promise<Tensor>;
type Tokenizer = (texts: readonly string[], options: Options) => unknown;
type Classifier = (inputs: unknown) => Promise<{ readonly logits: Tensor }>;
interface Transformers {
  readonly env: { version?: string; allowRemoteModels: boolean; localModelPath: string };
  readonly pipeline: (
    task: string,
    model: string,
    options: Options,
  ) => Promise<Extractor & { tokenizer?: object }>;
  readonly AutoTokenizer: { from_pretrained(model: string, options: Options): Promise<Tokenizer> };
  readonly AutoModelForSequenceClassification: {
    from_pretrained(model: string, options: Options): Promise<Classifier>;
  };
}

let extractor: Extractor | null = null;
let ranker: { readonly tokenizer: Tokenizer; readonly model: Classifier } | null = null;

async function load(request: LoadRequest): Promise<ModelReply> {
  const transformers = (await import(request.packageUrl)) as Transformers;
  const { env } = transformers;
  env.allowRemoteModels = request.allowDownload;
  if (request.modelsDir !== null) env.localModelPath = request.modelsDir;
  const options = {
    ...request.modelOptions,
    ...(request.device === null ? {} : { device: request.device }),
    local_files_only: !request.allowDownload,
  };
  if (request.task === 'embed') {
    extractor = await transformers.pipeline('feature-extraction', request.model, options);
  } else {
    const tokenizer = await transformers.AutoTokenizer.from_pretrained(request.model, {
      ...request.tokenizerOptions,
      local_files_only: !request.allowDownload,
    });
    ranker = {
      tokenizer,
      model: await transformers.AutoModelForSequenceClassification.from_pretrained(request.model, options),
    };
  }
  return { type: 'loaded', version: env.version ?? 'unknown' };
}

/** Rows of a [texts, width] tensor. */
function rowsOf({ data, dims }: Tensor): Float32Array[] {
  const [count = 0, width = 0] = dims;
  const values = Float32Array.from(data);
  return Array.from({ length: count }, (_, i) => values.slice(i * width, (i + 1) * width));
}

/** Texts of like length share a batch, so that little of it is padding. */
async function inBatches<T>(
  texts: readonly string[],
  size: number,
  run: (batch: readonly string[]) => Promise<readonly T[]>,
): Promise<T[]> {
  const order = texts.map((_, i) => i).sort((a, b) => (texts[a]?.length ?? 0) - (texts[b]?.length ?? 0));
  const results = new Map<number, T>();
  for (let start = 0; start < order.length; start += size) {
    const part = order.slice(start, start + size);
    const batch = await run(part.map((i) => texts[i] ?? ''));
    part.forEach((i, at) => {
      const result = batch[at];
      if (result !== undefined) results.set(i, result);
    });
  }
  return texts.flatMap((_, i) => results.get(i) ?? []);
}

async function answer(request: ModelRequest): Promise<ModelReply> {
  if (request.type === 'load') return load(request);
  if (request.type === 'embed') {
    const run = extractor;
    invariant(run, 'the model is loaded before it embeds');
    const options = { pooling: request.pooling, normalize: true };
    return {
      type: 'vectors',
      vectors: await inBatches(request.texts, request.batchSize, async (batch) =>
        rowsOf(await run(batch, options)),
      ),
    };
  }
  const model = ranker;
  invariant(model, 'the model is loaded before it ranks');
  const scores = await inBatches(request.texts, request.batchSize, async (batch) => {
    const inputs = model.tokenizer(
      batch.map(() => request.query),
      { text_pair: batch, padding: true, truncation: true, max_length: request.maxLength },
    );
    // One output is the score; two are "no" and "yes".
    return rowsOf((await model.model(inputs)).logits).map(
      (row) => (row.at(-1) ?? 0) - (row.length > 1 ? (row[0] ?? 0) : 0),
    );
  });
  return { type: 'scores', scores };
}

invariant(parentPort !== null, 'local-model-worker runs in a worker thread');
const port = parentPort;
port.on('message', (request: ModelRequest) => {
  void answer(request)
    .catch((error: unknown): ModelReply => ({ type: 'failed', reason: messageOf(error) }))
    .then((reply) => port.postMessage(reply));
});
