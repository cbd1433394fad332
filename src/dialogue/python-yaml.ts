/**
 * YAML as 0.1.0 wrote it (PyYAML, block style, Unicode kept, 80 columns), byte for byte: people compare their
 * seed files with what it made. Only what such files are made of: mappings with text keys, lists of texts, and
 * scalars. A text is plain where YAML 1.1 reads it as that text, else in single quotes, and in double quotes
 * when it holds what only an escape can show.
 */
import { BREAKS, charactersOf, hasBreak, yamlStyleOf } from './yaml-style.ts';

export type YamlValue = string | number | readonly string[] | YamlMapping;
export type YamlMapping = ReadonlyMap<string, YamlValue>;

const WIDTH = 80;
const INDENT = 2;
/** A key is written in one line when it is shorter; its tag, `!!str`, is counted though never written. */
const SIMPLE_KEY = 128 - '!!str'.length;

export function pythonYaml(mapping: YamlMapping): string {
  const out = new Output();
  if (mapping.size === 0) return '{}\n';
  writeMapping(out, mapping, 0);
  return `${out.text}\n`;
}

/** What was written, and the column that folding goes by, in code points. */
class Output {
  text = '';
  column = 0;

  write(piece: string): void {
    this.text += piece;
    this.column += charactersOf(piece).length;
  }

  break(character = '\n'): void {
    this.text += character;
    this.column = 0;
  }

  startLine(indent: number): void {
    this.break();
    this.write(' '.repeat(indent));
  }
}

/** The first key goes where the output stands. */
function writeMapping(out: Output, mapping: YamlMapping, indent: number): void {
  let first = true;
  for (const [key, value] of mapping) {
    if (!first) out.startLine(indent);
    first = false;
    const characters = charactersOf(key);
    if (characters.length > 0 && characters.length < SIMPLE_KEY && !hasBreak(key)) {
      writeScalar(out, key, null);
      out.write(':');
      writeValue(out, value, indent);
    } else {
      out.write('? ');
      writeScalar(out, key, indent + INDENT);
      out.startLine(indent);
      out.write(':');
      writeBesideColon(out, value, indent + INDENT);
    }
  }
}

function writeValue(out: Output, value: YamlValue, indent: number): void {
  if (isMapping(value) && value.size > 0) {
    out.startLine(indent + INDENT);
    writeMapping(out, value, indent + INDENT);
  } else if (isList(value) && value.length > 0) {
    // The items of a list stand below the key's first letter.
    out.startLine(indent);
    writeItems(out, value, indent);
  } else {
    out.write(' ');
    writeFlat(out, value, indent + INDENT);
  }
}

/** After a key of its own line: the value begins in the line of the colon. */
function writeBesideColon(out: Output, value: YamlValue, indent: number): void {
  out.write(' ');
  if (isMapping(value) && value.size > 0) writeMapping(out, value, indent);
  else if (isList(value) && value.length > 0) writeItems(out, value, indent);
  else writeFlat(out, value, indent);
}

function writeItems(out: Output, items: readonly string[], indent: number): void {
  items.forEach((item, position) => {
    if (position > 0) out.startLine(indent);
    out.write('- ');
    writeScalar(out, item, indent + INDENT);
  });
}

function writeFlat(out: Output, value: YamlValue, indent: number): void {
  if (typeof value === 'string') writeScalar(out, value, indent);
  else if (typeof value === 'number') out.write(String(value));
  else out.write(isList(value) ? '[]' : '{}');
}

const isMapping = (value: YamlValue): value is YamlMapping => value instanceof Map;
const isList = (value: YamlValue): value is readonly string[] => Array.isArray(value);

/** @param indent of further lines; null when there may be none, as for keys. */
function writeScalar(out: Output, text: string, indent: number | null): void {
  const style = yamlStyleOf(text);
  if (style === 'plain') writePlain(out, charactersOf(text), indent);
  else if (style === 'single') writeSingleQuoted(out, charactersOf(text), indent);
  else writeDoubleQuoted(out, charactersOf(text), indent);
}

/** Plain texts have no line breaks of their own. A line ends at a single blank behind the 80th column. */
function writePlain(out: Output, text: readonly string[], indent: number | null): void {
  for (const run of runsOf(text, (character) => character === ' ')) {
    if (run === ' ' && indent !== null && out.column > WIDTH) out.startLine(indent);
    else out.write(run);
  }
}

function writeSingleQuoted(out: Output, text: readonly string[], indent: number | null): void {
  out.write("'");
  const runs = runsOf(text, kindInQuotes);
  runs.forEach((run, position) => {
    const inside = position > 0 && position < runs.length - 1;
    if (BREAKS.includes(run.charAt(0))) writeBreaks(out, run, indent ?? 0);
    else if (run === ' ' && inside && indent !== null && out.column > WIDTH) out.startLine(indent);
    else out.write(run.replaceAll("'", "''"));
  });
  out.write("'");
}

const kindInQuotes = (character: string): string =>
  character === ' ' ? 'blank' : BREAKS.includes(character) ? 'break' : 'text';

/** A reader joins lines, so the first `\n` is written twice. */
function writeBreaks(out: Output, run: string, indent: number): void {
  if (run.startsWith('\n')) out.break();
  for (const character of run) out.break(character);
  out.write(' '.repeat(indent));
}

/** Neighbours of one kind, together. */
function runsOf(text: readonly string[], kindOf: (character: string) => unknown): string[] {
  const runs: string[] = [];
  let last: unknown;
  for (const character of text) {
    const kind = kindOf(character);
    if (runs.length > 0 && kind === last) runs[runs.length - 1] += character;
    else runs.push(character);
    last = kind;
  }
  return runs;
}

const ESCAPES: Readonly<Record<string, string>> = {
  '\0': '0',
  '\u0007': 'a',
  '\b': 'b',
  '\t': 't',
  '\n': 'n',
  '\u000b': 'v',
  '\f': 'f',
  '\r': 'r',
  '\u001b': 'e',
  '"': '"',
  '\\': '\\',
  '\u0085': 'N',
  '\u00a0': '_',
  '\u2028': 'L',
  '\u2029': 'P',
};

/** Within double quotes a line may end anywhere behind the 80th column: at a blank, or beside an escape. */
function writeDoubleQuoted(out: Output, text: readonly string[], indent: number | null): void {
  out.write('"');
  let pending = '';
  text.forEach((character, position) => {
    const escaped = !isRawInDoubleQuotes(character);
    if (escaped) {
      out.write(pending + escapeOf(character));
      pending = '';
    }
    const mayEnd = position > 0 && position < text.length - 1 && (character === ' ' || pending === '');
    // The column after an escape is counted one too low.
    const column = out.column + (escaped ? -1 : charactersOf(pending).length);
    if (mayEnd && indent !== null && column > WIDTH) {
      out.write(`${pending}\\`);
      pending = '';
      out.startLine(indent);
      // A blank at the start of a line would be taken for its indentation.
      if (text[escaped ? position + 1 : position] === ' ') out.write('\\');
    }
    if (!escaped) pending += character;
  });
  out.write(`${pending}"`);
}

/** Other planes than the first are escaped here, though they stand as they are outside of double quotes. */
function isRawInDoubleQuotes(character: string): boolean {
  const code = character.codePointAt(0) ?? 0;
  if ('"\\\u0085\u2028\u2029\ufeff'.includes(character)) return false;
  return (
    (code >= 0x20 && code <= 0x7e) || (code >= 0xa0 && code <= 0xd7ff) || (code >= 0xe000 && code <= 0xfffd)
  );
}

function escapeOf(character: string): string {
  const short = ESCAPES[character];
  if (short !== undefined) return `\\${short}`;
  const code = character.codePointAt(0) ?? 0;
  const hex = code.toString(16).toUpperCase();
  if (code <= 0xff) return `\\x${hex.padStart(2, '0')}`;
  return code <= 0xffff ? `\\u${hex.padStart(4, '0')}` : `\\U${hex.padStart(8, '0')}`;
}
