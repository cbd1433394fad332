import { variablesOf } from './environment-table.ts';
import type { Findings } from './problem.ts';
import type { KeyMeta } from './schema/fields.ts';
import type { MapNode, ScalarNode, SourceNode } from './source.ts';

/**
 * Places where a file does not mean what it seems to: words that YAML 1.1 (and so dlgforge 0.1.0)
 * took for truth values and YAML 1.2 does not, and `${VAR}`, which nothing replaces.
 */
const OLD_BOOLEANS: Readonly<Record<string, boolean>> = { yes: true, on: true, no: false, off: false };

const oldBoolean = (node: ScalarNode): boolean | undefined => {
  const word = node.text.toLowerCase();
  return node.plain && typeof node.value === 'string' && Object.hasOwn(OLD_BOOLEANS, word)
    ? OLD_BOOLEANS[word]
    : undefined;
};

/** For a key that wants text: the word stays text, and that is said. */
export function noteOldBoolean(path: string, node: ScalarNode, findings: Findings): void {
  const old = oldBoolean(node);
  if (old === undefined) return;
  findings.notice(
    node.origin,
    `\`${path}\`: ${node.text} is read as the text "${node.text}"; dlgforge 0.1.0 read it as ${old}. Put it in quotes.`,
  );
}

/** A key that wants text got `true` or `false`. */
export function reportTruthValue(path: string, node: ScalarNode, findings: Findings): void {
  findings.problem(node.origin, `\`${path}\` must be text, but YAML reads ${node.text} as a truth value.`, {
    keyPath: path,
    value: node.text,
    hint: path.startsWith('run.target_languages')
      ? `Name the language. For a code that YAML takes for a truth value, use quotes: "no".`
      : `If the text is meant, put it in quotes: "${node.text}".`,
  });
}

/** A mapping that is handed on: truth values stay what they were in 0.1.0, and that is said. */
export function readFree(path: string, node: MapNode, findings: Findings): Record<string, unknown> {
  return Object.fromEntries(
    [...node.entries].map(([name, inner]) => [name, freeValue(`${path}.${name}`, inner, findings)]),
  );
}

function freeValue(path: string, node: SourceNode, findings: Findings): unknown {
  if (node.type === 'map') return readFree(path, node, findings);
  if (node.type === 'list')
    return node.items.map((item, index) => freeValue(`${path}[${index}]`, item, findings));
  const old = oldBoolean(node);
  if (old !== undefined) {
    findings.notice(
      node.origin,
      `\`${path}\`: ${node.text} is read as ${old}, as dlgforge 0.1.0 did. Write ${old}, or "${node.text}" for the text.`,
    );
    return old;
  }
  if (typeof node.value === 'string' && /^[-+]?\d+(?:_\d+)+$/.test(node.text) && node.plain)
    return Number(node.text.replaceAll('_', ''));
  if (interpolated(node) !== null)
    findings.notice(node.origin, `\`${path}\`: $\{…} is not replaced; the text is handed on as it stands.`);
  return node.value;
}

/** The first `${VAR}` in text from a file. In the environment the shell has already done its work. */
function interpolated(node: ScalarNode): { readonly name: string; readonly whole: boolean } | null {
  if (node.origin.type !== 'file') return null;
  const name = /\$\{([A-Za-z_]\w*)[^}]*\}/.exec(node.text)?.[1];
  return name === undefined ? null : { name, whole: /^\s*\$\{\w+\}\s*$/.test(node.text) };
}

/**
 * True when the value is not to be used. `dsn: ${POSTGRES_DSN}` says nothing that the variable does
 * not say by itself, so it is only pointed out; anything else would be used with the braces in it.
 */
export function reportInterpolation(
  meta: KeyMeta,
  path: string,
  node: ScalarNode,
  findings: Findings,
): boolean {
  const found = interpolated(node);
  if (found === null) return false;
  const key = path.replace(/\[\d+\]$/, '');
  const variables = variablesOf(key).map(({ name }) => name);
  if (found.whole && variables.includes(found.name)) {
    findings.notice(
      node.origin,
      `\`${path}\`: $\{${found.name}} is not replaced in this file; the variable ${found.name} counts by itself. Delete this line.`,
    );
    return true;
  }
  if (meta.prose === true) {
    findings.notice(
      node.origin,
      `\`${path}\`: $\{${found.name}} is not replaced; the text is used as it stands.`,
    );
    return false;
  }
  findings.problem(
    node.origin,
    `\`${path}\` contains $\{${found.name}}, but there is no interpolation in this file.`,
    {
      keyPath: path,
      value: meta.secret === true ? null : node.text,
      hint: interpolationHint(path, found.name, variables),
    },
  );
  return true;
}

function interpolationHint(path: string, name: string, variables: readonly string[]): string {
  if (path.endsWith('.api_key')) return `Write \`api_key_env: ${name}\` instead.`;
  const [variable] = variables;
  if (variable === undefined) return 'Write the value itself.';
  return `Leave the key out and set the environment variable ${variable}.`;
}
