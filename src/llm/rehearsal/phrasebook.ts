import type { INTENTS } from '../../dialogue/outputs.ts';

export type Intent = (typeof INTENTS)[number];

/**
 * The words around the evidence, one book per language. `{p}` and `{q}` become phrases of the
 * evidence, `{s}` a part of a sentence, in quotation marks where they need them; everything that
 * states a fact comes from there.
 */
export interface Phrasebook {
  /** Stand before a question. */
  readonly openers: readonly string[];
  /** Stand before a question that goes on from the last answer. */
  readonly followUpOpeners: readonly string[];
  /** Without their question mark, so that an angle can follow. */
  readonly questions: readonly { readonly intent: Intent; readonly text: string }[];
  readonly angles: readonly string[];
  /** Makes a sentence of an opener and a question, with its marks. */
  readonly ask: (opener: string, question: string) => string;
  readonly quote: (text: string) => string;
  readonly answerOpeners: readonly string[];
  /** Introduce further evidence. */
  readonly answerLinks: readonly string[];
  readonly answerClosings: readonly string[];
  /** Said when nothing was found; `{p}` is what was asked for. */
  readonly notFound: string;
  readonly thinking: readonly string[];
  readonly limits: readonly string[];
  readonly notes: readonly string[];
  /** The shared questions of `duplicate_rate`. */
  readonly duplicates: readonly string[];
}

/** `template` with its `{name}`s replaced, in one pass. */
export const fill = (template: string, values: Readonly<Record<string, string>>): string =>
  template.replace(/\{(\w+)\}/gu, (whole, name: string) => values[name] ?? whole);

/** The first letter in upper case, past opening marks. */
export const capitalised = (text: string): string =>
  text.replace(
    /^([^\p{L}\p{N}]*)(\p{Ll})/u,
    (_whole, marks: string, letter: string) => marks + letter.toUpperCase(),
  );
