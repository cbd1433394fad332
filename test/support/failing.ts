/** Things that fail on purpose: a wrapper whose calls throw when the test says so, and a relay that answers in a server's place. */
import { type Answer, completion, sendJson, startChatServer } from './chat-server.ts';

export interface Failing<T> {
  readonly target: T;
  /** How often it has failed. */
  readonly fired: () => number;
}

/**
 * `target`, but calls of `method` reject with `error` where `when` says so.
 * @param when gets the number of the call, from 1, and its arguments
 */
export function failing<T extends object>(
  target: T,
  method: keyof T & string,
  when: (call: number, given: readonly unknown[]) => boolean,
  error: () => Error = () => new Error(`${method} fails on purpose`),
): Failing<T> {
  let calls = 0;
  let fired = 0;
  const proxy = new Proxy(target, {
    get(object, name) {
      const value: unknown = Reflect.get(object, name);
      if (typeof value !== 'function') return value;
      if (name !== method) return value.bind(object);
      return (...given: unknown[]): unknown => {
        calls += 1;
        if (!when(calls, given)) return value.apply(object, given);
        fired += 1;
        throw error();
      };
    },
  });
  return { target: proxy, fired: () => fired };
}

/** The same store with one of its parts, for example its journal, replaced. */
export function withPart<T extends object, K extends keyof T>(target: T, name: K, part: T[K]): T {
  return new Proxy(target, {
    get(object, wanted) {
      if (wanted === name) return part;
      const value: unknown = Reflect.get(object, wanted);
      return typeof value === 'function' ? value.bind(object) : value;
    },
  });
}

export interface ChatBody {
  readonly messages: readonly {
    readonly role: string;
    readonly content: string | null;
    readonly tool_calls?: readonly Record<string, unknown>[];
  }[];
  readonly tools?: readonly unknown[];
  readonly response_format?: { readonly json_schema?: { readonly name: string } };
}

/** What a request asks for: `dlgforge_question`, `dlgforge_answer` or `dlgforge_verdict`. */
export const outputOf = (body: ChatBody): string =>
  // With tools no format is asked for, and only the assistant has tools.
  (body.tools ?? []).length > 0 ? 'dlgforge_answer' : (body.response_format?.json_schema?.name ?? '');

type Message = Readonly<Record<string, unknown>>;

/** An HTTP server before `url`: `instead` may give the assistant message, or a status, for a request; null passes it on. */
export async function startRelay(
  url: string,
  instead: (body: ChatBody, number: number) => Message | number | null,
) {
  const answer: Answer = async ({ path, body, number }, response) => {
    const own = path.endsWith('/chat/completions') ? instead(body as unknown as ChatBody, number) : null;
    if (typeof own === 'number') return sendJson(response, own, { error: { message: 'on purpose' } });
    if (own !== null) {
      const { tool_calls } = own as { tool_calls?: unknown };
      const choice = {
        index: 0,
        finish_reason: tool_calls === undefined ? 'stop' : 'tool_calls',
        message: { role: 'assistant', content: null, ...own },
      };
      return sendJson(response, 200, completion('', { choices: [choice] }));
    }
    const passed = await fetch(`${url}${path}`, {
      method: path.endsWith('/models') ? 'GET' : 'POST',
      headers: { 'content-type': 'application/json' },
      ...(path.endsWith('/models') ? {} : { body: JSON.stringify(body) }),
    });
    sendJson(response, passed.status, await passed.json());
  };
  const server = await startChatServer(answer);
  return { ...server, url: server.url.replace(/\/v1$/, '') };
}

/** A tool call as OpenAI writes it. */
export const toolCall = (name: string, given: string, id: string | null = `call_${name}`): Message => ({
  ...(id === null ? {} : { id }),
  type: 'function',
  function: { name, arguments: given },
});
