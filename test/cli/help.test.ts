import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const bin = fileURLToPath(new URL('../../bin/dlgforge.js', import.meta.url));
const recorder = new URL('../support/recorded-imports.mjs', import.meta.url).href;

test.each([[['--help']], [['run', '--help']], [['--version']]])(
  'D16: dlgforge %j loads the parser of the command line and nothing else',
  async (argv) => {
    const folder = await mkdtemp(join(tmpdir(), 'dlgforge-help-'));
    try {
      const file = join(folder, 'imports.json');
      const { stdout } = await promisify(execFile)(process.execPath, ['--import', recorder, bin, ...argv], {
        env: { ...process.env, IMPORTS_FILE: file },
      });
      expect(stdout).not.toBe('');
      expect(JSON.parse(await readFile(file, 'utf8'))).toEqual(['commander']);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
);
