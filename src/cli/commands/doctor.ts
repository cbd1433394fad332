import { type Check, diagnose } from '../../bootstrap/doctor/doctor.ts';
import { EXIT } from '../exit-codes.ts';
import { print } from '../terminal.ts';

interface Flags {
  readonly json?: boolean;
}

export async function doctor(configPath: string, flags: Flags): Promise<number> {
  const checks = await diagnose(configPath);
  const problems = checks.filter(({ outcome }) => outcome === 'problem').length;
  const warnings = checks.filter(({ outcome }) => outcome === 'warning').length;
  if (flags.json === true) print(JSON.stringify({ ok: problems === 0, problems, warnings, checks }, null, 2));
  else print([...checks.flatMap(linesOf), '', lastLine(configPath, problems, warnings)].join('\n'));
  return problems === 0 ? EXIT.done : EXIT.failed;
}

const SIGN: Readonly<Record<Check['outcome'], string>> = { ok: '✓', warning: '!', problem: '✗' };
const NAME_WIDTH = 9;

function linesOf({ name, outcome, text, hint }: Check): string[] {
  const indent = ' '.repeat(NAME_WIDTH + 4);
  const hints = hint === null ? [] : hint.split('\n').map((line) => `${indent}${line.trimStart()}`);
  return [`${SIGN[outcome]} ${name.padEnd(NAME_WIDTH)}  ${text}`, ...hints];
}

function lastLine(configPath: string, problems: number, warnings: number): string {
  const counted = `${number(problems, 'problem')}, ${number(warnings, 'warning')}.`;
  return problems === 0
    ? `${counted} Next: npx dlgforge run ${configPath}`
    : `${counted} Put right what is marked ✗, then: npx dlgforge doctor ${configPath}`;
}

const number = (count: number, noun: string): string =>
  `${count === 0 ? 'no' : count} ${noun}${count === 1 ? '' : 's'}`;
