import {
  isAlias,
  isScalar,
  isSeq,
  LineCounter,
  parseDocument,
  type Document,
  type Node,
  type Pair,
  type Scalar,
  type YAMLMap,
} from 'yaml';
import type { Findings } from './problem.ts';
import { emptyMap, type MapNode, type Origin, type ScalarNode, type SourceNode } from './source.ts';

/** A configuration has a few hundred values; aliases that multiply beyond this are an attack or a mistake (I9). */
const MAX_NODES = 50_000;
const MAX_DEPTH = 64;

/**
 * Reads YAML into source nodes. The 1.2 rules decide what a plain scalar is, whatever the file says
 * about its version, and its text is kept: `no` stays `no` until the schema tells whether a boolean
 * or a language is wanted.
 */
export function parseYaml(text: string, file: string, findings: Findings): MapNode {
  const lines = new LineCounter();
  const document = parseDocument(text, {
    schema: 'core',
    merge: true,
    lineCounter: lines,
    prettyErrors: false,
    logLevel: 'silent',
  });
  const root: Origin = { type: 'file', file, line: 1 };
  const before = findings.problems.length;
  reportSyntax(document, text, lines, file, findings);
  if (findings.problems.length > before) return emptyMap(root);
  if (document.contents === null) return emptyMap(root);
  const node = new YamlReader(file, lines, findings).read(document.contents);
  if (node.type === 'map') return node;
  if (node.type === 'list' || node.value !== null) {
    findings.problem(node.origin, 'Config must be a YAML object.', {
      hint: 'The file has to consist of `section:` lines with `key: value` lines below.',
    });
  }
  return emptyMap(root);
}

function reportSyntax(
  document: Document.Parsed,
  text: string,
  lines: LineCounter,
  file: string,
  findings: Findings,
): void {
  for (const { code, message, pos } of [...document.errors, ...document.warnings]) {
    const origin: Origin = { type: 'file', file, line: lines.linePos(pos[0]).line };
    if (code === 'DUPLICATE_KEY') {
      const key = /^[^\s:]+/.exec(text.slice(pos[0]))?.[0] ?? '';
      findings.problem(origin, `Duplicate key \`${key}\`.`, {
        hint: 'It stands twice in this section: keep one of them.',
      });
    } else {
      findings.problem(origin, `Not valid YAML: ${message}.`.replace(/\.\.$/, '.'), {
        hint: 'Check the indentation, quotes and brackets near this line.',
      });
    }
  }
}

/** Walks the document in reading order; `#anchors` holds what aliases may refer to at that point. */
class YamlReader {
  readonly #file: string;
  readonly #lines: LineCounter;
  readonly #findings: Findings;
  readonly #anchors = new Map<string, Node>();
  readonly #open = new Set<Node>();
  #nodes = 0;

  constructor(file: string, lines: LineCounter, findings: Findings) {
    this.#file = file;
    this.#lines = lines;
    this.#findings = findings;
  }

  read(node: Node | null, place?: Origin, depth = 0): SourceNode {
    const origin = place ?? this.#originOf(node);
    this.#nodes += 1;
    if (node === null) return nothing(origin);
    if (this.#nodes > MAX_NODES || depth > MAX_DEPTH || this.#open.has(node)) return this.#refuse(origin);
    if (isAlias(node)) return this.#readAlias(node.source, origin, depth);
    if (node.anchor !== undefined) this.#anchors.set(node.anchor, node);
    if (isScalar(node)) return scalar(node, origin);
    this.#open.add(node);
    const result = isSeq(node)
      ? ({
          type: 'list',
          items: node.items.map((item) => this.read(item as Node | null, undefined, depth + 1)),
          origin,
        } as const)
      : this.#readMap(node, origin, depth);
    this.#open.delete(node);
    return result;
  }

  #readMap(node: YAMLMap, origin: Origin, depth: number): MapNode {
    const entries = new Map<string, SourceNode>();
    const merged: SourceNode[] = [];
    for (const { key, value } of node.items as Pair<Node, Node | null>[]) {
      const place = this.#originOf(key);
      const inner = this.read(value, place, depth + 1);
      if (isScalar(key) && key.source === '<<' && key.type === 'PLAIN') merged.push(inner);
      else entries.set(keyText(key), inner);
    }
    for (const source of merged.flatMap((inner) => (inner.type === 'list' ? inner.items : [inner]))) {
      if (source.type !== 'map')
        this.#findings.problem(source.origin, 'A merge key `<<` needs a mapping.', {
          hint: 'Refer to the anchor of a section: `<<: *name`.',
        });
      else for (const [name, inner] of source.entries) if (!entries.has(name)) entries.set(name, inner);
    }
    return { type: 'map', entries, origin };
  }

  #readAlias(name: string, origin: Origin, depth: number): SourceNode {
    const target = this.#anchors.get(name);
    if (target !== undefined) return this.read(target, origin, depth + 1);
    this.#findings.problem(origin, `There is no anchor \`&${name}\` before this alias.`);
    return nothing(origin);
  }

  #refuse(origin: Origin): SourceNode {
    if (!this.#findings.problems.some(({ message }) => message.startsWith('Aliases'))) {
      this.#findings.problem(origin, 'Aliases or nesting make this file too large.', {
        hint: 'Write the values out, and let no alias refer to a section around it.',
      });
    }
    return nothing(origin);
  }

  #originOf(node: Node | null): Origin {
    const offset = node?.range?.[0];
    return {
      type: 'file',
      file: this.#file,
      line: offset === undefined ? 1 : this.#lines.linePos(offset).line,
    };
  }
}

const nothing = (origin: Origin): ScalarNode => ({
  type: 'scalar',
  value: null,
  text: '',
  plain: true,
  origin,
});

function scalar(node: Scalar, origin: Origin): ScalarNode {
  const plain = node.type === 'PLAIN';
  const { value } = node;
  if (value === null) return { type: 'scalar', value, text: '', plain, origin };
  if (typeof value === 'string') return { type: 'scalar', value, text: value, plain, origin };
  const text = node.source ?? JSON.stringify(value);
  return {
    type: 'scalar',
    value: typeof value === 'number' || typeof value === 'boolean' ? value : text,
    text,
    plain,
    origin,
  };
}

const keyText = (key: Node): string => (isScalar(key) ? (key.source ?? String(key.value)) : String(key));
