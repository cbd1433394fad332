import { asRecord, type ChatRequest } from './chat-request.ts';

/** The part that a request asks for; `general` is everything that is not one of dlgforge's roles. */
export type RehearsedRole = 'user' | 'assistant' | 'judge' | 'general';

/** Field names that only one role's output has (as in 0.1.0). */
const FIELDS: readonly { readonly role: RehearsedRole; readonly names: readonly string[] }[] = [
  { role: 'judge', names: ['question_ok', 'answer_ok', 'score'] },
  { role: 'user', names: ['user_message', 'coverage_target', 'grounding_facts'] },
  { role: 'assistant', names: ['assistant_message', 'reasoning_trace', 'did_web_search'] },
];

/**
 * The schema decides. Without one, the field names in the system messages do, because a client
 * that cannot send a schema writes it into the prompt; that keeps an answer independent of the
 * response format.
 */
export function recogniseRole(request: ChatRequest): RehearsedRole {
  if (request.responseFormat.type === 'json_schema') {
    const bySchema = roleOfSchema(request.responseFormat.name, request.responseFormat.schema);
    if (bySchema !== null) return bySchema;
  }
  const system = request.messages
    .filter((message) => message.role === 'system')
    .map((message) => message.content)
    .join('\n');
  return roleOfText(system) ?? roleOfText(lastUserMessage(request)) ?? 'general';
}

function roleOfSchema(name: string, schema: Readonly<Record<string, unknown>>): RehearsedRole | null {
  const properties = asRecord(schema.properties) ?? {};
  const byFields = FIELDS.find(({ names }) => names.every((field) => field in properties));
  if (byFields !== undefined) return byFields.role;
  return FIELDS.find(({ names }) => names[0] === name)?.role ?? null;
}

/** The role all of whose names occur; among several, the one whose first name comes last. */
function roleOfText(text: string): RehearsedRole | null {
  const present = FIELDS.filter(({ names }) => names.every((name) => text.includes(name)));
  const ordered = present.sort(
    (a, b) => text.lastIndexOf(b.names[0] ?? '') - text.lastIndexOf(a.names[0] ?? ''),
  );
  return ordered[0]?.role ?? null;
}

function lastUserMessage(request: ChatRequest): string {
  return request.messages.findLast((message) => message.role === 'user')?.content ?? '';
}
