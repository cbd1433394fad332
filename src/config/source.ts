/**
 * Values as they stood where they came from, before the schema says what they mean: a file, the
 * environment or the command line, all in one form, each with the place to name when it is off.
 */
export type Origin =
  | { readonly type: 'file'; readonly file: string; readonly line: number }
  | { readonly type: 'environment'; readonly variable: string }
  | { readonly type: 'flag'; readonly flag: string };

export interface ScalarNode {
  readonly type: 'scalar';
  readonly value: string | number | boolean | null;
  /** As written, without quotes. */
  readonly text: string;
  /** Written in a file without quotes, so that YAML versions may disagree about it. */
  readonly plain: boolean;
  readonly origin: Origin;
}

export interface ListNode {
  readonly type: 'list';
  readonly items: readonly SourceNode[];
  readonly origin: Origin;
}

export interface MapNode {
  readonly type: 'map';
  readonly entries: Map<string, SourceNode>;
  readonly origin: Origin;
}

export type SourceNode = ScalarNode | ListNode | MapNode;

export const emptyMap = (origin: Origin): MapNode => ({ type: 'map', entries: new Map(), origin });

/** Text from the environment or the command line. */
export const textNode = (text: string, origin: Origin): ScalarNode => ({
  type: 'scalar',
  value: text,
  text,
  plain: false,
  origin,
});

/** A value that is not text already: parsed JSON, or an override given by code. */
export function valueNode(value: unknown, origin: Origin): SourceNode {
  if (Array.isArray(value))
    return { type: 'list', items: value.map((item) => valueNode(item, origin)), origin };
  if (value !== null && typeof value === 'object') {
    return {
      type: 'map',
      entries: new Map(Object.entries(value).map(([key, inner]) => [key, valueNode(inner, origin)])),
      origin,
    };
  }
  if (typeof value === 'number' || typeof value === 'boolean')
    return { type: 'scalar', value, text: String(value), plain: false, origin };
  if (value === null || value === undefined)
    return { type: 'scalar', value: null, text: '', plain: false, origin };
  return textNode(typeof value === 'string' ? value : JSON.stringify(value), origin);
}

export const isNull = (node: SourceNode): boolean => node.type === 'scalar' && node.value === null;

/** How `config show` and the origins table name a place. */
export function originText(origin: Origin | null): string {
  if (origin === null) return 'default';
  if (origin.type === 'file') return `file:${origin.file}:${origin.line}`;
  return origin.type === 'environment' ? `env:${origin.variable}` : `flag:${origin.flag}`;
}

const SHOWN_LENGTH = 80;

/** What a report shows of a value; never the user information of a URL. */
export function shownValue(node: SourceNode): string {
  const text = node.type === 'scalar' ? scalarText(node) : JSON.stringify(plainValue(node));
  return shortened(text.replace(/\/\/[^/\s@]*@/g, '//***@'));
}

const shortened = (text: string): string =>
  text.length <= SHOWN_LENGTH ? text : `${text.slice(0, SHOWN_LENGTH)}…`;

const scalarText = (node: ScalarNode): string =>
  typeof node.value === 'string'
    ? JSON.stringify(node.text)
    : node.text === ''
      ? String(node.value)
      : node.text;

/** The JavaScript value of a node, without its places. */
export function plainValue(node: SourceNode): unknown {
  if (node.type === 'scalar') return node.value;
  if (node.type === 'list') return node.items.map(plainValue);
  return Object.fromEntries([...node.entries].map(([key, inner]) => [key, plainValue(inner)]));
}

/** The node at a dotted path below `root`; undefined when there is none. */
export function nodeAt(root: MapNode, path: string): SourceNode | undefined {
  let node: SourceNode | undefined = root;
  for (const part of path.split('.')) {
    if (node?.type !== 'map') return undefined;
    node = node.entries.get(part);
  }
  return node;
}

/** Takes the node at `path` out of the tree, with the sections that are empty then. */
export function takeNode(root: MapNode, path: string): SourceNode | undefined {
  const parts = path.split('.');
  const name = parts.pop() ?? '';
  const parentPath = parts.join('.');
  const parent = parentPath === '' ? root : nodeAt(root, parentPath);
  if (parent?.type !== 'map') return undefined;
  const node = parent.entries.get(name);
  parent.entries.delete(name);
  if (node !== undefined && parent.entries.size === 0 && parentPath !== '') takeNode(root, parentPath);
  return node;
}

/** Puts `node` at `path`, making sections on the way; a section that is no mapping is replaced when it is null. */
export function putNode(root: MapNode, path: string, node: SourceNode): void {
  const parts = path.split('.');
  const name = parts.pop() ?? '';
  let parent = root;
  for (const part of parts) {
    const next = parent.entries.get(part);
    if (next?.type === 'map') parent = next;
    else if (next === undefined || isNull(next)) {
      const made = emptyMap(node.origin);
      parent.entries.set(part, made);
      parent = made;
    } else return;
  }
  parent.entries.set(name, node);
}
