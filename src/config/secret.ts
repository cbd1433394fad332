import { inspect } from 'node:util';

const MASK = '***';

/**
 * A value that must not be seen (I8). Everything that turns it into text, JSON or a log line gets
 * the masked form; only `reveal()` gives the value, and only the code that sends it calls that.
 */
export class Secret {
  readonly #value: string;
  readonly #masked: string;

  constructor(value: string, masked: string = MASK) {
    this.#value = value;
    this.#masked = masked;
  }

  /** A connection string: what is masked is the password, so that people still see host and database. */
  static connection(value: string): Secret {
    return new Secret(value, maskConnection(value));
  }

  reveal(): string {
    return this.#value;
  }

  toString(): string {
    return this.#masked;
  }

  toJSON(): string {
    return this.#masked;
  }

  [inspect.custom](): string {
    return `Secret(${this.#masked})`;
  }

  get [Symbol.toStringTag](): string {
    return 'Secret';
  }
}

/**
 * `scheme://user:password@host/name` (for NATS one or several, comma separated) or libpq's `key=value` words.
 * The user information ends at the last `@`, so that a password with `@` or `/` in it stays hidden;
 * a lone word before the `@` is hidden too, because NATS puts tokens there.
 */
function maskConnection(text: string): string {
  // Only NATS has lists of URLs: elsewhere what looks like the next one is part of a password.
  if (/^(?:nats|tls|wss?):\/\//i.test(text)) {
    return text
      .split(/,(?=(?:nats|tls|wss?):\/\/)/i)
      .map(maskUrl)
      .join(',');
  }
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(text)) return maskUrl(text);
  if (/^\s*[a-z_]+\s*=/i.test(text)) return maskWords(text);
  return MASK;
}

function maskUrl(url: string): string {
  const start = url.indexOf('://') + 3;
  const at = url.lastIndexOf('@');
  if (at < start) return maskQuery(url);
  const user = url.slice(start, at);
  const colon = user.indexOf(':');
  const shown = colon < 0 ? MASK : `${user.slice(0, colon)}:${MASK}`;
  return `${url.slice(0, start)}${shown}${maskQuery(url.slice(at))}`;
}

function maskQuery(text: string): string {
  return text.replace(/([?&][^=&]*(?:pass|token|secret|key)[^=&]*=)[^&]*/gi, `$1${MASK}`);
}

/** Only the words known to be harmless are shown; the rest, wherever its quotes end, is not. */
function maskWords(text: string): string {
  const shown = [...text.matchAll(/(?:^|\s)(host|hostaddr|port|dbname|user)\s*=\s*([^\s'\\]+)(?=\s|$)/gi)];
  return [...shown.map(([, key, value]) => `${key}=${value}`), MASK].join(' ');
}
