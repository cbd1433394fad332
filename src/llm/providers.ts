import { DlgforgeError } from '../kernel/errors.ts';
import type { ResponseFormatKind } from '../ports/model.ts';

/** What a provider's OpenAI-compatible interface does differently. */
export interface Provider {
  readonly name: string;
  /** Other names in use for it, among them LiteLLM's model prefixes. */
  readonly aliases: readonly string[];
  /** Null: the address is the user's own. */
  readonly baseUrl: string | null;
  /** The variable that usually holds the key; null where none is needed. */
  readonly keyVariable: string | null;
  readonly maxTokensField: 'max_tokens' | 'max_completion_tokens';
  /** The strongest structured output worth asking for; weaker ones are learned from refusals. */
  readonly strongestFormat: ResponseFormatKind;
  /**
   * False where a response format forces every answer into the schema, so that tools are never
   * called, without any error to learn from (servers that decode under a grammar).
   */
  readonly formatWithTools: boolean;
  /** False where `/models` needs other credentials or does not list what can be called. */
  readonly listsModels: boolean;
  /** A header that carries the key besides `Authorization`. */
  readonly keyHeader: string | null;
}

type ProviderRow = Partial<Omit<Provider, 'name'>>;

const standard: Omit<Provider, 'name'> = {
  aliases: [],
  baseUrl: null,
  keyVariable: null,
  maxTokensField: 'max_tokens',
  strongestFormat: 'json_schema',
  formatWithTools: true,
  listsModels: true,
  keyHeader: null,
};

const hosted = (baseUrl: string, keyVariable: string, row: ProviderRow = {}): ProviderRow => ({
  baseUrl,
  keyVariable,
  ...row,
});
const grammar = (row: ProviderRow = {}): ProviderRow => ({ formatWithTools: false, ...row });

const ROWS: Readonly<Record<string, ProviderRow>> = {
  openai: hosted('https://api.openai.com/v1', 'OPENAI_API_KEY', { maxTokensField: 'max_completion_tokens' }),
  azure: {
    aliases: ['azure_ai'],
    keyVariable: 'AZURE_API_KEY',
    maxTokensField: 'max_completion_tokens',
    listsModels: false,
    keyHeader: 'api-key',
  },
  gemini: hosted('https://generativelanguage.googleapis.com/v1beta/openai', 'GEMINI_API_KEY', {
    aliases: ['google'],
  }),
  // Anthropic's compatible interface ignores response formats, and lists models only to its own header.
  anthropic: hosted('https://api.anthropic.com/v1', 'ANTHROPIC_API_KEY', {
    strongestFormat: 'text',
    listsModels: false,
  }),
  deepseek: hosted('https://api.deepseek.com/v1', 'DEEPSEEK_API_KEY', { strongestFormat: 'json_object' }),
  mistral: hosted('https://api.mistral.ai/v1', 'MISTRAL_API_KEY', { aliases: ['mistralai'] }),
  groq: hosted('https://api.groq.com/openai/v1', 'GROQ_API_KEY'),
  together: hosted('https://api.together.xyz/v1', 'TOGETHER_API_KEY', {
    aliases: ['together_ai', 'togetherai'],
  }),
  openrouter: hosted('https://openrouter.ai/api/v1', 'OPENROUTER_API_KEY'),
  xai: hosted('https://api.x.ai/v1', 'XAI_API_KEY'),
  fireworks: hosted('https://api.fireworks.ai/inference/v1', 'FIREWORKS_API_KEY', {
    aliases: ['fireworks_ai'],
  }),
  cerebras: hosted('https://api.cerebras.ai/v1', 'CEREBRAS_API_KEY', {
    maxTokensField: 'max_completion_tokens',
  }),
  deepinfra: hosted('https://api.deepinfra.com/v1/openai', 'DEEPINFRA_API_KEY'),
  nvidia: hosted('https://integrate.api.nvidia.com/v1', 'NVIDIA_API_KEY', { aliases: ['nvidia_nim'] }),
  sambanova: hosted('https://api.sambanova.ai/v1', 'SAMBANOVA_API_KEY'),
  moonshot: hosted('https://api.moonshot.ai/v1', 'MOONSHOT_API_KEY', { strongestFormat: 'json_object' }),
  perplexity: hosted('https://api.perplexity.ai', 'PERPLEXITY_API_KEY', { listsModels: false }),
  cohere: hosted('https://api.cohere.ai/compatibility/v1', 'COHERE_API_KEY', { listsModels: false }),
  huggingface: hosted('https://router.huggingface.co/v1', 'HF_TOKEN'),
  ollama: grammar({ baseUrl: 'http://127.0.0.1:11434/v1', aliases: ['ollama_chat'] }),
  lm_studio: grammar({ baseUrl: 'http://127.0.0.1:1234/v1', aliases: ['lmstudio'] }),
  llamafile: grammar({ baseUrl: 'http://127.0.0.1:8080/v1', aliases: ['llama_cpp'] }),
  hosted_vllm: grammar(),
  vllm: grammar(),
  sglang: grammar(),
  rehearsal: {},
};

const TABLE: ReadonlyMap<string, Provider> = new Map(
  Object.entries(ROWS).flatMap(([name, row]) => {
    const provider: Provider = { ...standard, ...row, name };
    return [name, ...provider.aliases].map((known) => [known, provider] as const);
  }),
);

/** The canonical names, in the order of the table. */
export const PROVIDER_NAMES: readonly string[] = Object.keys(ROWS);

const GENERIC: ReadonlySet<string> = new Set(['', 'openai', 'vllm', 'hosted_vllm']);

/** True for the provider names under which people run any OpenAI-compatible server of their own. */
export const isGenericProvider = (name: string): boolean => GENERIC.has(name.trim().toLowerCase());

/** The row for a name; an unknown name is a plain OpenAI-compatible server. */
export function providerNamed(name: string): Provider {
  const key = name.trim().toLowerCase();
  return TABLE.get(key) ?? { ...standard, name: key };
}

/** Whose address a URL is; a host that nobody in the table owns runs an inference server. */
export function providerOfUrl(url: string): Provider {
  const host = hostOf(url);
  if (host.endsWith('.openai.azure.com') || host.endsWith('.services.ai.azure.com'))
    return providerNamed('azure');
  for (const provider of TABLE.values()) {
    if (provider.keyVariable !== null && provider.baseUrl !== null && hostOf(provider.baseUrl) === host)
      return provider;
  }
  return providerNamed('hosted_vllm');
}

function hostOf(url: string): string {
  return URL.canParse(url) ? new URL(url).hostname.toLowerCase() : '';
}

export interface ResolvedProvider {
  readonly provider: Provider;
  readonly baseUrl: string;
}

/**
 * Where a role goes when no endpoints are listed (as in 0.1.0): a named provider keeps its
 * name with any address; `openai` or nothing with a foreign address is an inference server.
 * @throws DlgforgeError `config` for an address that is missing or no URL.
 */
export function resolveProvider(name: string, baseUrl: string, model: string): ResolvedProvider {
  const given = name.trim().toLowerCase();
  const address = baseUrl.trim();
  if (address !== '') {
    const generic = given === '' || given === 'openai';
    return {
      provider: generic ? providerOfUrl(address) : providerNamed(given),
      baseUrl: checkedUrl(address),
    };
  }
  const provider = given === '' ? (providerOfPrefix(model) ?? providerNamed('openai')) : TABLE.get(given);
  if (provider === undefined) throw unknownProvider(name);
  if (provider.baseUrl === null) throw addressMissing(provider.name);
  return { provider, baseUrl: provider.baseUrl };
}

/** @throws DlgforgeError `config` unless `url` is an http(s) URL; gives it back without a slash at the end. */
export function checkedUrl(url: string): string {
  if (!/^https?:\/\//i.test(url) || !URL.canParse(url)) {
    throw new DlgforgeError(
      'config',
      `"${url}" is no endpoint address; write it like http://127.0.0.1:8000/v1.`,
    );
  }
  return url.replace(/\/+$/, '');
}

/** The model id as the provider knows it: its own LiteLLM-style prefix is taken off, any other stays. */
export function wireModel(provider: Provider, model: string): string {
  const id = model.trim();
  const slash = id.indexOf('/');
  if (slash <= 0) return id;
  const prefix = id.slice(0, slash).toLowerCase();
  const rest = id.slice(slash + 1);
  if (prefix !== provider.name && !provider.aliases.includes(prefix)) return id;
  // `openrouter/auto` is a model of OpenRouter itself; `openrouter/<maker>/<model>` carries the prefix.
  return provider.name === 'openrouter' && !rest.includes('/') ? id : rest;
}

function providerOfPrefix(model: string): Provider | undefined {
  const slash = model.indexOf('/');
  return slash <= 0 ? undefined : TABLE.get(model.slice(0, slash).trim().toLowerCase());
}

function unknownProvider(name: string): DlgforgeError {
  return new DlgforgeError(
    'config',
    `Provider "${name}" is not known. Set base_url to the address of its OpenAI-compatible interface, or use one of: ${PROVIDER_NAMES.join(', ')}.`,
  );
}

function addressMissing(name: string): DlgforgeError {
  return new DlgforgeError(
    'config',
    `Provider "${name}" has no address of its own; set base_url, for example http://127.0.0.1:8000/v1.`,
  );
}
