import { z } from 'zod';
import { Secret } from '../secret.ts';
import { isVariableName, VARIABLE_NAME_RULE } from '../variable-name.ts';

/**
 * What a key needs beyond its zod schema: how text is read into it, and what the documentation and
 * the error messages say. Every schema in the tree has an entry in `keyMeta`.
 */
export interface KeyMeta {
  readonly kind: KeyKind;
  /** Meaning, units, range; one or two sentences. */
  readonly description: string;
  /** For people: `integer > 0`, `true or false`, … */
  readonly type: string;
  /** Ends the sentence "`key` …" when a value of the right type is refused. */
  readonly rule?: string;
  readonly choices?: readonly string[];
  /** Other spellings of choices. */
  readonly aliases?: Readonly<Record<string, string>>;
  /** The other spellings are as good as the first: no notice. */
  readonly aliasesStay?: boolean;
  /** Free text, in which `${…}` may be meant as it stands. */
  readonly prose?: boolean;
  /** Never shown, neither in reports nor by `config show`. */
  readonly secret?: boolean;
  /** The default of a text; an empty text stands for it. */
  readonly fallback?: string;
  /** One text with commas may stand for the list; items are trimmed and distinct. */
  readonly commaSeparated?: boolean;
  /** A list item that is plain text means an object with this one field. */
  readonly itemFromText?: string;
}

export type KeyKind =
  | 'section'
  | 'text'
  | 'choice'
  | 'boolean'
  | 'integer'
  | 'decimal'
  | 'texts'
  | 'objects'
  | 'mapping'
  | 'texts_by_name';

export const keyMeta = z.registry<KeyMeta>();

interface Range {
  readonly min?: number;
  /** Lower bound that is itself refused. */
  readonly above?: number;
  readonly max?: number;
}

const ruleOf = ({ min, above, max }: Range): string => {
  const low = above !== undefined ? `> ${above}` : min !== undefined ? `>= ${min}` : '';
  if (max === undefined) return low;
  return low === '' ? `<= ${max}` : `${low} and <= ${max}`;
};

const numberMeta = (
  kind: 'integer' | 'decimal',
  range: Range,
  description: string,
  nullable = false,
): KeyMeta => {
  const rule = ruleOf(range);
  const name = kind === 'integer' ? 'integer' : 'number';
  return {
    kind,
    description,
    type: `${name}${rule === '' ? '' : ` ${rule}`}${nullable ? ' or null' : ''}`,
    ...(rule === '' ? {} : { rule: `must be ${rule}.` }),
  };
};

const bounded = <N extends z.ZodNumber>(base: N, { min, above, max }: Range): N => {
  let schema = base;
  if (min !== undefined) schema = schema.min(min);
  if (above !== undefined) schema = schema.gt(above);
  if (max !== undefined) schema = schema.max(max);
  return schema;
};

export const section = <S extends z.ZodRawShape>(description: string, shape: S) =>
  z
    .strictObject(shape)
    .prefault({} as never)
    .register(keyMeta, { kind: 'section', description, type: 'section' });

export const text = (fallback: string, description: string, extra: Partial<KeyMeta> = {}) =>
  z
    .string()
    .default(fallback)
    .register(keyMeta, { kind: 'text', description, type: 'text', fallback, ...extra });

/** Text of a form; an empty one is allowed and means "not given". */
export const textOf = (fallback: string, pattern: RegExp, rule: string, description: string) =>
  z
    .string()
    .refine((value) => value === '' || pattern.test(value))
    .default(fallback)
    .register(keyMeta, { kind: 'text', description, type: 'text', rule });

/** The name of a variable that holds a key. */
export const variableName = (description: string) =>
  z
    .string()
    .refine((value) => value.trim() === '' || isVariableName(value.trim()))
    .default('')
    .register(keyMeta, { kind: 'text', description, type: 'text', rule: VARIABLE_NAME_RULE, secret: true });

export const nullableText = (description: string) =>
  z.string().nullable().default(null).register(keyMeta, { kind: 'text', description, type: 'text or null' });

/** Text that is kept as a `Secret`; empty means none. */
export const secretText = (description: string, mask: 'all' | 'password') =>
  z
    .string()
    .default('')
    .transform((value) => {
      if (value.trim() === '') return null;
      return mask === 'password' ? Secret.connection(value.trim()) : new Secret(value.trim());
    })
    .register(keyMeta, { kind: 'text', description, type: 'text (shown masked)', secret: true });

export const choice = <const V extends readonly [string, ...string[]]>(
  values: V,
  fallback: V[number],
  description: string,
  aliases: Readonly<Record<string, V[number]>> = {},
  extra: Partial<KeyMeta> = {},
) =>
  z
    .enum(values)
    .default(fallback as never)
    .register(keyMeta, {
      kind: 'choice',
      description,
      type: values.map((value) => `\`${value}\``).join(', '),
      rule: choiceRule(values),
      choices: values,
      aliases,
      ...extra,
    });

export const nullableChoice = <const V extends readonly [string, ...string[]]>(
  values: V,
  description: string,
) =>
  z
    .enum(values)
    .nullable()
    .default(null)
    .register(keyMeta, {
      kind: 'choice',
      description,
      type: `${values.map((value) => `\`${value}\``).join(', ')} or null`,
      rule: choiceRule(values),
      choices: values,
    });

const choiceRule = (values: readonly string[]): string => {
  const quoted = values.map((value) => `\`${value}\``);
  if (quoted.length === 1) return `must be ${quoted[0]}.`;
  if (quoted.length === 2) return `must be either ${quoted[0]} or ${quoted[1]}.`;
  return `must be one of ${quoted.slice(0, -1).join(', ')} or ${quoted.at(-1)}.`;
};

export const flag = (fallback: boolean, description: string) =>
  z.boolean().default(fallback).register(keyMeta, { kind: 'boolean', description, type: 'true or false' });

export const integer = (fallback: number, range: Range, description: string) =>
  bounded(z.int(), range)
    .default(fallback)
    .register(keyMeta, numberMeta('integer', range, description));

export const decimal = (fallback: number, range: Range, description: string) =>
  bounded(z.number(), range)
    .default(fallback)
    .register(keyMeta, numberMeta('decimal', range, description));

export const nullableInteger = (range: Range, description: string) =>
  bounded(z.int(), range)
    .nullable()
    .default(null)
    .register(keyMeta, numberMeta('integer', range, description, true));

export const nullableDecimal = (range: Range, description: string) =>
  bounded(z.number(), range)
    .nullable()
    .default(null)
    .register(keyMeta, numberMeta('decimal', range, description, true));

export const texts = (fallback: readonly string[], description: string, extra: Partial<KeyMeta> = {}) =>
  z
    .array(z.string())
    .default([...fallback])
    .register(keyMeta, { kind: 'texts', description, type: 'list of texts', ...extra });

/** A list whose items come from a fixed set. */
export const choices = <const V extends readonly [string, ...string[]]>(
  values: V,
  fallback: readonly V[number][],
  description: string,
) =>
  z
    .array(z.enum(values))
    .default([...fallback] as never)
    .register(keyMeta, {
      kind: 'texts',
      description,
      commaSeparated: true,
      type: `list of ${values.map((value) => `\`${value}\``).join(', ')}`,
      rule: `may only contain ${values.map((value) => `\`${value}\``).join(', ')}.`,
      choices: values,
    });

/** A mapping that is handed on as it stands. */
export const mapping = (description: string) =>
  z
    .record(z.string(), z.unknown())
    .default({})
    .register(keyMeta, { kind: 'mapping', description, type: 'mapping' });

export const textsByName = (description: string) =>
  z
    .record(z.string(), z.string())
    .default({})
    .register(keyMeta, { kind: 'texts_by_name', description, type: 'mapping of texts' });
