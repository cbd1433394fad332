/**
 * Finds what must not be seen in a configuration (I8): its `Secret`s, and what looks like one in free
 * mappings, arguments and addresses. One walk, so that what is shown, what is stored and what another
 * node is told that it lacks are always about the same places.
 */
import { Secret } from './secret.ts';

export const MASK = '***';

/** A place in the configuration: keys, and positions in lists. */
export type ConfigPlace = readonly (string | number)[];

const SECRET_NAME =
  /(?:^|[-_.])(?:api[-_]?keys?|key|token|secrets?|passwords?|passwd|authorization|auth|credentials?|cookie)$/i;
/** Whether a variable or field of this name holds a secret. */
export const isSecretName = (name: string): boolean => SECRET_NAME.test(name);
/** Who puts headers into a free mapping does it for a key more often than not. */
const HEADERS = /(?:^|[-_.])headers$/i;
/** What vLLM's clients send where no key is needed. */
const NO_KEY = 'EMPTY';

export interface Masked {
  /** Plain JSON values; every secret replaced by its masked form. */
  readonly value: unknown;
  /** Where something was replaced. */
  readonly places: readonly ConfigPlace[];
}

export function masked(value: unknown): Masked {
  const places: ConfigPlace[] = [];
  return { value: walk(value, [], (place) => places.push(place)), places };
}

type Note = (place: ConfigPlace) => void;

function walk(value: unknown, place: ConfigPlace, note: Note): unknown {
  if (value instanceof Secret) {
    if (value.reveal() !== NO_KEY) note(place);
    return value.toJSON();
  }
  if (typeof value === 'string') return noted(value, maskedText(value), place, note);
  if (Array.isArray(value)) return value.map((item, index) => walkItem(value, item, [...place, index], note));
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [name, walkField(name, inner, [...place, name], note)]),
  );
}

function walkField(name: string, value: unknown, place: ConfigPlace, note: Note): unknown {
  if (value instanceof Secret) return walk(value, place, note);
  const words = name.replace(/([a-z\d])([A-Z])/g, '$1_$2');
  return SECRET_NAME.test(words) || (HEADERS.test(words) && value !== null && typeof value === 'object')
    ? hidden(value, place, note)
    : walk(value, place, note);
}

/** Every text below is a secret. */
function hidden(value: unknown, place: ConfigPlace, note: Note): unknown {
  if (typeof value === 'string') return value === '' ? value : noted(value, MASK, place, note);
  if (Array.isArray(value)) return value.map((item, index) => hidden(item, [...place, index], note));
  if (value === null || typeof value !== 'object' || value instanceof Secret) return walk(value, place, note);
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [name, hidden(inner, [...place, name], note)]),
  );
}

/** In arguments a secret follows its option, behind a blank or `=` or as the next argument. */
function walkItem(list: readonly unknown[], item: unknown, place: ConfigPlace, note: Note): unknown {
  if (typeof item !== 'string') return walk(item, place, note);
  if (isSecretOption(list[Number(place.at(-1)) - 1])) return noted(item, MASK, place, note);
  const [, option, between] = /^(--[^=\s]+)([=\s])./s.exec(item) ?? [];
  return option !== undefined && SECRET_NAME.test(option)
    ? noted(item, `${option}${between}${MASK}`, place, note)
    : walk(item, place, note);
}

const isSecretOption = (item: unknown): boolean =>
  typeof item === 'string' && /^--[^=\s]+$/.test(item) && SECRET_NAME.test(item);

function noted(value: string, shown: string, place: ConfigPlace, note: Note): string {
  if (shown !== value) note(place);
  return shown;
}

/** The user information of addresses, the secrets in the query of one, and what `Authorization` carries. */
export function maskedText(text: string): string {
  const shown = text.replace(/\/\/[^/\s@]*@/g, `//${MASK}@`).replace(/^(bearer|basic)\s+\S+$/i, `$1 ${MASK}`);
  return /^[a-z][a-z\d+.-]*:\/\/\S+$/i.test(shown)
    ? shown.replace(/([?&][^=&]*(?:pass|token|secret|key|sig)[^=&]*=)[^&#]+/gi, `$1${MASK}`)
    : shown;
}

/** A command line for others to see. */
export const maskedCommand = (command: string): string =>
  (masked(command.split(' ')).value as string[]).join(' ');
