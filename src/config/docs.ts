import { ENVIRONMENT_VARIABLES, KEY_NAME_VARIABLES, variablesOf } from './environment-table.ts';
import { OWN_VARIABLES } from './own-variables.ts';
import { ALL_KEYS, fallbackOf, itemOf, keyDefinition, metaOf, shapeOf, type KeyDefinition } from './keys.ts';
import { LEGACY_NAMES } from './legacy-table.ts';
import { AGENT_ROLES } from './schema/llm.ts';

const INTRODUCTION = `# Configuration

<!-- Written by scripts/generate-docs.ts from the schema in src/config. Change it there. -->

dlgforge is configured by one YAML file. Its folder is the project: \`knowledge/\`, \`logs/\` and \`.env\` are looked for beside it, and relative paths start there. \`dlgforge init\` writes a first one, \`dlgforge doctor\` checks one, and \`dlgforge config show --origin\` prints every effective value and where it came from.

## How values are found

Defaults, then the file, then the environment, then the command line; each overrides the one before, key by key. A key or section without a value (\`run:\`) counts as absent. Everything that is off is reported at once, with file, line, key and value: unknown keys, values out of range, words that a key does not know. Nothing is corrected silently.

- An environment variable overrides its key whatever the file says, also with a value that equals the default. An empty variable counts as unset, except \`TARGET_LANGUAGES\`, where it means \`en\`.
- True: \`true\`, \`yes\`, \`on\`, \`1\`. False: \`false\`, \`no\`, \`off\`, \`0\`. In any case, quoted or not; numbers may be quoted too.
- YAML 1.2 decides what a word is. Older files were read by YAML 1.1, which takes \`no\`, \`off\`, \`yes\` and \`on\` without quotes for truth values: where text is wanted (the language \`no\`) they stay text here, where a truth value is wanted they are one, and both are pointed out. Numbers may have underscores (\`1_000\`).
- There is no interpolation: \`\${NAME}\` in the file is not replaced. Use the environment variable of the key, or \`api_key_env\` for endpoints.
- An empty text means the default where the default is not empty.`;

const DOTENV = `## Keys and .env

Keys never stand in the file (only endpoints may have an \`api_key\`, and \`api_key_env\` is better). For each role one variable holds the *name* of the variable that holds the key:

${AGENT_ROLES.map((role) => `- \`${KEY_NAME_VARIABLES[role].name}\` for the ${role} (older name: \`${KEY_NAME_VARIABLES[role].older}\`)`).join('\n')}

Without it, the variable that is customary for the provider is used: \`OPENAI_API_KEY\`, \`GEMINI_API_KEY\`, \`ANTHROPIC_API_KEY\`, \`DEEPSEEK_API_KEY\`, \`MISTRAL_API_KEY\`, \`GROQ_API_KEY\`, \`TOGETHER_API_KEY\`, \`OPENROUTER_API_KEY\`; never for an address of somebody else. Roles whose requests stay on this machine, go to listed endpoints or to the rehearsal need no key.

Other secrets: \`SERPER_API_KEY\` (web search), \`HF_TOKEN\` or \`HUGGINGFACE_HUB_TOKEN\` (push).

\`.env\` beside the file, then \`src/dlgforge/.env\`, add to the environment; variables that are set already win. Lines are \`NAME=value\`, with an optional \`export\` before and quotes around the value; there are no comments behind values, no escapes and no interpolation. Only secrets (names that end in \`_API_KEY\`, \`_TOKEN\`, \`_SECRET\` or \`_SECRET_KEY\`) and the variables of this page are read; others are named in a warning and ignored.`;

const REJECTED = `## Refused keys

- \`provider\`, \`model\`, \`base_url\`, \`api_key\`, \`api_key_env\`, \`temperature\`, \`max_tokens\`, \`top_p\`, \`timeout\`, \`max_retries\` and \`extra\` directly under \`llm\`: every role has its own, under \`llm.agents.<role>\`.
- \`api_key\` and \`api_key_env\` under \`llm.agents.<role>\`: keys stay in the environment.`;

/** docs/configuration.md. */
export function renderConfigurationDocs(): string {
  const sections = ALL_KEYS.filter(({ path, meta }) => meta.kind === 'section' && !path.includes('.')).map(
    renderSection,
  );
  return `${[INTRODUCTION, '## Keys', ...sections, renderEndpoints(), DOTENV, renderVariables(), renderLegacy(), REJECTED].join('\n\n')}\n`;
}

function renderSection({ path, meta }: KeyDefinition): string {
  const keys = ALL_KEYS.filter((key) => key.meta.kind !== 'section' && key.path.startsWith(`${path}.`));
  const rows = keys.map((key) => [
    code(key.path),
    key.meta.type,
    code(defaultText(key)),
    meaning(key),
    variables(key.path),
  ]);
  return `### ${path}\n\n${meta.description}\n\n${table(['Key', 'Type', 'Default', 'Meaning', 'Environment'], rows)}`;
}

/** Other spellings of choices belong to the meaning: they are accepted where the choice is. */
function meaning({ meta }: KeyDefinition): string {
  const aliases = Object.entries(meta.aliases ?? {}).map(([old, value]) => `\`${old}\` = \`${value}\``);
  return aliases.length === 0
    ? meta.description
    : `${meta.description} Other spellings: ${aliases.join(', ')}.`;
}

const variables = (path: string): string =>
  variablesOf(path)
    .map(({ name }) => code(name))
    .join(', ');

function defaultText({ schema, meta }: Pick<KeyDefinition, 'schema' | 'meta'>): string {
  const fallback = fallbackOf(schema);
  if (meta.secret === true) return '""';
  return fallback === undefined ? '(required)' : JSON.stringify(fallback);
}

function renderEndpoints(): string {
  const item = itemOf(keyDefinition('llm.routing.endpoints').schema);
  const rows = Object.entries(shapeOf(item)).map(([name, schema]) => {
    const meta = metaOf(schema, name);
    return [code(name), meta.type, code(defaultText({ schema, meta })), meta.description];
  });
  return `### Fields of an endpoint\n\nItems of \`llm.routing.endpoints\` and \`llm.agents.<role>.routing.endpoints\`. An item that is only text is a \`base_url\`; \`timeout_s\` is accepted for \`timeout\`.\n\n${table(['Field', 'Type', 'Default', 'Meaning'], rows)}`;
}

function renderVariables(): string {
  const rows = ENVIRONMENT_VARIABLES.map(({ name, key, json, replacedBy }) => {
    const first = variablesOf(key)[0]?.name ?? name;
    const notes = [
      json === undefined ? '' : `A JSON ${json}; replaces the whole value.`,
      replacedBy === undefined ? '' : `Older name of \`${replacedBy}\`.`,
      first === name ? '' : `Counts when \`${first}\` is not set.`,
      name === 'N_TURNS' ? 'Also sets `run.turns.mode` to `exact`.' : '',
      name === 'MIN_TURNS' || name === 'MAX_TURNS'
        ? 'Also sets `run.turns.mode` to `range`, unless `N_TURNS` is set.'
        : '',
    ];
    return [code(name), code(key), notes.filter((note) => note !== '').join(' ')];
  });
  const own = OWN_VARIABLES.map(({ name, meaning }) => [code(name), meaning]);
  return `## Environment variables\n\n${table(['Variable', 'Key', 'Notes'], rows)}\n\nThese belong to no key:\n\n${table(['Variable', 'Meaning'], own)}\n\n\`DLGFORGE_RUN_BOOTSTRAPPED\`, which 0.1.0 set for itself, has no effect.`;
}

function renderLegacy(): string {
  const rows = LEGACY_NAMES.map(({ from, to }) => [code(from), code(to)]);
  return `## Older names\n\nKeys of 0.1.0 that are still read, each with a notice that names the key of today. Where a file has both and they cannot both be meant, it is refused.\n\n${table(['Older', 'Today'], rows)}`;
}

const code = (text: string): string => `\`${text}\``;

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}
