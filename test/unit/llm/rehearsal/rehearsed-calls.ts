/** Real prompts of dlgforge, sent over real HTTP to a rehearsal backend. */
import { request } from 'undici';
import type { ChatMessage } from '../../../../src/dialogue/chat.ts';
import {
  answerOutput,
  judgeOutput,
  type QuestionOutput,
  questionOutput,
} from '../../../../src/dialogue/outputs.ts';
import {
  buildAnswerMessages,
  buildQuestionMessages,
  buildTurnJudgeMessages,
  type OfferedSnippet,
  preparePrompts,
  type QuestionPromptInput,
} from '../../../../src/dialogue/prompts.ts';
import { searchResult, toolSpecs } from '../../../../src/dialogue/tools.ts';
import {
  type Rehearsal,
  type StartRehearsalOptions,
  startRehearsal,
} from '../../../../src/llm/rehearsal/server.ts';
import { shippedPromptAssets } from '../../../support/prompt-files.ts';

export const REASONS = ['irrelevant', 'incorrect', 'hallucinated', 'weak_grounding', 'vague', 'incomplete'];

export const prompts = preparePrompts(shippedPromptAssets(), {
  judgeReasons: REASONS,
  topK: 5,
  question: '',
});

export const SNIPPETS: readonly OfferedSnippet[] = [
  {
    topic_id: 'winter-0',
    source_descriptor: 'Beekeeping, Winter',
    text: `# Winter

A colony needs about fifteen kilograms of honey to survive the winter in a temperate climate. The bees form a cluster
around the queen and shiver their flight muscles to keep the temperature near thirty degrees. Moisture is more dangerous
than cold, because wet bees lose heat quickly. An upper entrance lets humid air leave the hive.`,
  },
  {
    topic_id: 'swarm-0',
    source_descriptor: 'Beekeeping, Swarming',
    text: `Swarming is the natural way in which a colony reproduces. The old queen leaves the hive with about half of the
workers. Scouts search for a dry cavity for several hours before the swarm moves in. The remaining workers raise a new
queen from a young larva.`,
  },
  {
    topic_id: 'harvest-0',
    source_descriptor: 'Beekeeping, Harvest',
    text: `Honey is ripe when the bees have sealed most of the cells with wax. A refractometer shows whether the water
content is below eighteen percent. The extractor uses the centrifugal force to empty the frames without breaking the
comb. The keeper returns the empty frames to the colony in the evening.`,
  },
];

export const FRENCH: OfferedSnippet = {
  topic_id: 'essaimage-0',
  source_descriptor: 'Apiculture, Essaimage',
  text: `L'essaimage est la reproduction naturelle d'une colonie d'abeilles. La vieille reine quitte la ruche avec la
moitié des ouvrières. Les éclaireuses cherchent une cavité sèche pendant plusieurs heures.`,
};

export const ARABIC: OfferedSnippet = {
  topic_id: 'asal-0',
  source_descriptor: 'تربية النحل، العسل',
  text: `ينتج النحل العسل من رحيق الأزهار الذي تجمعه الشغالات في الربيع. تخزن الخلية العسل في أقراص الشمع حتى ينضج. يحتاج
المربي إلى مراقبة رطوبة العسل قبل القطف.`,
};

/** Starts a server that ends with the test. */
export async function rehearsing(
  use: (rehearsal: Rehearsal) => Promise<void>,
  options: StartRehearsalOptions = {},
): Promise<void> {
  const rehearsal = await startRehearsal(options);
  try {
    await use(rehearsal);
  } finally {
    await rehearsal.close();
  }
}

export interface ChatReply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly content: string;
  readonly toolCalls: readonly { id: string; type: string; function: { name: string; arguments: string } }[];
  readonly finishReason: string;
  readonly body: Record<string, unknown>;
}

interface Reply {
  readonly status: number;
  readonly headers: ChatReply['headers'];
  readonly body: unknown;
}

/** Through undici itself, which costs a fifth of `fetch`; these tests make thousands of calls. */
export async function call(
  url: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Reply> {
  const response = await request(`${url}${path}`, {
    headers,
    ...(body === undefined
      ? {}
      : { method: 'POST', body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  const text = await response.body.text();
  return {
    status: response.statusCode,
    headers: response.headers,
    body: text.startsWith('{') || text.startsWith('[') ? (JSON.parse(text) as unknown) : text,
  };
}

export async function chat(url: string, body: Record<string, unknown>): Promise<ChatReply> {
  const {
    status,
    headers,
    body: answer,
  } = await call(url, '/v1/chat/completions', { model: 'any', ...body });
  const parsed = answer as {
    choices?: {
      message: { content: string | null; tool_calls?: ChatReply['toolCalls'] };
      finish_reason: string;
    }[];
  };
  const choice = parsed.choices?.[0];
  return {
    status,
    headers,
    content: choice?.message.content ?? '',
    toolCalls: choice?.message.tool_calls ?? [],
    finishReason: choice?.finish_reason ?? '',
    body: parsed,
  };
}

export const wire = (messages: readonly ChatMessage[]): Record<string, unknown>[] =>
  messages.map((message) => ({ role: message.role, content: message.content }));

export const questionInput = (changes: Partial<QuestionPromptInput> = {}): QuestionPromptInput => ({
  targetLanguage: 'English',
  turnCount: 4,
  userPersona: 'A patient hobbyist.',
  assistantPersona: '',
  history: [],
  mode: 'fresh',
  snippets: SNIPPETS,
  seedTopic: '',
  seedQuestion: '',
  recentUserQuestions: [],
  rejectedQuestions: [],
  retryNote: '',
  ...changes,
});

export const questionMessages = (changes: Partial<QuestionPromptInput> = {}) =>
  wire(buildQuestionMessages(prompts, questionInput(changes)));

const schemaOf = (spec: { readonly name: string; readonly schema: Readonly<Record<string, unknown>> }) => ({
  type: 'json_schema',
  json_schema: { name: spec.name, strict: true, schema: spec.schema },
});

export const QUESTION_FORMAT = schemaOf(questionOutput.spec);
export const ANSWER_FORMAT = schemaOf(answerOutput.spec);
export const JUDGE_FORMAT = schemaOf(judgeOutput(REASONS).spec);

export const TOOLS = toolSpecs({ webSearch: false }).map((tool) => ({ type: 'function', function: tool }));

export const answerMessages = (question: QuestionOutput, targetLanguage: string) =>
  wire(
    buildAnswerMessages(prompts, {
      targetLanguage,
      turnCount: 4,
      userPersona: '',
      assistantPersona: 'A calm teacher.',
      history: [],
      question,
    }),
  );

export interface ToolLoop {
  readonly content: string;
  readonly queries: readonly string[];
  readonly rounds: number;
  readonly messages: readonly Record<string, unknown>[];
}

/** Runs the tool loop to its end; every search finds `snippets`. */
export async function answerWithTools(
  url: string,
  opening: readonly Record<string, unknown>[],
  snippets: readonly OfferedSnippet[],
): Promise<ToolLoop> {
  const messages = [...opening];
  const queries: string[] = [];
  for (let rounds = 0; rounds < 8; rounds += 1) {
    const reply = await chat(url, { messages, tools: TOOLS, response_format: ANSWER_FORMAT });
    if (reply.toolCalls.length === 0) return { content: reply.content, queries, rounds, messages };
    messages.push({ role: 'assistant', content: null, tool_calls: reply.toolCalls });
    for (const call of reply.toolCalls) {
      const { query } = JSON.parse(call.function.arguments) as { query: string };
      queries.push(query);
      messages.push({ role: 'tool', tool_call_id: call.id, content: resultOf(query, snippets) });
    }
  }
  throw new Error('the assistant never answered');
}

const resultOf = (query: string, snippets: readonly OfferedSnippet[]): string =>
  JSON.stringify(
    searchResult(
      query,
      snippets.map((snippet, index) => ({
        id: snippet.topic_id,
        source: `${snippet.topic_id}.md`,
        descriptor: snippet.source_descriptor,
        index,
        text: snippet.text,
        charStart: 0,
        charEnd: snippet.text.length,
      })),
    ),
  );

export const judgeMessages = (question: string, answer: string, snippets: readonly OfferedSnippet[]) =>
  wire(
    buildTurnJudgeMessages(prompts, {
      targetLanguage: 'English',
      turnCount: 4,
      userPersona: '',
      assistantPersona: '',
      history: [],
      userMessage: question,
      assistantMessage: answer,
      evidence: snippets.map(({ source_descriptor: source, text: content }) => ({ source, content })),
    }),
  );

/** Resolves when `holds` does; fails after `deadlineMs`. */
export async function eventually(holds: () => boolean, deadlineMs = 5_000): Promise<void> {
  const end = performance.now() + deadlineMs;
  while (!holds()) {
    if (performance.now() > end) throw new Error('the state did not come before the deadline');
    await new Promise((resolve) => {
      setTimeout(resolve, 2);
    });
  }
}
