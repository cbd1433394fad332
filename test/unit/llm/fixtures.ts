import { onTestFinished } from 'vitest';
import type { ModelRequest, Role } from '../../../src/dialogue/chat.ts';
import { silentLogger, type Logger } from '../../../src/kernel/logger.ts';
import { createModelPort, type OpenAiModelPort } from '../../../src/llm/openai-model.ts';
import { type EndpointConfig, noKey, type RoleSettings } from '../../../src/llm/settings.ts';
import type { AttemptOutcome, CapabilityMemory, ResponseFormatKind } from '../../../src/ports/model.ts';
import { type Answer, type ChatServer, startChatServer } from '../../support/chat-server.ts';

export const never = new AbortController().signal;

export async function serverFor(answer: Answer): Promise<ChatServer> {
  const server = await startChatServer(answer);
  onTestFinished(() => server.close());
  return server;
}

export const roleSettings = (changes: Partial<RoleSettings> = {}): RoleSettings => ({
  provider: 'openai',
  model: 'm1',
  temperature: null,
  maxTokens: null,
  topP: null,
  timeoutMs: null,
  maxRetries: null,
  extra: {},
  ...changes,
});

export const endpointAt = (baseUrl: string, changes: Partial<EndpointConfig> = {}): EndpointConfig => ({
  name: 'one',
  provider: 'rehearsal',
  baseUrl,
  roles: ['user', 'assistant', 'judge'],
  weight: 1,
  maxInFlight: 64,
  timeoutMs: null,
  model: null,
  key: noKey,
  ...changes,
});

export const request = (role: Role = 'user', changes: Partial<ModelRequest> = {}): ModelRequest => ({
  role,
  messages: [
    { role: 'system', content: 'Answer in JSON.' },
    { role: 'user', content: 'Hello?' },
  ],
  tools: [],
  output: {
    name: 'answer',
    schema: {
      type: 'object',
      properties: { ok: { type: 'boolean' } },
      required: ['ok'],
      additionalProperties: false,
    },
  },
  ...changes,
});

export const searchTool = {
  name: 'search',
  description: 'Searches.',
  parameters: { type: 'object', properties: {} },
};

/** Capability memory that a test can look into. */
export function rememberedFormats(
  start: Record<string, ResponseFormatKind> = {},
): CapabilityMemory & { readonly known: Map<string, ResponseFormatKind> } {
  const known = new Map(Object.entries(start));
  return {
    known,
    load: async () => new Map(known),
    remember: async (key, kind) => {
      known.set(key, kind);
    },
  };
}

export interface PortChanges {
  readonly roles?: Partial<Record<Role, RoleSettings>>;
  readonly capabilities?: CapabilityMemory;
  readonly logger?: Logger;
}

export function portFor(endpoints: readonly EndpointConfig[], changes: PortChanges = {}): OpenAiModelPort {
  const roles = { user: roleSettings(), assistant: roleSettings(), judge: roleSettings(), ...changes.roles };
  const { capabilities = rememberedFormats(), logger = silentLogger } = changes;
  const port = createModelPort({ endpoints, roles, capabilities, logger });
  onTestFinished(() => port.close());
  return port;
}

/** One attempt at one server that answers everything in the same way. */
export async function attemptAt(
  answer: Answer,
  settings: Partial<RoleSettings> = {},
  endpoint: Partial<EndpointConfig> = {},
): Promise<AttemptOutcome> {
  const server = await serverFor(answer);
  const port = portFor([endpointAt(server.url, endpoint)], { roles: { user: roleSettings(settings) } });
  return port.attempt('one', request(), never);
}
