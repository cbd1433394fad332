#!/usr/bin/env node
// The launcher: finds a Node that is new enough and the program (sources in a clone, `dist` in a package).
// Plain JavaScript for old Nodes, because an old one may be what starts it.
import { spawn } from 'node:child_process';
import { existsSync, realpathSync } from 'node:fs';
import { createRequire } from 'node:module';
import { Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = join(dirname(realpathSync(fileURLToPath(import.meta.url))), '..');
const inClone = existsSync(join(root, 'src', 'cli', 'main.ts'));
const program = inClone ? join(root, 'src', 'cli', 'main.ts') : join(root, 'dist', 'cli', 'main.js');

/** The file descriptor after those of input, output and errors. */
const LAUNCHER_PIPE = 3;

function isNewEnough(version) {
  const [major, minor] = version.split('.').map(Number);
  // Sources run without a flag from 22.18 on, compiled code from 22.13 on.
  return major > 22 || (major === 22 && minor >= (inClone ? 18 : 13));
}

function bundledNode() {
  try {
    const folder = dirname(createRequire(join(root, 'package.json')).resolve('node/package.json'));
    const binary = join(folder, 'bin', process.platform === 'win32' ? 'node.exe' : 'node');
    return existsSync(binary) ? binary : null;
  } catch {
    // Not installed, or installed without its binary: the message below says what to do.
    return null;
  }
}

/** A token goes to the new process in its environment: what stands on a command line is seen by everybody. */
function withoutToken(words) {
  const at = words.findIndex((word) => word === '--token' || word.startsWith('--token='));
  if (words[0] !== 'push' || at < 0) return { words, variables: {} };
  process.title = 'dlgforge push';
  const isOne = words[at] !== '--token';
  const token = isOne ? words[at].slice('--token='.length) : (words[at + 1] ?? '');
  const variables = token.trim() === '' ? {} : { HF_TOKEN: token };
  return { words: words.filter((_, index) => index !== at && (isOne || index !== at + 1)), variables };
}

/** Ends with the launcher that handed over to this process: whoever kills that one (`kill -9`) means the program. */
function endWithLauncher() {
  const { DLGFORGE_LAUNCHER: launcher } = process.env;
  delete process.env.DLGFORGE_LAUNCHER;
  if (launcher === undefined) return;
  const end = () => process.kill(process.pid, 'SIGKILL');
  // Nothing is ever written to it: it ends when the launcher does, also when that was earlier; it keeps nobody waiting.
  new Socket({ fd: LAUNCHER_PIPE }).on('end', end).on('error', end).resume().unref();
}

if (isNewEnough(process.versions.node)) {
  endWithLauncher();
  const module = await import('node:module');
  module.enableCompileCache?.();
  await import(pathToFileURL(program).href);
} else {
  const node = bundledNode();
  if (node === null) {
    process.stderr.write(
      `dlgforge needs Node 22.18 or newer; this is ${process.versions.node}. Install one, or run \`npm ci\` with ` +
        'install scripts allowed: it brings its own.\n',
    );
    process.exit(1);
  }
  const { words, variables } = withoutToken(process.argv.slice(2));
  const child = spawn(node, [fileURLToPath(import.meta.url), ...words], {
    stdio: ['inherit', 'inherit', 'inherit', 'pipe'],
    env: { ...process.env, ...variables, DLGFORGE_LAUNCHER: '1' },
  });
  // The terminal sends its signals to both; a signal for this process alone is passed on.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(signal, () => {
      if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal);
    });
  }
  child.on('exit', (code, signal) => {
    process.exitCode = code ?? (signal === 'SIGKILL' ? 137 : 1);
  });
}
