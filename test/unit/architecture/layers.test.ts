/** Holds the layers of ARCHITECTURE.md: who may import whom, and who may touch what. Names the offender. */
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

const SRC = fileURLToPath(new URL('../../../src/', import.meta.url));

/** A layer and the layers that it may import, itself apart. */
const LAYERS: Readonly<Record<string, readonly string[]>> = {
  kernel: [],
  dialogue: ['kernel'],
  config: ['kernel'],
  protocol: ['dialogue', 'kernel'],
  ports: ['protocol', 'dialogue', 'kernel'],
  llm: ['ports', 'protocol', 'dialogue', 'kernel'],
  retrieval: ['ports', 'protocol', 'dialogue', 'kernel'],
  store: ['ports', 'protocol', 'dialogue', 'kernel'],
  transport: ['ports', 'protocol', 'dialogue', 'kernel'],
  export: ['ports', 'protocol', 'dialogue', 'kernel'],
  actors: ['ports', 'protocol', 'dialogue', 'kernel'],
  bootstrap: [
    'actors',
    'llm',
    'retrieval',
    'store',
    'transport',
    'export',
    'ports',
    'protocol',
    'config',
    'dialogue',
    'kernel',
  ],
  cli: ['bootstrap', 'config', 'kernel'],
};

/** Technologies that one folder wraps for all others. */
const ONLY_IN: Readonly<Record<string, string>> = {
  nact: 'actors/runtime',
  openai: 'llm',
  pg: 'store',
  '@lancedb/lancedb': 'retrieval',
  'apache-arrow': 'retrieval',
  unpdf: 'retrieval',
  pino: 'kernel',
  '@huggingface/hub': 'export/hub',
  vega: 'export/dataset',
  'vega-lite': 'export/dataset',
  commander: 'cli',
  'log-update': 'cli',
};

/** A program of its own: tests and benchmarks start it as a process and read its address from stdout. */
const REHEARSAL_PROGRAM = 'llm/rehearsal/process.ts';

const LINES_MAX = 400;

interface Import {
  readonly specifier: string;
  readonly line: number;
}

interface SourceFile {
  /** Below `src`, with `/`. */
  readonly path: string;
  readonly text: string;
  readonly layer: string;
  readonly imports: readonly Import[];
}

const SPECIFIERS = /(?:\bfrom|\bimport)\s*\(?\s*(['"])([^'"]+)\1/g;

const files: readonly SourceFile[] = globSync('**/*.ts', { cwd: SRC })
  .map((name) => name.split(sep).join('/'))
  .sort()
  .map((path) => {
    const text = readFileSync(join(SRC, path), 'utf8');
    return { path, text, layer: path.split('/')[0] ?? '', imports: importsOf(withoutComments(text)) };
  });

/** Blanks, so that lines keep their numbers. Strings stay: specifiers are strings. */
function withoutComments(text: string): string {
  return text
    .replace(/\/\*[\s\S]*?\*\//g, (comment) => comment.replace(/[^\n]/g, ' '))
    .replace(/(^|\s)\/\/.*$/gm, '$1');
}

function importsOf(code: string): Import[] {
  return [...code.matchAll(SPECIFIERS)].map((match) => ({
    specifier: match[2] ?? '',
    line: code.slice(0, match.index).split('\n').length,
  }));
}

/** The file below `src` that a relative specifier means; null for packages and for what lies outside. */
function targetOf(file: SourceFile, specifier: string): string | null {
  if (!specifier.startsWith('.')) return null;
  const path = normalize(join(dirname(file.path), specifier))
    .split(sep)
    .join('/');
  return path.startsWith('../') ? null : path;
}

const layerOfPath = (path: string): string => path.split('/')[0] ?? '';

const packageOf = (specifier: string): string =>
  specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');

function offenders(isOffence: (file: SourceFile, found: Import) => boolean): string[] {
  return files.flatMap((file) =>
    file.imports
      .filter((found) => isOffence(file, found))
      .map(({ specifier, line }) => `src/${file.path}:${line} imports ${specifier}`),
  );
}

function linesWith(pattern: RegExp, isAllowed: (file: SourceFile) => boolean): string[] {
  return files
    .filter((file) => !isAllowed(file))
    .flatMap((file) =>
      withoutComments(file.text)
        .split('\n')
        .flatMap((text, index) =>
          pattern.test(text) ? [`src/${file.path}:${index + 1} ${text.trim()}`] : [],
        ),
    );
}

describe('layers', () => {
  test('every folder of src is a layer of the table', () => {
    expect(files.length).toBeGreaterThan(100);
    expect(
      [...new Set(files.map((file) => file.layer))].filter((layer) => !Object.hasOwn(LAYERS, layer)),
    ).toEqual([]);
  });

  test('imports point down', () => {
    expect(
      offenders((file, { specifier }) => {
        const target = targetOf(file, specifier);
        if (target === null) return false;
        const layer = layerOfPath(target);
        return layer !== file.layer && LAYERS[file.layer]?.includes(layer) !== true;
      }),
    ).toEqual([]);
  });

  test('no file imports itself by way of others', () => {
    const graph = new Map(
      files.map((file) => [
        file.path,
        file.imports.map(({ specifier }) => targetOf(file, specifier)).filter((target) => target !== null),
      ]),
    );
    expect(cyclesOf(graph)).toEqual([]);
  });
});

describe('who may touch what', () => {
  test.each(Object.entries(ONLY_IN))('%s is imported below src/%s only', (name, folder) => {
    expect(
      offenders(
        (file, { specifier }) => packageOf(specifier) === name && !file.path.startsWith(`${folder}/`),
      ),
    ).toEqual([]);
  });

  test('the environment is read in the configuration only', () => {
    expect(linesWith(/\bprocess\.env\b/, (file) => file.layer === 'config')).toEqual([]);
  });

  test('the console and the standard streams belong to the command line', () => {
    const streams = /\bconsole\.(?:log|info|warn|error|debug)\(|\bprocess\.(?:stdout|stderr)\b/;
    expect(linesWith(streams, (file) => file.layer === 'cli' || file.path === REHEARSAL_PROGRAM)).toEqual([]);
  });

  test('the dialogue rules are pure: no Node, no clock, no randomness, no promise', () => {
    expect(
      offenders((file, { specifier }) => file.layer === 'dialogue' && specifier.startsWith('node:')),
    ).toEqual([]);
    const impure =
      /\bDate\.now\(|\bnew Date\(\)|\bMath\.random\(|\bset(?:Timeout|Interval)\(|\bPromise\b|\basync\b|\bawait\b/;
    expect(linesWith(impure, (file) => file.layer !== 'dialogue')).toEqual([]);
  });
});

describe('size', () => {
  test(`no file is longer than ${LINES_MAX} lines`, () => {
    const longest = files
      .map((file) => ({ path: file.path, lines: file.text.split('\n').length - 1 }))
      .sort((a, b) => b.lines - a.lines)
      .slice(0, 10);
    const list = longest.map(({ path, lines }) => `${lines} src/${path}`).join('\n');
    expect(
      longest.filter(({ lines }) => lines > LINES_MAX),
      `the longest files:\n${list}`,
    ).toEqual([]);
  });
});

/** One cycle of imports for every set of files that import each other, as `a → b → a`. */
function cyclesOf(graph: ReadonlyMap<string, readonly string[]>): string[] {
  const done = new Set<string>();
  const found: string[] = [];
  const visit = (path: string, trail: readonly string[]): void => {
    const start = trail.indexOf(path);
    if (start >= 0) {
      found.push([...trail.slice(start), path].join(' → '));
      return;
    }
    if (done.has(path)) return;
    for (const next of graph.get(path) ?? []) visit(next, [...trail, path]);
    done.add(path);
  };
  for (const path of graph.keys()) visit(path, []);
  return found;
}
