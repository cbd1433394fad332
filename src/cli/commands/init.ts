import { relative } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { initProject, type InitReport } from '../../bootstrap/init.ts';
import type { StarterBackend } from '../../config/init-config.ts';
import { EXIT } from '../exit-codes.ts';
import { say } from '../terminal.ts';

interface Flags {
  readonly force: boolean;
  readonly backend?: StarterBackend;
  readonly languages?: string;
}

const DEFAULTS = { backend: 'rehearsal', languages: 'en' } as const;

export async function init(folder: string, flags: Flags): Promise<number> {
  const { backend, languages } = await answersOf(flags);
  const report = await initProject({ folder, force: flags.force, backend, languages: namesIn(languages) });
  for (const line of linesOf(report)) say(line);
  return EXIT.done;
}

interface Answers {
  readonly backend: StarterBackend;
  readonly languages: string;
}

/** Asks for what no flag says, and only where somebody can answer. */
async function answersOf({ backend, languages }: Flags): Promise<Answers> {
  const given = { backend: backend ?? DEFAULTS.backend, languages: languages ?? DEFAULTS.languages };
  if (!process.stdin.isTTY || !process.stderr.isTTY) return given;
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  const ask = async (question: string, usual: string): Promise<string> =>
    (await terminal.question(`${question} [${usual}] `)).trim() || usual;
  try {
    const where =
      backend ??
      (await ask('Answers from rehearsal (built in, no key) or openai (a real model)?', DEFAULTS.backend));
    return {
      backend: where === 'openai' ? 'openai' : 'rehearsal',
      languages: languages ?? (await ask('Languages, separated by commas?', DEFAULTS.languages)),
    };
  } finally {
    terminal.close();
  }
}

function namesIn(list: string): string[] {
  const names = list.split(',').map((name) => name.trim());
  const distinct = [...new Set(names.filter((name) => name !== ''))];
  return distinct.length === 0 ? [DEFAULTS.languages] : distinct;
}

function linesOf({ folder, configPath, written, kept, exampleOnly }: InitReport): string[] {
  const config = relative(process.cwd(), configPath) || configPath;
  return [
    `Written to ${folder}: ${written.join(', ')}`,
    ...(kept.length === 0 ? [] : [`Left as it was: ${kept.join(', ')}`]),
    exampleOnly
      ? 'Put your documents (.txt, .md, .pdf) into knowledge/ in place of the example there.'
      : 'The documents in knowledge/ are used as they are.',
    `Next: npx dlgforge doctor ${config}`,
    `Then: npx dlgforge run ${config}`,
  ];
}
