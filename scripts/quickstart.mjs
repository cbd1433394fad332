// The quick start: the example project through the built-in rehearsal. Further arguments go to `dlgforge run`.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const args = [`${root}bin/dlgforge.js`, 'run', 'examples/quickstart/config.yaml', ...process.argv.slice(2)];
const child = spawn(process.execPath, [`${root}scripts/on-bundled-node.mjs`, 'node', ...args], {
  cwd: root,
  stdio: 'inherit',
});
// Ctrl-C reaches the run itself through the terminal; this process only waits for its end.
process.on('SIGINT', () => undefined);
process.on('SIGTERM', () => child.kill('SIGTERM'));
child.on('exit', (code) => process.exit(code ?? 1));
