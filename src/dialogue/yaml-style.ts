/** How a text is written so that YAML 1.1 reads it as that text (the rules of PyYAML, without its flow style). */

export const BREAKS = '\n\u0085\u2028\u2029';
const BLANKS = `\0 \t\r${BREAKS}`;

/** Code points: what 0.1.0 counted and compared. */
export const charactersOf = (text: string): string[] => Array.from(text);

export const hasBreak = (text: string): boolean =>
  charactersOf(text).some((character) => BREAKS.includes(character));

export function yamlStyleOf(text: string): 'plain' | 'single' | 'double' {
  if (text === '') return 'single';
  if (needsEscapes(text)) return 'double';
  return NOT_A_TEXT.test(text) || hasBreak(text) || /^ | $/.test(text) || hasIndicator(text)
    ? 'single'
    : 'plain';
}

/** Blanks around line breaks are lost in single quotes. */
const needsEscapes = (text: string): boolean =>
  / [\n\u0085\u2028\u2029]|[\n\u0085\u2028\u2029] /.test(text) ||
  charactersOf(text).some((character) => !isPrintable(character));

function isPrintable(character: string): boolean {
  const code = character.codePointAt(0) ?? 0;
  if (code === 0x0a || code === 0x85) return true;
  if (code === 0xfeff || code === 0x10ffff) return false;
  return (
    (code >= 0x20 && code <= 0x7e) ||
    (code >= 0xa0 && code <= 0xd7ff) ||
    (code >= 0xe000 && code <= 0xfffd) ||
    code >= 0x10000
  );
}

function hasIndicator(text: string): boolean {
  if (/^(?:---|\.\.\.)/.test(text) || '#,[]{}&*!|>\'"%@`'.includes(text.charAt(0))) return true;
  const blankAt = (position: number): boolean =>
    position >= text.length || BLANKS.includes(text.charAt(position));
  if ('?-'.includes(text.charAt(0)) && blankAt(1)) return true;
  for (let position = 0; position < text.length; position += 1) {
    const character = text.charAt(position);
    if (character === ':' && blankAt(position + 1)) return true;
    if (character === '#' && blankAt(position - 1)) return true;
  }
  return false;
}

/** What YAML 1.1 takes for a boolean, number, null, time, merge key or default value (yaml.org/type). */
const NOT_A_TEXT = new RegExp(
  `^(?:${[
    'yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF',
    '~|null|Null|NULL|<<|=',
    '[-+]?0b[01_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+',
    '[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\\.[0-9_]*',
    '[-+]?[0-9][0-9_]*\\.[0-9_]*(?:[eE][-+][0-9]+)?|\\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?',
    '[-+]?\\.(?:inf|Inf|INF)|\\.(?:nan|NaN|NAN)',
    '[0-9]{4}-[0-9]{2}-[0-9]{2}',
    '[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt]|[ \\t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:\\.[0-9]*)?(?:[ \\t]*(?:Z|[-+][0-9]{1,2}(?::[0-9]{2})?))?',
  ].join('|')})$`,
);
