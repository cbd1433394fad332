import { z } from 'zod';
import { coverage, judge, personas, prompts } from './schema/dialogue.ts';
import { keyMeta } from './schema/fields.ts';
import { llm } from './schema/llm.ts';
import { run } from './schema/run.ts';
import { saving, store } from './schema/saving.ts';
import { tools } from './schema/tools.ts';

/**
 * The whole configuration: keys, types, ranges, defaults and their documentation. What is accepted
 * besides (older names, text for numbers, …) is read into this form before it gets here.
 */
export const configSchema = z
  .strictObject({ run, llm, tools, coverage, personas, prompts, judge, saving, store })
  .register(keyMeta, { kind: 'section', description: 'The configuration.', type: 'section' });

/** The effective configuration, with the same paths as the YAML. Every key has a value. */
export type Config = z.output<typeof configSchema>;

/** What an empty file means. */
export const defaultConfig = (): Config => configSchema.parse({});

export { AGENT_ROLES, BACKENDS, type AgentRole, type EndpointConfig } from './schema/llm.ts';
