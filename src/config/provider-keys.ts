/** Where a service keeps its key by custom, and the host that may be sent it. */
interface Service {
  readonly names: readonly string[];
  readonly host: string;
  readonly variable: string;
}

const SERVICES: readonly Service[] = [
  { names: ['openai'], host: 'api.openai.com', variable: 'OPENAI_API_KEY' },
  { names: ['gemini', 'google'], host: 'generativelanguage.googleapis.com', variable: 'GEMINI_API_KEY' },
  { names: ['anthropic'], host: 'api.anthropic.com', variable: 'ANTHROPIC_API_KEY' },
  { names: ['deepseek'], host: 'api.deepseek.com', variable: 'DEEPSEEK_API_KEY' },
  { names: ['mistral', 'mistralai'], host: 'api.mistral.ai', variable: 'MISTRAL_API_KEY' },
  { names: ['groq'], host: 'api.groq.com', variable: 'GROQ_API_KEY' },
  {
    names: ['together', 'together_ai', 'togetherai'],
    host: 'api.together.xyz',
    variable: 'TOGETHER_API_KEY',
  },
  { names: ['openrouter'], host: 'openrouter.ai', variable: 'OPENROUTER_API_KEY' },
  { names: ['xai'], host: 'api.x.ai', variable: 'XAI_API_KEY' },
  { names: ['fireworks', 'fireworks_ai'], host: 'api.fireworks.ai', variable: 'FIREWORKS_API_KEY' },
  { names: ['cerebras'], host: 'api.cerebras.ai', variable: 'CEREBRAS_API_KEY' },
  { names: ['deepinfra'], host: 'api.deepinfra.com', variable: 'DEEPINFRA_API_KEY' },
  { names: ['nvidia', 'nvidia_nim'], host: 'integrate.api.nvidia.com', variable: 'NVIDIA_API_KEY' },
  { names: ['sambanova'], host: 'api.sambanova.ai', variable: 'SAMBANOVA_API_KEY' },
  { names: ['moonshot'], host: 'api.moonshot.ai', variable: 'MOONSHOT_API_KEY' },
  { names: ['perplexity'], host: 'api.perplexity.ai', variable: 'PERPLEXITY_API_KEY' },
  { names: ['cohere'], host: 'api.cohere.ai', variable: 'COHERE_API_KEY' },
  { names: ['huggingface'], host: 'router.huggingface.co', variable: 'HF_TOKEN' },
];

/** Servers that run on one's own machine unless a `base_url` says otherwise. */
const LOCAL_PROVIDERS: ReadonlySet<string> = new Set([
  'ollama',
  'ollama_chat',
  'lm_studio',
  'lmstudio',
  'llamafile',
  'llama_cpp',
  'rehearsal',
]);

export interface Destination {
  readonly provider: string;
  readonly model: string;
  readonly base_url: string;
}

/** Without a provider the prefix of the model names it (`gemini/…`), else it is OpenAI. */
function providerOf({ provider, model }: Destination): string {
  const named = provider.trim().toLowerCase();
  if (named !== '') return named;
  const prefix = model.includes('/') ? model.slice(0, model.indexOf('/')).trim().toLowerCase() : '';
  const known = LOCAL_PROVIDERS.has(prefix) || SERVICES.some(({ names }) => names.includes(prefix));
  return known ? prefix : 'openai';
}

/**
 * The variable that holds the key by custom; null when there is none. With a `base_url` the host
 * decides, whatever the provider is called: a key is never sent to an address that is not its owner's.
 */
export function customaryKeyVariable(destination: Destination): string | null {
  const address = destination.base_url.trim();
  const provider = providerOf(destination);
  const service = SERVICES.find(({ names, host }) =>
    address === '' ? names.includes(provider) : hostOf(address) === host,
  );
  return service?.variable ?? null;
}

/** Whether requests stay on this machine, so that no key is needed. */
export function staysHere(destination: Destination): boolean {
  const address = destination.base_url.trim();
  return address === '' ? LOCAL_PROVIDERS.has(providerOf(destination)) : isLoopback(address);
}

export function isLoopback(url: string): boolean {
  const host = hostOf(url);
  return (
    host === 'localhost' ||
    host.endsWith('.localhost') ||
    host === '[::1]' ||
    host === '0.0.0.0' ||
    /^127(?:\.\d{1,3}){3}$/.test(host)
  );
}

const hostOf = (url: string): string => (URL.canParse(url) ? new URL(url).hostname.toLowerCase() : '');
