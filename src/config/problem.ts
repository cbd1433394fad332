import { basename } from 'node:path';
import { DlgforgeError, type ErrorCode } from '../kernel/errors.ts';
import type { Origin } from './source.ts';

/** One thing that is off, with everything a person needs to find it. `value` is safe to print. */
export interface ConfigProblem {
  readonly file: string | null;
  /** From 1. */
  readonly line: number | null;
  readonly keyPath: string | null;
  readonly value: string | null;
  /** The environment variable, or the flag with its dashes, that gave the value. */
  readonly variable: string | null;
  readonly message: string;
  readonly hint: string | null;
}

export interface ProblemFacts {
  readonly keyPath?: string | null;
  readonly value?: string | null;
  readonly hint?: string | null;
}

export function problemAt(origin: Origin | null, message: string, facts: ProblemFacts = {}): ConfigProblem {
  return {
    file: origin?.type === 'file' ? origin.file : null,
    line: origin?.type === 'file' ? origin.line : null,
    variable: origin?.type === 'environment' ? origin.variable : origin?.type === 'flag' ? origin.flag : null,
    keyPath: facts.keyPath ?? null,
    value: facts.value ?? null,
    message,
    hint: facts.hint ?? null,
  };
}

/** Collects everything that one load finds, so that a person sees it all at once. */
export class Findings {
  readonly problems: ConfigProblem[] = [];
  readonly #notices = new Set<string>();

  problem(origin: Origin | null, message: string, facts: ProblemFacts = {}): void {
    this.problems.push(problemAt(origin, message, facts));
  }

  /** Something that a person should know although it works; said once. */
  notice(origin: Origin | null, text: string): void {
    const place = placeOf(problemAt(origin, text));
    this.#notices.add(place === '' ? text : `${place}: ${text}`);
  }

  get notices(): readonly string[] {
    return [...this.#notices];
  }

  /** Whether a value of this key, or of a key below or above it, is already known to be off. */
  concerns(keyPath: string): boolean {
    return this.problems.some(
      ({ keyPath: bad }) =>
        bad !== null && (bad === keyPath || isBelow(bad, keyPath) || isBelow(keyPath, bad)),
    );
  }
}

const isBelow = (path: string, above: string): boolean =>
  path.startsWith(`${above}.`) || path.startsWith(`${above}[`);

/** One error for all problems; `details.problems` has them one by one. */
export function problemsError(code: ErrorCode, problems: readonly ConfigProblem[]): DlgforgeError {
  return new DlgforgeError(code, renderReport(problems), { details: { problems } });
}

export function renderReport(problems: readonly ConfigProblem[]): string {
  const sorted = [...problems].sort((a, b) => (a.line ?? Infinity) - (b.line ?? Infinity) || 0);
  const [only] = sorted;
  if (sorted.length === 1 && only !== undefined) return renderProblem(only, '');
  const lines = sorted.map((problem) => renderProblem(problem, '  '));
  const file = sorted.find((problem) => problem.file !== null)?.file;
  return [
    `${problems.length} problems in the configuration${file == null ? '' : ` ${file}`}:`,
    ...lines,
  ].join('\n');
}

function renderProblem(problem: ConfigProblem, indent: string): string {
  const where = placeOf(problem);
  const got = problem.value === null ? '' : ` Got: ${problem.value}.`;
  const hint = problem.hint === null ? '' : `\n${indent}    ${problem.hint}`;
  return `${indent}${where === '' ? '' : `${where}: `}${problem.message}${got}${hint}`;
}

function placeOf({ file, line, variable, message }: ConfigProblem): string {
  if (variable !== null && message.includes(variable)) return '';
  if (variable !== null) return variable.startsWith('--') ? variable : `environment variable ${variable}`;
  if (file === null) return '';
  return line === null ? basename(file) : `${basename(file)}:${line}`;
}
