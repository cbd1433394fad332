// Runs a program of node_modules on the bundled Node: `node scripts/on-bundled-node.mjs vitest run`.
import { spawn } from 'node:child_process';
import { existsSync, realpathSync } from 'node:fs';
import { delimiter } from 'node:path';
import { fileURLToPath } from 'node:url';

const binFolder = fileURLToPath(new URL('../node_modules/.bin/', import.meta.url));
const [program, ...args] = process.argv.slice(2);
const node = existsSync(`${binFolder}node`) ? realpathSync(`${binFolder}node`) : process.execPath;
const script = program === 'node' ? [] : [`${binFolder}${program}`];

const child = spawn(node, [...script, ...args], {
  stdio: 'inherit',
  env: { ...process.env, PATH: `${binFolder}${delimiter}${process.env.PATH ?? ''}` },
});
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
child.on('exit', (code, signal) => process.exit(code ?? (signal === 'SIGINT' ? 130 : 1)));
