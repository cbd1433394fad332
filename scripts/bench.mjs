// `npm run bench -- saturation`: runs bench/<name>.ts on the bundled Node, further arguments go along.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const names = readdirSync(`${root}bench`)
  .filter((file) => file.endsWith('.ts'))
  .map((file) => file.slice(0, -3));
const [name, ...args] = process.argv.slice(2);
if (!names.includes(name)) {
  process.stderr.write(`Name a benchmark: npm run bench -- ${names.join('|')}\n`);
  process.exit(2);
}
const result = spawnSync(
  process.execPath,
  [`${root}scripts/on-bundled-node.mjs`, 'node', `${root}bench/${name}.ts`, ...args],
  { stdio: 'inherit' },
);
process.exit(result.status ?? 1);
