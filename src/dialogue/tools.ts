/** The assistant's tools: what is offered, what a call means, and the form of the results. */
import type { ToolCall, ToolSpec } from './chat.ts';
import type { ToolUse } from './conversation-state.ts';
import type { Passage } from './passage.ts';
import { type DialogueSettings, TOOL_HITS_MAX } from './settings.ts';

const VECTOR_DB_SEARCH: ToolSpec = {
  name: 'vector_db_search',
  description: 'Searches the knowledge base and returns the passages that match the query best.',
  parameters: {
    type: 'object',
    properties: {
      query: { type: 'string', description: 'A full phrase that says what is to be found.' },
      k: { type: 'integer', minimum: 1, description: 'How many passages to return.' },
    },
    required: ['query'],
    additionalProperties: false,
  },
};

const WEB_SEARCH: ToolSpec = {
  name: 'web_search',
  description: 'Searches the web. Use it only for what the knowledge base does not hold.',
  parameters: {
    type: 'object',
    properties: { query: { type: 'string', description: 'A full phrase that says what is to be found.' } },
    required: ['query'],
    additionalProperties: false,
  },
};

export function toolSpecs(settings: Pick<DialogueSettings, 'webSearch'>): readonly ToolSpec[] {
  return settings.webSearch ? [VECTOR_DB_SEARCH, WEB_SEARCH] : [VECTOR_DB_SEARCH];
}

export type ToolArguments = Readonly<Record<string, unknown>>;

export type ToolAction =
  | { readonly type: 'search'; readonly arguments: ToolArguments; readonly query: string; readonly k: number }
  | { readonly type: 'web'; readonly arguments: ToolArguments; readonly query: string }
  /** Answered without asking anybody. */
  | { readonly type: 'answer'; readonly arguments: ToolArguments; readonly result: ToolArguments };

/** What a call asks for. Whatever the model wrote, there is an answer to it. */
export function interpretToolCall(
  call: ToolCall,
  settings: Pick<DialogueSettings, 'topK' | 'webSearch'>,
): ToolAction {
  const args = parseArguments(call.arguments);
  const query = typeof args['query'] === 'string' ? args['query'].trim() : '';
  const isOffered =
    call.name === VECTOR_DB_SEARCH.name || (call.name === WEB_SEARCH.name && settings.webSearch);
  if (!isOffered) return { type: 'answer', arguments: args, result: { error: `Unknown tool: ${call.name}` } };
  if (query === '') {
    return {
      type: 'answer',
      arguments: args,
      result: { error: 'The argument `query` must be a non-empty string.' },
    };
  }
  if (call.name === WEB_SEARCH.name) return { type: 'web', arguments: args, query };
  const asked = args['k'];
  const k = typeof asked === 'number' && Number.isInteger(asked) && asked > 0 ? asked : settings.topK;
  return { type: 'search', arguments: args, query, k: Math.min(k, Math.max(TOOL_HITS_MAX, settings.topK)) };
}

/**
 * What goes into later prompts for the arguments of a call. Servers that parse them there would refuse the
 * whole conversation for a text that is no JSON object; the answer's own text stays in the journal.
 */
export function readableArguments(text: string): string {
  return parsed(text) === null ? '{}' : text;
}

/** Arguments that do not parse count as none; the result then says what is missing. */
function parseArguments(text: string): ToolArguments {
  return parsed(text) ?? {};
}

function parsed(text: string): ToolArguments | null {
  try {
    const value: unknown = JSON.parse(text);
    return value !== null && typeof value === 'object' && !Array.isArray(value)
      ? (value as ToolArguments)
      : null;
  } catch {
    // A model's text is no JSON now and then; both callers have an answer to that.
    return null;
  }
}

/** The result of `vector_db_search` (as in 0.1.0), with readable places instead of paths (F12). */
export function searchResult(query: string, passages: readonly Passage[]): ToolArguments {
  return {
    query,
    results: passages.map((passage) => ({
      source: passage.descriptor,
      chunk_index: passage.index,
      content: passage.text,
    })),
    rendered:
      passages.length === 0
        ? 'Knowledge base is empty or no relevant passages were found.'
        : passages.map((passage) => `[${passage.descriptor}] ${passage.text}`).join('\n'),
  };
}

export interface EvidenceItem {
  readonly source: string;
  readonly content: string;
}

/** What a tool result showed to the assistant, for the judge (C18). */
export function evidenceOf(use: ToolUse): EvidenceItem[] {
  const results = use.result['results'];
  if (!Array.isArray(results)) return [];
  return results.flatMap((item: unknown) => {
    if (item === null || typeof item !== 'object') return [];
    const { source, title, content, snippet } = item as Record<string, unknown>;
    return [{ source: textOf(source, title) ?? use.call.name, content: textOf(content, snippet) ?? '' }];
  });
}

const textOf = (...candidates: readonly unknown[]): string | undefined =>
  candidates.find((candidate): candidate is string => typeof candidate === 'string');
