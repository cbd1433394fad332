/**
 * JSON text as Python's `json.dumps(…, ensure_ascii=False)` writes it, so that files of dlgforge and
 * of its predecessor compare byte by byte. Two things are better: NaN and the infinities, which are
 * no JSON, become null, and half a surrogate pair is written as its escape instead of failing.
 */

/** A number that Python would hold as a float: 1 is written `1.0`. Plain numbers that are whole are written as integers. */
export class Float {
  readonly value: number;
  constructor(value: number) {
    this.value = value;
  }
}

/** Takes a JSON text piece by piece. */
export interface JsonSink {
  /** Punctuation, numbers and the like. */
  add(piece: string): void;
  /** A string or a key, not yet quoted: `jsonString` quotes it. */
  addString(text: string): void;
}

/** One line: separators `", "` and `": "`. Properties that are undefined are left out. */
export function pythonJson(value: unknown): string {
  const sink = new TextSink();
  writePythonJson(value, sink);
  return sink.text;
}

/** Indented by two, no newline at the end, as whole files are written. */
export function pythonJsonIndented(value: unknown): string {
  const sink = new TextSink();
  writePythonJsonIndented(value, sink);
  return sink.text;
}

/** `pythonJson` for texts that are too long to be made whole. */
export function writePythonJson(value: unknown, sink: JsonSink): void {
  write(value, ONE_LINE, sink);
}

export function writePythonJsonIndented(value: unknown, sink: JsonSink): void {
  write(value, indented(''), sink);
}

class TextSink implements JsonSink {
  text = '';

  add(piece: string): void {
    this.text += piece;
  }

  addString(text: string): void {
    this.text += jsonString(text);
  }
}

/** What stands between the parts of a list or an object at one depth. */
interface Layout {
  readonly open: string;
  readonly separator: string;
  readonly close: string;
  readonly inner: () => Layout;
}

const ONE_LINE: Layout = { open: '', separator: ', ', close: '', inner: () => ONE_LINE };

/** Made once per depth: a file has thousands of objects and a dozen depths. */
const layouts = new Map<string, Layout>();
const DEPTHS_KEPT_MAX = 64;

function indented(margin: string): Layout {
  const known = layouts.get(margin);
  if (known !== undefined) return known;
  const inside = `${margin}  `;
  const layout: Layout = {
    open: `\n${inside}`,
    separator: `,\n${inside}`,
    close: `\n${margin}`,
    inner: () => indented(inside),
  };
  if (layouts.size < DEPTHS_KEPT_MAX) layouts.set(margin, layout);
  return layout;
}

function write(value: unknown, layout: Layout, sink: JsonSink): void {
  if (typeof value === 'string') sink.addString(value);
  else if (typeof value !== 'object' || value === null || value instanceof Float) sink.add(scalarText(value));
  else if (Array.isArray(value)) writeList(value, layout, sink);
  else writeObject(value as JsonFields, layout, sink);
}

function scalarText(value: unknown): string {
  switch (typeof value) {
    case 'number':
      return numberText(value);
    case 'boolean':
      return value ? 'true' : 'false';
    case 'bigint':
      return value.toString();
    default:
      return value instanceof Float ? floatText(value.value) : 'null';
  }
}

type JsonFields = Readonly<Record<string, unknown>>;

function writeList(items: readonly unknown[], layout: Layout, sink: JsonSink): void {
  if (items.length === 0) return sink.add('[]');
  const inner = layout.inner();
  let before = `[${layout.open}`;
  for (const item of items) {
    sink.add(before);
    write(item, inner, sink);
    before = layout.separator;
  }
  sink.add(`${layout.close}]`);
}

function writeObject(fields: JsonFields, layout: Layout, sink: JsonSink): void {
  const inner = layout.inner();
  let before = `{${layout.open}`;
  let empty = true;
  for (const key of Object.keys(fields)) {
    const value = fields[key];
    if (value === undefined) continue;
    sink.add(before);
    sink.addString(key);
    sink.add(': ');
    write(value, inner, sink);
    before = layout.separator;
    empty = false;
  }
  sink.add(empty ? '{}' : `${layout.close}}`);
}

/** JSON.stringify escapes what Python escapes, and lone surrogates too; most texts need nothing of it. */
export function jsonString(text: string): string {
  return NEEDS_ESCAPES.test(text) ? JSON.stringify(text) : `"${text}"`;
}

// Control characters, quote, backslash and surrogates, whole pairs included: those are rare enough.
const NEEDS_ESCAPES = /[^\u0020\u0021\u0023-\u005b\u005d-\ud7ff\ue000-\uffff]/;

function numberText(value: number): string {
  if (Number.isSafeInteger(value)) return Object.is(value, -0) ? '0' : String(value);
  return floatText(value);
}

/** Python's `repr` of a float: the shortest digits that read back, exponents below 1e-4 and from 1e16 on. */
function floatText(value: number): string {
  if (!Number.isFinite(value)) return 'null';
  if (value === 0) return Object.is(value, -0) ? '-0.0' : '0.0';
  const [mantissa = '', power = '0'] = value.toExponential().split('e');
  const exponent = Number(power);
  if (exponent < -4 || exponent >= 16) {
    const sign = exponent < 0 ? '-' : '+';
    return `${mantissa}e${sign}${String(Math.abs(exponent)).padStart(2, '0')}`;
  }
  const negative = value < 0 ? '-' : '';
  const digits = mantissa.replace(/[-.]/g, '');
  if (exponent < 0) return `${negative}0.${'0'.repeat(-exponent - 1)}${digits}`;
  const whole = digits.slice(0, exponent + 1).padEnd(exponent + 1, '0');
  return `${negative}${whole}.${digits.slice(exponent + 1) || '0'}`;
}

/**
 * Python's `str()` of a JSON value, except that null is the empty text: the contract's way of turning
 * what a model wrote into text.
 */
export function pythonText(value: unknown): string {
  if (value === null || value === undefined) return '';
  return typeof value === 'string' ? value : repr(value);
}

function repr(value: unknown): string {
  if (value === null || value === undefined) return 'None';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (typeof value === 'number') return Number.isFinite(value) ? numberText(value) : nonFinite(value);
  if (typeof value === 'string') return quoted(value);
  if (typeof value === 'bigint') return value.toString();
  if (value instanceof Float)
    return Number.isFinite(value.value) ? floatText(value.value) : nonFinite(value.value);
  if (Array.isArray(value)) return `[${value.map(repr).join(', ')}]`;
  const fields = Object.entries(value).map(([key, inner]) => `${quoted(key)}: ${repr(inner)}`);
  return `{${fields.join(', ')}}`;
}

function nonFinite(value: number): string {
  if (Number.isNaN(value)) return 'nan';
  return value > 0 ? 'inf' : '-inf';
}

const NAMED_ESCAPES: Readonly<Record<string, string>> = {
  '\\': '\\\\',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
};

function quoted(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  // What Python's str.isprintable refuses: everything of the classes "other" and "separator" but the space.
  const body = text.replace(/[\\\p{C}]|(?! )\p{Z}/gu, escapeCharacter).replaceAll(quote, `\\${quote}`);
  return quote + body + quote;
}

function escapeCharacter(character: string): string {
  const named = NAMED_ESCAPES[character];
  if (named !== undefined) return named;
  const code = character.codePointAt(0) ?? 0;
  if (code <= 0xff) return `\\x${code.toString(16).padStart(2, '0')}`;
  if (code <= 0xffff) return `\\u${code.toString(16).padStart(4, '0')}`;
  return `\\U${code.toString(16).padStart(8, '0')}`;
}

/**
 * Parses JSON that Python wrote: `NaN` and the infinities, which its writer lets through, become null.
 * @throws SyntaxError like JSON.parse.
 */
export function parsePythonJson(text: string): unknown {
  return parseRepaired(text, (json) => JSON.parse(json));
}

/**
 * The same, slower, for values whose text matters: a number that Python would read as a float is a `Float`
 * even when it is whole (1.0), and an integer of any length keeps its digits, as a bigint.
 */
export function parsePythonNumbers(text: string): unknown {
  return parseRepaired(text, (json) =>
    JSON.parse(json, asWritten as (key: string, value: unknown) => unknown),
  );
}

function asWritten(_key: string, value: unknown, context: { readonly source?: string }): unknown {
  if (typeof value !== 'number' || context.source === undefined) return value;
  if (/[.eE]/.test(context.source)) return Number.isInteger(value) ? new Float(value) : value;
  return Number.isSafeInteger(value) ? value : BigInt(context.source);
}

function parseRepaired(text: string, parse: (json: string) => unknown): unknown {
  try {
    return parse(text);
  } catch (error) {
    const repaired = text.replace(STRING_OR_CONSTANT, (found) => (found.startsWith('"') ? found : 'null'));
    if (repaired === text) throw error;
    return parse(repaired);
  }
}

const STRING_OR_CONSTANT = /"[^"\\]*(?:\\.[^"\\]*)*"|-?Infinity|NaN/gs;
