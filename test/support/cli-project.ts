/** A project in a temporary folder and the real command line in real processes. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { silentLogger } from '../../src/kernel/logger.ts';
import type { Store } from '../../src/ports/store.ts';
import { openStore } from '../../src/store/open-store.ts';

export const ROOT = fileURLToPath(new URL('../../', import.meta.url));
export const LAUNCHER = join(ROOT, 'bin', 'dlgforge.js');

export interface Finished {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Running {
  readonly child: ChildProcess;
  readonly finished: Promise<Finished>;
  /** Resolves when it has printed `text`; rejects when the process ends before. */
  shown(text: string): Promise<void>;
}

export interface CliProject {
  readonly folder: string;
  readonly config: string;
  start(args: readonly string[], env?: Readonly<Record<string, string>>): Running;
  run(args: readonly string[], env?: Readonly<Record<string, string>>): Promise<Finished>;
  /** The project's own store, while nobody else needs to be kept out. */
  withStore<T>(use: (store: Store) => Promise<T>): Promise<T>;
  files(folder?: string): Promise<Map<string, string>>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** A command that needs no project. */
export function runCli(
  args: readonly string[],
  folder = tmpdir(),
  node = process.execPath,
): Promise<Finished> {
  return startCli(args, folder, {}, node).finished;
}

/** A command in `folder`, with `env` and nothing of the person's own. */
export function startCli(
  args: readonly string[],
  folder: string,
  env: Readonly<Record<string, string>>,
  node = process.execPath,
): Running {
  const child = spawn(node, [LAUNCHER, ...args], {
    cwd: folder,
    env: cleanEnvironment(env),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  const watching = new Set<() => void>();
  const changed = (): void => {
    for (const look of watching) look();
  };
  child.stdout?.on('data', (chunk) => {
    stdout += String(chunk);
    changed();
  });
  child.stderr?.on('data', (chunk) => {
    stderr += String(chunk);
    changed();
  });
  const finished = once(child, 'close').then(([code, signal]) => ({ code, signal, stdout, stderr }));
  return {
    child,
    finished,
    shown: (text) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          if (!stderr.includes(text) && !stdout.includes(text)) return;
          watching.delete(look);
          resolve();
        };
        watching.add(look);
        look();
        void finished.then(({ code }) =>
          reject(new Error(`ended with ${code} before it showed ${JSON.stringify(text)}:\n${stderr}`)),
        );
      }),
  };
}

/** Variables of the person who runs the tests must not change what is tested. */
function cleanEnvironment(extra: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
  const kept = ['PATH', 'HOME', 'TMPDIR', 'LANG', 'XDG_RUNTIME_DIR'];
  return { ...Object.fromEntries(kept.map((name) => [name, process.env[name]])), ...extra };
}

/** @param config the YAML as a value; the knowledge is that of the quick start. */
export async function makeProject(config: object): Promise<CliProject> {
  const folder = await mkdtemp(join(tmpdir(), 'dlgforge-cli-'));
  await cp(join(ROOT, 'examples', 'quickstart', 'knowledge'), join(folder, 'knowledge'), { recursive: true });
  const path = join(folder, 'config.yaml');
  await writeFile(path, stringify(config));

  const start = (args: readonly string[], env: Readonly<Record<string, string>> = {}): Running =>
    startCli(args, folder, env);

  return {
    folder,
    config: path,
    start,
    run: (args, env) => start(args, env).finished,
    async withStore(use) {
      const store = await openStore({ stateDir: join(folder, '.dlgforge'), logger: silentLogger });
      try {
        return await use(store);
      } finally {
        await store.close();
      }
    },
    files: (below = 'outputs') => filesBelow(join(folder, below)),
    async [Symbol.asyncDispose]() {
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Every file by its relative path; files that begin with a dot are not artifacts. */
export async function filesBelow(folder: string): Promise<Map<string, string>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile() && !entry.name.startsWith('.'));
  const paths = files.map((entry) => join(entry.parentPath, entry.name)).sort();
  return new Map(
    await Promise.all(
      paths.map(async (path) => [relative(folder, path), await readFile(path, 'utf8')] as const),
    ),
  );
}

/** The same text without what says when. */
export function withoutTimes(text: string): string {
  return text.replace(/("(?:timestamp|updated_at)": )"[^"]*"/g, '$1""');
}
