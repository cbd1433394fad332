import { invalidRequest } from './api-error.ts';
import { asRecord } from './chat-request.ts';
import type { Reply } from './embeddings.ts';
import { contentWordsOf, wordsOf } from './passage-text.ts';
import { estimateTokens } from './request-key.ts';

const DOCUMENTS_MAX = 2048;

const refuse = (message: string, param: string): Reply => ({
  ok: false,
  error: invalidRequest(message, param),
});

/** Answers a rerank request in the form that Jina, Cohere and vLLM share, the best document first. */
export function rerankReply(body: unknown): Reply {
  const request = asRecord(body);
  const { model, query, documents } = request ?? {};
  if (request === null || typeof query !== 'string') return refuse('You must provide a query.', 'query');
  if (!Array.isArray(documents) || documents.length === 0 || documents.length > DOCUMENTS_MAX) {
    return refuse(`documents must be an array of 1 to ${DOCUMENTS_MAX} texts.`, 'documents');
  }
  const texts = documents.map((item: unknown) => (typeof item === 'string' ? item : asRecord(item)?.text));
  if (!texts.every((text): text is string => typeof text === 'string')) {
    return refuse('Every document must be a text or an object with a text.', 'documents');
  }
  const topN = request.top_n ?? texts.length;
  if (typeof topN !== 'number' || !Number.isInteger(topN) || topN < 1) {
    return refuse('top_n must be an integer of at least 1.', 'top_n');
  }
  const wanted = new Set(contentWordsOf(query));
  const results = texts
    .map((text, index) => ({ index, document: { text }, relevance_score: relevance(wanted, text) }))
    .sort((a, b) => b.relevance_score - a.relevance_score || a.index - b.index)
    .slice(0, topN)
    .map((result) => (request.return_documents === false ? { ...result, document: undefined } : result));
  const tokens = estimateTokens(query) + texts.reduce((sum, text) => sum + estimateTokens(text), 0);
  return {
    ok: true,
    body: JSON.stringify({ id: 'rerank-rehearsal', model, usage: { total_tokens: tokens }, results }),
  };
}

/** The share of the query's content words that the text has, a little less for long texts; 0 to 1. */
function relevance(wanted: ReadonlySet<string>, text: string): number {
  if (wanted.size === 0) return 0;
  const words = wordsOf(text);
  const has = new Set(words);
  const shared = [...wanted].filter((word) => has.has(word)).length;
  return shared / wanted.size / (1 + words.length / 2000);
}
