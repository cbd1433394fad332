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

/** One line: separators `", "` and `": "`. Properties that are undefined are left out. */
export function pythonJson(value: unknown): string {
  return write(value, null, '');
}

/** Indented by two, no newline at the end, as whole files are written. */
export function pythonJsonIndented(value: unknown): string {
  return write(value, '  ', '');
}

function write(value: unknown, indent: string | null, margin: string): string {
  switch (typeof value) {
    case 'string':
      // JSON.stringify escapes what Python escapes, and lone surrogates too.
      return JSON.stringify(value);
    case 'number':
      return numberText(value);
    case 'boolean':
      return String(value);
    case 'bigint':
      return value.toString();
    case 'object':
      if (value === null) return 'null';
      if (value instanceof Float) return floatText(value.value);
      if (Array.isArray(value)) return writeList(value, indent, margin);
      return writeObject(value, indent, margin);
    default:
      return 'null';
  }
}

function writeList(items: readonly unknown[], indent: string | null, margin: string): string {
  if (items.length === 0) return '[]';
  const inner = margin + (indent ?? '');
  return enclose(
    '[',
    items.map((item) => write(item, indent, inner)),
    ']',
    indent,
    margin,
  );
}

function writeObject(object: object, indent: string | null, margin: string): string {
  const inner = margin + (indent ?? '');
  const fields: string[] = [];
  for (const [key, value] of Object.entries(object) as [string, unknown][]) {
    if (value !== undefined) fields.push(`${JSON.stringify(key)}: ${write(value, indent, inner)}`);
  }
  return fields.length === 0 ? '{}' : enclose('{', fields, '}', indent, margin);
}

function enclose(
  open: string,
  parts: readonly string[],
  close: string,
  indent: string | null,
  margin: string,
): string {
  if (indent === null) return open + parts.join(', ') + close;
  const inner = `\n${margin}${indent}`;
  return `${open}${inner}${parts.join(`,${inner}`)}\n${margin}${close}`;
}

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
  if (Array.isArray(value)) return `[${value.map(repr).join(', ')}]`;
  const fields = Object.entries(value as object).map(([key, inner]) => `${quoted(key)}: ${repr(inner)}`);
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
  try {
    return JSON.parse(text);
  } catch (error) {
    const repaired = text.replace(STRING_OR_CONSTANT, (found) => (found.startsWith('"') ? found : 'null'));
    if (repaired === text) throw error;
    return JSON.parse(repaired);
  }
}

const STRING_OR_CONSTANT = /"[^"\\]*(?:\\.[^"\\]*)*"|-?Infinity|NaN/gs;
