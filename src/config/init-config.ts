export type StarterBackend = 'openai' | 'rehearsal';

export interface StarterOptions {
  /** Where answers come from; `rehearsal` needs no key and no network. @default 'openai' */
  readonly backend?: StarterBackend;
  /** @default ['en'] */
  readonly languages?: readonly string[];
}

const BACKENDS = {
  openai: `  # openai: any OpenAI-compatible API. Also: vllm_attach for servers of your own,
  # vllm_managed for vLLM servers that dlgforge starts.
  backend: openai
  # To try everything without a key and without a model, use this line instead:
  # backend: rehearsal
`,
  rehearsal: `  # rehearsal is built in: it needs no key and writes rehearsal text, for seeing how everything works.
  backend: rehearsal
  # For a real model put its key into .env (see .env.example) and use this line instead:
  # backend: openai
`,
} as const;

/** What a project keeps out of version control. */
export const STARTER_IGNORED = `.env
.dlgforge/
knowledge_index/
logs/
outputs/
`;

export const STARTER_ENVIRONMENT = `# Copy to .env in this folder and fill in what you use. Variables that are already set in your shell
# win over this file. Never commit .env.

# The key of a well-known provider is found by its usual name:
OPENAI_API_KEY=
# GEMINI_API_KEY=
# ANTHROPIC_API_KEY=
# DEEPSEEK_API_KEY=
# MISTRAL_API_KEY=
# GROQ_API_KEY=
# OPENROUTER_API_KEY=

# To name another variable for a role:
# LLM_USER_API_KEY_ENV=OPENAI_API_KEY
# LLM_ASSISTANT_API_KEY_ENV=OPENAI_API_KEY
# LLM_JUDGE_API_KEY_ENV=OPENAI_API_KEY

# For tools.web_search.enabled: true
# SERPER_API_KEY=
`;

/** A first configuration with the keys that people change, each explained. All others have defaults. */
export function starterConfig({ backend = 'openai', languages = ['en'] }: StarterOptions = {}): string {
  return `# Configuration of dlgforge. The folder of this file is the project: documents (.txt, .md, .pdf)
# go into knowledge/, results come out in outputs/.
#
#   dlgforge doctor <this file>    checks everything that a run needs
#   dlgforge run <this file>       generates; after an interruption, the same command with the
#                                  run's id (run.run_id) goes on where it stopped
#
# Every key with its default, range and environment variable: docs/configuration.md

run:
  # Conversations per language.
  total_samples: 10
  # Conversations kept open at the same time.
  batch_size: 8
  # Languages, in any words that a model understands. Codes like "no" need their quotes.
  target_languages: [${languages.map((language) => JSON.stringify(language)).join(', ')}]
  # The same seed, configuration and answers give the same dataset.
  seed: 0
  turns:
    # range: a number of turns is drawn for each conversation. exact: every one has \`exact\` turns.
    mode: range
    min: 2
    max: 6
    # uniform, poisson or exponential; without a mean it is (min + max) / 2.
    distribution: poisson
  data:
    seeding:
      topics:
        # A file of questions to start from; it need not exist.
        path: data/seeds/topics.yaml
        # Share of conversations that start from one of them.
        probability: 0.35

llm:
${BACKENDS[backend]}  # Requests in flight at the same time, never more.
  max_in_flight: 16
  # The models of the three roles. provider: openai, gemini, anthropic, deepseek, mistral, groq,
  # together, openrouter, ollama, lm_studio, hosted_vllm. Never write a key into this file.
  agents:
    user:
      provider: openai
      model: gpt-5.2
    assistant:
      provider: openai
      model: gpt-5.2
    judge:
      provider: openai
      model: gpt-5.2
  # Several servers for the same models:
  # routing:
  #   endpoints:
  #     - http://127.0.0.1:8000/v1
  #     - base_url: http://10.0.0.2:8000/v1
  #       api_key_env: VLLM_API_KEY
  #       max_in_flight: 64

judge:
  # online: judge during the run. offline: later, with \`dlgforge judge\`.
  mode: online
  # turn: one verdict per turn. conversation: one per conversation.
  granularity: turn

tools:
  web_search:
    # Needs SERPER_API_KEY.
    enabled: false
  retrieval:
    # Passages per search.
    top_k: 4
    chunking:
      # In characters.
      chunk_size: 750
      chunk_overlap: 150
    embeddings:
      # auto: hybrid search when there is an embedding model, else full-text search.
      backend: auto

coverage:
  # balanced: documents that were used little come first. off: all alike.
  doc_coverage_mode: balanced
  # New tries after a question that was asked before.
  question_dedup_retries: 3

saving:
  # Relative to this file, or absolute.
  output_dir: outputs
`;
}
