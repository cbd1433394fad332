/** The two shapes of a reasoning trace: as stored in a turn, and as written to the record files. */
import type { JsonObject, JsonValue } from './conversation-record.ts';
import { pythonText } from './python-json.ts';

/** Words that models send as whole queries although they find nothing: languages and countries. */
const NO_QUERIES: ReadonlySet<string> = new Set(
  'ar en fr english french arabic morocco moroccan egypt egyptian levantine uae gulf saudi'.split(' '),
);

/** At most two characters, as people count them in most scripts. */
const CRUMB = /^.{0,2}$/su;

/** The queries that could find something: trimmed, not empty, no lone language names, no crumbs. */
export function cleanQueries(value: JsonValue | undefined): string[] {
  return asList(value)
    .map((item) => pythonText(item).trim())
    .filter(isQuery);
}

function isQuery(query: string): boolean {
  if (query === '') return false;
  return /\s/u.test(query) || !(CRUMB.test(query) || NO_QUERIES.has(query.toLowerCase()));
}

/** The trace with its queries cleaned; a trace without a `retrieval_queries` object comes back as it is. */
export function cleanRetrievalQueries<T extends { readonly retrieval_queries?: unknown }>(trace: T): T {
  const queries = trace.retrieval_queries as JsonValue | undefined;
  if (!isObject(queries)) return trace;
  return {
    ...trace,
    retrieval_queries: {
      ...queries,
      vector_db_search: cleanQueries(queries['vector_db_search']),
      web_search: cleanQueries(queries['web_search']),
    },
  };
}

/** The form of the record files (docs/outputs.md); takes the looser traces of 0.1.0 too. */
export function normaliseTrace(trace: JsonValue | undefined): JsonObject {
  if (!isObject(trace)) return {};
  const { thinking, premises } = trace;
  return {
    ...trace,
    ...(thinking === undefined || thinking === null ? {} : { thinking: normalisedThinking(thinking) }),
    ...(isList(premises) ? { premises: premises.map(normalisedPremise) } : {}),
  };
}

function normalisedThinking(thinking: JsonValue): JsonValue {
  return asList(thinking).map((step) =>
    isObject(step) ? { ...step, text: pythonText(step['text']) } : { text: pythonText(step) },
  );
}

function normalisedPremise(premise: JsonValue): JsonValue {
  if (!isObject(premise)) return { id: '', text: pythonText(premise), evidence_refs: [], assumption: '' };
  const refs = premise['evidence_refs'];
  return {
    id: pythonText(premise['id']),
    text: pythonText(premise['text']),
    evidence_refs: asList(refs)
      .map(pythonText)
      .filter((ref) => ref.trim() !== ''),
    assumption: assumptionText(premise['assumption'] ?? premise['note'] ?? premise['text_note']),
  };
}

/** Assumptions are the one place where truth values are spelt as in JSON. */
const assumptionText = (value: JsonValue | undefined): string =>
  typeof value === 'boolean' ? String(value) : pythonText(value);

/** Nothing is an empty list, a single value a list of one. */
function asList(value: JsonValue | undefined): readonly JsonValue[] {
  if (value === undefined || value === null) return [];
  return isList(value) ? value : [value];
}

function isList(value: JsonValue | undefined): value is readonly JsonValue[] {
  return Array.isArray(value);
}

function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
