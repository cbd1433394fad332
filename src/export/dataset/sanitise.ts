/**
 * Brings a row of any source into the schema of the export (`schema.ts`). No text is lost: what has no
 * field of its own is kept as JSON, under the place where it stood, in `reasoning_trace.extra` for what was
 * in a trace and in `metadata.extra` for everything else.
 *
 * Values that are no text become text as Python's `str()` writes them. Half surrogate pairs, which neither
 * UTF-8 nor Parquet can hold, become U+FFFD; they are counted.
 */
import { Float, parsePythonNumbers, pythonJson, pythonText } from '../../dialogue/python-json.ts';
import { publicModelName } from './model-name.ts';
import { COLUMN_FIELDS, type Column, EXTRA, type ExportRow, type Field, type ObjectField } from './schema.ts';

export interface SanitisedRow {
  readonly row: ExportRow;
  /** Whether the source has a judge column in this row. */
  readonly hasJudge: boolean;
  /** Texts in which half a surrogate pair was replaced. */
  readonly replacedTexts: number;
  /** True when a number became text: then how it was written matters (1.0 is not 1). */
  readonly numbersAsText: boolean;
}

/** The values of the columns by their default names; unknown columns of the source under their own. */
export interface SourceColumns {
  readonly known: Readonly<Partial<Record<Column, unknown>>>;
  readonly unknown: Readonly<Record<string, unknown>>;
}

type Fields = Readonly<Record<string, unknown>>;

export function sanitiseRow({ known, unknown }: SourceColumns): SanitisedRow {
  const work = new Sanitiser();
  for (const [column, value] of Object.entries(unknown)) work.keepAt(column, value);
  const made: Record<string, unknown> = {};
  for (const [column, field] of Object.entries(COLUMN_FIELDS))
    made[column] = work.at(column, () => work.value(field, known[column as Column]));
  const row = made as unknown as ExportRow;
  const messages = row.messages.map(withPublicAgent);
  const messagesWithTools = row.messages_with_tools.map(withPublicAgent);
  const metadata = {
    ...row.metadata,
    rehearsal: row.metadata.rehearsal === true,
    [EXTRA]: work.extraText(),
  };
  return {
    row: { ...row, messages, messages_with_tools: messagesWithTools, metadata },
    hasJudge: known.judge !== undefined,
    replacedTexts: work.replacedTexts,
    numbersAsText: work.numbersAsText,
  };
}

function withPublicAgent<M extends { readonly agent: string }>(message: M): M {
  const agent = publicModelName(message.agent);
  return agent === message.agent ? message : { ...message, agent };
}

class Sanitiser {
  replacedTexts = 0;
  numbersAsText = false;
  #extra = new Map<string, unknown>();
  /** Where we are, below whatever `#extra` belongs to. */
  #path: (string | number)[] = [];

  at<T>(step: string | number, work: () => T): T {
    this.#path.push(step);
    const result = work();
    this.#path.pop();
    return result;
  }

  keepAt(step: string, value: unknown): void {
    this.at(step, () => this.#keep(value));
  }

  value(field: Field, value: unknown): unknown {
    switch (field) {
      case 'text':
        return this.#text(value);
      case 'whole':
        return this.#number(value, Number.isSafeInteger);
      case 'number':
        return this.#number(value, Number.isFinite);
      case 'truth':
        return this.#truth(value);
      default:
    }
    if (field.kind === 'object') return this.#object(field, value);
    if (field.kind === 'texts') {
      return asList(value)
        .map((item) => this.#text(item))
        .filter((text) => text.trim() !== '');
    }
    return asList(value).map((item, index) => this.at(index, () => this.#object(field.item, item)));
  }

  /** What is kept of this row, or of the trace that we are in, as JSON; '' for nothing. */
  extraText(): string {
    return this.#extra.size === 0 ? '' : pythonJson(Object.fromEntries(this.#extra));
  }

  #object(field: ObjectField, value: unknown): Record<string, unknown> {
    if (field.keepsExtra !== true) return this.#fields(field, value);
    const [outerExtra, outerPath] = [this.#extra, this.#path];
    [this.#extra, this.#path] = [new Map(), []];
    const made = this.#fields(field, value);
    made[EXTRA] = this.extraText();
    [this.#extra, this.#path] = [outerExtra, outerPath];
    return made;
  }

  #fields(field: ObjectField, value: unknown): Record<string, unknown> {
    const given = this.#given(field, value);
    const made: Record<string, unknown> = {};
    const borrowed: string[] = [];
    for (const name of Object.keys(field.fields)) {
      const inner = field.fields[name] as Field;
      if (name === EXTRA) {
        this.#unpack(given[EXTRA]);
        made[EXTRA] = '';
        continue;
      }
      const source = sourceOf(field, name, given);
      if (source !== name) borrowed.push(source);
      this.#path.push(name);
      made[name] = this.value(inner, field.json === name ? this.#jsonText(given[name]) : given[source]);
      this.#path.pop();
    }
    for (const name of Object.keys(given)) {
      if (!Object.hasOwn(field.fields, name) && !borrowed.includes(name)) this.keepAt(name, given[name]);
    }
    return made;
  }

  #given(field: ObjectField, value: unknown): Fields {
    if (isFields(value)) return value;
    if (isNothing(value)) return {};
    if (field.loose !== undefined) return { [field.loose]: value };
    this.#keep(value);
    return {};
  }

  /** The `extra` of a row that was exported before is taken apart again, so that exporting twice changes nothing. */
  #unpack(value: unknown): void {
    if (isNothing(value)) return;
    const earlier = typeof value === 'string' ? parsedFields(value) : null;
    if (earlier === null) this.keepAt(EXTRA, value);
    else for (const [place, inner] of Object.entries(earlier)) this.#extra.set(place, inner);
  }

  #text(value: unknown): string {
    if (typeof value === 'string') return this.#wellFormed(value);
    if (isNothing(value)) return '';
    if (typeof value !== 'boolean') this.numbersAsText = true;
    return this.#wellFormed(pythonText(value));
  }

  #jsonText(value: unknown): unknown {
    if (typeof value !== 'object' || value === null) return value;
    this.numbersAsText = true;
    return pythonJson(value);
  }

  #wellFormed(text: string): string {
    if (text.isWellFormed()) return text;
    this.replacedTexts += 1;
    return text.toWellFormed();
  }

  #number(value: unknown, fits: (value: unknown) => boolean): number | null {
    const number = value instanceof Float ? value.value : value;
    if (typeof number === 'number' && fits(number)) return number;
    if (typeof number === 'string' && NUMERIC.test(number) && fits(Number(number))) return Number(number);
    this.#keep(value);
    return null;
  }

  #truth(value: unknown): boolean | null {
    if (typeof value === 'boolean') return value;
    const word = typeof value === 'string' ? value.trim().toLowerCase() : '';
    if (word === 'true' || word === 'false') return word === 'true';
    this.#keep(value);
    return null;
  }

  #keep(value: unknown): void {
    if (isNothing(value) || isEmpty(value)) return;
    this.numbersAsText = true;
    this.#extra.set(placeText(this.#path), value);
  }
}

const NUMERIC = /^\s*[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?\s*$/;

/** The name under which the value of a field is given. */
function sourceOf(field: ObjectField, name: string, given: Fields): string {
  const others = field.otherNames?.[name];
  if (others === undefined) return name;
  return [name, ...others].find((other) => pythonText(given[other]).trim() !== '') ?? name;
}

const isNothing = (value: unknown): value is null | undefined | '' =>
  value === null || value === undefined || value === '';

const isEmpty = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && Object.keys(value).length === 0;

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Float);
}

/** Nothing is an empty list, a single value a list of one. */
function asList(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value;
  return typeof value === 'string' ? (value.trim() === '' ? [] : [value]) : isNothing(value) ? [] : [value];
}

function parsedFields(text: string): Fields | null {
  try {
    // Numbers stay as they are written: `1.0`, and those that are too long for us.
    const value: unknown = parsePythonNumbers(text);
    return isFields(value) ? value : null;
  } catch {
    return null; // A text that somebody else called `extra`: kept as it is.
  }
}

/** `messages[0].weight`; what stands in place of a whole trace has no place in it. */
function placeText(path: readonly (string | number)[]): string {
  if (path.length === 0) return 'value';
  return path
    .map((step, index) => (typeof step === 'number' ? `[${step}]` : index === 0 ? step : `.${step}`))
    .join('');
}
