import type { Findings } from './problem.ts';
import type { KeyMeta } from './schema/fields.ts';
import { shownValue, type ScalarNode } from './source.ts';
import { noteOldBoolean, reportInterpolation, reportTruthValue } from './yaml-surprises.ts';

const TRUE_WORDS: ReadonlySet<string> = new Set(['true', 'yes', 'on', 'y', 't', '1']);
const FALSE_WORDS: ReadonlySet<string> = new Set(['false', 'no', 'off', 'n', 'f', '0']);

/** One scalar as the kind of its key wants it; undefined when it says nothing or is off (and reported). */
export function readScalar(meta: KeyMeta, path: string, node: ScalarNode, findings: Findings): unknown {
  if (reportInterpolation(meta, path, node, findings)) return undefined;
  switch (meta.kind) {
    case 'boolean':
      return readBoolean(meta, path, node, findings);
    case 'integer':
    case 'decimal':
      return readNumber(meta, path, node, findings);
    case 'choice':
      return readChoice(meta, path, node, findings);
    default:
      return readText(meta, path, node, findings);
  }
}

function refuse(
  meta: KeyMeta,
  path: string,
  node: ScalarNode,
  findings: Findings,
  rule: string,
  hint: string | null = null,
): undefined {
  const keyPath = path;
  findings.problem(node.origin, `\`${path}\` ${rule}`, {
    keyPath,
    value: meta.secret === true ? null : shownValue(node),
    hint,
  });
}

function readBoolean(meta: KeyMeta, path: string, node: ScalarNode, findings: Findings): boolean | undefined {
  if (typeof node.value === 'boolean') return node.value;
  const word = node.text.trim().toLowerCase();
  if (word === '') return undefined;
  const value = TRUE_WORDS.has(word) ? true : FALSE_WORDS.has(word) ? false : undefined;
  if (value === undefined) return refuse(meta, path, node, findings, 'must be true or false.');
  if (node.plain && typeof node.value === 'string') {
    findings.notice(node.origin, `\`${path}\`: ${node.text} is read as ${value}. Write ${value}.`);
  }
  return value;
}

const DIGITS = /^[-+]?\d[\d_]*$/;
const DECIMAL = /^[-+]?(?:\d[\d_]*(?:\.[\d_]*)?|\.\d[\d_]*)(?:e[-+]?\d+)?$/i;

function readNumber(meta: KeyMeta, path: string, node: ScalarNode, findings: Findings): number | undefined {
  const written = node.text.trim();
  if (written === '') return undefined;
  if (/^[-+]?\d+(?::[0-5]?\d)+$/.test(written)) {
    return refuse(
      meta,
      path,
      node,
      findings,
      `must be ${articled(meta)}.`,
      'YAML 1.1 took this for a number to the base 60. Write it out in digits.',
    );
  }
  const value =
    typeof node.value === 'number'
      ? node.value
      : DECIMAL.test(written)
        ? Number(written.replaceAll('_', ''))
        : Number.NaN;
  if (!Number.isFinite(value) || (meta.kind === 'integer' && !Number.isSafeInteger(value))) {
    return refuse(meta, path, node, findings, `must be ${articled(meta)}.`);
  }
  if (node.plain && /^[-+]?0\d/.test(written) && DIGITS.test(written)) {
    findings.notice(
      node.origin,
      `\`${path}\`: ${written} is read as ${value}; dlgforge 0.1.0 took the leading zero for octal. Write it without the zero.`,
    );
  }
  return value;
}

const articled = ({ type }: KeyMeta): string =>
  `${/^[aeiou]/.test(type) ? 'an' : 'a'} ${type.replace(/ or null$/, '')}`;

function readChoice(meta: KeyMeta, path: string, node: ScalarNode, findings: Findings): string | undefined {
  const word = node.text.trim().toLowerCase();
  if (word === '') return undefined;
  const alias =
    meta.aliases === undefined || !Object.hasOwn(meta.aliases, word) ? undefined : meta.aliases[word];
  if (alias !== undefined && meta.aliasesStay !== true)
    findings.notice(node.origin, `\`${path}\`: \`${word}\` is an older spelling of \`${alias}\`.`);
  const value = alias ?? word;
  if (meta.choices?.includes(value) !== true)
    return refuse(meta, path, node, findings, meta.rule ?? `must be ${meta.type}.`);
  noteOldBoolean(path, node, findings);
  return value;
}

function readText(meta: KeyMeta, path: string, node: ScalarNode, findings: Findings): string | undefined {
  if (typeof node.value === 'boolean') {
    reportTruthValue(path, node, findings);
    return undefined;
  }
  noteOldBoolean(path, node, findings);
  if (node.text.trim() === '' && meta.fallback !== undefined && meta.fallback !== '') {
    findings.notice(node.origin, `\`${path}\` is empty: ${JSON.stringify(meta.fallback)} is used.`);
    return undefined;
  }
  return node.text;
}
