/** What the doctor finds, one thing at a time. */
import type { ConfigProblem } from '../../config/problem.ts';
import { renderReport } from '../../config/problem.ts';
import { isDlgforgeError, messageOf } from '../../kernel/errors.ts';

export interface Check {
  /** What was looked at, in one word. */
  readonly name: string;
  readonly outcome: 'ok' | 'warning' | 'problem';
  /** One line. */
  readonly text: string;
  /** What to do; null when there is nothing to do. */
  readonly hint: string | null;
}

export const ok = (name: string, text: string): Check => ({ name, outcome: 'ok', text, hint: null });

export const warning = (name: string, text: string, hint: string | null = null): Check => ({
  name,
  outcome: 'warning',
  text,
  hint,
});

export const problem = (name: string, text: string, hint: string | null = null): Check => ({
  name,
  outcome: 'problem',
  text,
  hint,
});

/** What keeps this check from its end becomes its finding, so that it hides no other. */
export async function guarded(
  name: string,
  look: () => Promise<readonly Check[]>,
): Promise<readonly Check[]> {
  try {
    return await look();
  } catch (error) {
    return findingsOf(name, error);
  }
}

function findingsOf(name: string, error: unknown): Check[] {
  const problems = isDlgforgeError(error) ? error.details['problems'] : undefined;
  if (Array.isArray(problems)) return (problems as ConfigProblem[]).map((each) => configProblem(name, each));
  const [text, ...rest] = messageOf(error).split('\n');
  return [problem(name, text ?? '', rest.length === 0 ? null : rest.join('\n').trimEnd())];
}

export const configProblem = (name: string, found: ConfigProblem): Check =>
  problem(name, renderReport([{ ...found, hint: null }]), found.hint);
