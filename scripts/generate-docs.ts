/** Writes docs/configuration.md from the schema; with `--check` it only says whether the file is current. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { renderConfigurationDocs } from '../src/config/docs.ts';

const file = fileURLToPath(new URL('../docs/configuration.md', import.meta.url));
const wanted = renderConfigurationDocs();

function current(): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}

if (process.argv.includes('--check')) {
  if (current() !== wanted) {
    process.stderr.write('docs/configuration.md is not current: run `node scripts/generate-docs.ts`.\n');
    process.exitCode = 1;
  }
} else {
  mkdirSync(fileURLToPath(new URL('../docs/', import.meta.url)), { recursive: true });
  writeFileSync(file, wanted);
}
