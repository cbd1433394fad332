import { type ApiError, invalidRequest } from './api-error.ts';
import { asRecord } from './chat-request.ts';
import { wordsOf } from './passage-text.ts';
import { estimateTokens } from './request-key.ts';

const INPUTS_MAX = 2048;
const DIMENSION_MAX = 8192;

export type Reply =
  | { readonly ok: true; readonly body: string }
  | { readonly ok: false; readonly error: ApiError };

const refuse = (message: string, param: string): Reply => ({
  ok: false,
  error: invalidRequest(message, param),
});

/** Answers an embeddings request; texts that share words or parts of words get vectors that are close. */
export function embeddingsReply(body: unknown, dimension: number): Reply {
  const request = asRecord(body);
  const model = request?.model;
  if (request === null || typeof model !== 'string')
    return refuse('You must provide a model parameter.', 'model');
  const inputs = typeof request.input === 'string' ? [request.input] : request.input;
  if (!Array.isArray(inputs) || inputs.length === 0 || inputs.length > INPUTS_MAX) {
    return refuse(`input must be a text or an array of 1 to ${INPUTS_MAX} texts.`, 'input');
  }
  if (!inputs.every((text): text is string => typeof text === 'string' && text !== '')) {
    return refuse('Every input must be a text that is not empty.', 'input');
  }
  const size = request.dimensions ?? dimension;
  if (typeof size !== 'number' || !Number.isInteger(size) || size < 1 || size > DIMENSION_MAX) {
    return refuse(`dimensions must be an integer from 1 to ${DIMENSION_MAX}.`, 'dimensions');
  }
  const encode =
    request.encoding_format === 'base64' ? base64Of : (vector: Float32Array) => Array.from(vector);
  const tokens = inputs.reduce((sum, text) => sum + estimateTokens(text), 0);
  const data = inputs.map((text, index) => ({
    object: 'embedding',
    index,
    embedding: encode(embed(text, size)),
  }));
  return {
    ok: true,
    body: JSON.stringify({
      object: 'list',
      data,
      model,
      usage: { prompt_tokens: tokens, total_tokens: tokens },
    }),
  };
}

const base64Of = (vector: Float32Array): string =>
  Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength).toString('base64');

/**
 * Signed feature hashing (Weinberger et al., 2009) of words and their 3- to 5-grams, of unit length.
 */
export function embed(text: string, dimension: number): Float32Array {
  const vector = new Float32Array(dimension);
  for (const word of wordsOf(text)) {
    add(vector, word, 1);
    const padded = `<${word}>`;
    for (let size = 3; size <= 5; size += 1) {
      for (let start = 0; start + size <= padded.length; start += 1)
        add(vector, padded.slice(start, start + size), 0.5);
    }
  }
  const length = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
  if (length === 0) vector[0] = 1;
  else for (let i = 0; i < dimension; i += 1) vector[i] = (vector[i] ?? 0) / length;
  return vector;
}

function add(vector: Float32Array, feature: string, weight: number): void {
  const hash = fnv1a(feature);
  const at = (hash >>> 1) % vector.length;
  vector[at] = (vector[at] ?? 0) + ((hash & 1) === 0 ? weight : -weight);
}

/** FNV-1a over UTF-16 units (Fowler, Noll, Vo), with a final mix so that its low bits can be used. */
function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i += 1) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  hash ^= hash >>> 15;
  return Math.imul(hash, 0x85ebca77) >>> 0;
}
