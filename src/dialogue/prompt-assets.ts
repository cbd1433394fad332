/**
 * The prompt assets: who the models are (`agents.yaml`) and what they are asked (`tasks.yaml`).
 * Parses already-read YAML values; where they come from is not known here.
 *
 * A user's files overlay the shipped ones part by part, so that replacing one instruction does not
 * mean copying everything.
 */
import { z } from 'zod';
import { DlgforgeError } from '../kernel/errors.ts';
import { parseAsset } from './asset-schema.ts';

export const AGENT_KEYS = ['qa_generator', 'kb_responder', 'qa_judge'] as const;
export type AgentKey = (typeof AGENT_KEYS)[number];

export const TASK_KEYS = [
  'qa_generation_task',
  'kb_answer_task',
  'qa_judge_task',
  'qa_conversation_judge_task',
] as const;
export type TaskKey = (typeof TASK_KEYS)[number];

/**
 * A prompt in the order in which its parts change, which is what prefix caches reward: `system` is
 * the same in a whole run, `conversation` only grows, `turn` is new every time.
 */
export const TASK_PARTS = ['system', 'conversation', 'turn'] as const;
export type TaskPart = (typeof TASK_PARTS)[number];

const text = z.string();
const agentSchema = z.strictObject({ role: text, goal: text, backstory: text });
const taskSchema = z.strictObject({
  agent: z.enum(AGENT_KEYS),
  system: text,
  conversation: text,
  turn: text,
});
const agentLayer = z.partialRecord(z.enum(AGENT_KEYS), agentSchema.partial());
const taskLayer = z.partialRecord(z.enum(TASK_KEYS), taskSchema.partial());

export type AgentPrompt = z.output<typeof agentSchema>;
export type TaskPrompt = z.output<typeof taskSchema>;

export interface PromptAssets {
  readonly agents: Readonly<Record<AgentKey, AgentPrompt>>;
  readonly tasks: Readonly<Record<TaskKey, TaskPrompt>>;
}

/** A file's name for messages, and its parsed content. */
export interface AssetFile {
  readonly file: string;
  readonly value: unknown;
}

export interface PromptFiles {
  /** The shipped file first, the user's after it. */
  readonly agents: readonly AssetFile[];
  readonly tasks: readonly AssetFile[];
}

/** @throws DlgforgeError `config` naming file and key. */
export function parsePromptAssets(files: PromptFiles): PromptAssets {
  const agents = overlay(files.agents.map((file) => parseAsset(agentLayer, file)));
  const tasks = overlay(files.tasks.map((file) => parseAsset(taskLayer, file)));
  const assets = {
    agents: complete(z.record(z.enum(AGENT_KEYS), agentSchema), agents, files.agents),
    tasks: complete(z.record(z.enum(TASK_KEYS), taskSchema), tasks, files.tasks),
  };
  const missing = missingVariables(assets.tasks);
  if (missing.length > 0) throw new DlgforgeError('config', missing.join('\n'));
  return assets;
}

type Layer = Readonly<Partial<Record<string, Readonly<Record<string, unknown>>>>>;

function overlay(layers: readonly Layer[]): Layer {
  const result: Record<string, Record<string, unknown>> = {};
  for (const layer of layers) {
    for (const [key, parts] of Object.entries(layer)) result[key] = { ...result[key], ...parts };
  }
  return result;
}

function complete<T>(schema: z.ZodType<T>, value: Layer, files: readonly AssetFile[]): T {
  return parseAsset(schema, { file: files.map(({ file }) => file).join(' + '), value });
}

interface TaskVariables {
  /** What the task cannot do its work without, anywhere in its three parts. */
  readonly needed: readonly string[];
  readonly optional: readonly string[];
}

const VARIABLES: Readonly<Record<TaskKey, TaskVariables>> = {
  qa_generation_task: {
    needed: ['target_language', 'question_mode', 'topic_snippets', 'public_conversation_history'],
    optional: [
      'last_assistant_message',
      'recent_user_questions',
      'seed_topic',
      'seed_question',
      'rejected_questions',
      'retry_note',
    ],
  },
  kb_answer_task: {
    needed: ['target_language', 'user_output', 'public_conversation_history'],
    optional: ['user_message'],
  },
  qa_judge_task: {
    needed: ['judge_user_message', 'judge_assistant_message', 'judge_evidence'],
    optional: [],
  },
  qa_conversation_judge_task: {
    needed: ['judge_conversation_turns', 'judge_conversation_evidence'],
    optional: ['judge_turn_count'],
  },
};

const COMMON_VARIABLES = [
  'judge_reasons',
  'judge_enabled',
  'retrieval_default_k',
  'question',
  'output_schema',
  'target_language',
  'n_turns',
  'turn_index',
  'user_persona',
  'assistant_persona',
  'public_conversation_history',
];

/** Variables in the templates that no value will ever be given for; they render as nothing. */
export function unknownVariables(assets: PromptAssets): string[] {
  return TASK_KEYS.flatMap((key) => {
    const known = new Set([...COMMON_VARIABLES, ...VARIABLES[key].needed, ...VARIABLES[key].optional]);
    const used = TASK_PARTS.flatMap((part) => templateVariables(assets.tasks[key][part]));
    return [...new Set(used)].filter((name) => !known.has(name)).map((name) => `${key}: {{ ${name} }}`);
  });
}

function missingVariables(tasks: Readonly<Record<TaskKey, TaskPrompt>>): string[] {
  return TASK_KEYS.flatMap((key) => {
    const used = new Set(TASK_PARTS.flatMap((part) => templateVariables(tasks[key][part])));
    return VARIABLES[key].needed
      .filter((name) => !used.has(name))
      .map(
        (name) =>
          `prompts: the task ${key} never uses {{ ${name} }}; write it into its turn or conversation part`,
      );
  });
}

const VARIABLE = /\{\{\s*([A-Za-z0-9_]+)\s*\}\}/g;

/** Names between double braces, in order, repeated when used twice. */
export function templateVariables(template: string): string[] {
  return [...template.matchAll(VARIABLE)].map((match) => match[1] as string);
}

export type TemplateValue = string | number | boolean | null | undefined | readonly unknown[] | object;
export type TemplateValues = Readonly<Record<string, TemplateValue>>;

/**
 * Puts values into `{{ name }}` in one pass: what a value contains is never expanded again. Unknown
 * names are empty. A line whose variables are all empty is left out with its label, so that a
 * template can name things that not every turn has. Lists and objects are written as JSON.
 */
export function renderTemplate(template: string, values: TemplateValues): string {
  return template
    .split('\n')
    .flatMap((line) => renderLine(line, values))
    .join('\n')
    .replace(/^\n+/, '')
    .trimEnd();
}

function renderLine(line: string, values: TemplateValues): string[] {
  let variables = 0;
  let filled = 0;
  const rendered = line.replace(VARIABLE, (_, name: string) => {
    const value = Object.hasOwn(values, name) ? valueText(values[name]) : '';
    variables += 1;
    if (value !== '') filled += 1;
    return value;
  });
  return variables > 0 && filled === 0 ? [] : [rendered];
}

function valueText(value: TemplateValue): string {
  if (value === null || value === undefined) return '';
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}
