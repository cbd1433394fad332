/** Where a NATS server is and how to log in, from a URL as people write it. What is shown never has a secret (I8). */
import { DlgforgeError } from '../../kernel/errors.ts';

export interface NatsAddress {
  /** A name or an IP address. */
  readonly host: string;
  /** `host:port`, IPv6 in brackets. */
  readonly server: string;
  /** For messages: `nats://host:port`. */
  readonly shown: string;
  readonly isTls: boolean;
  readonly token: string | null;
  readonly user: string | null;
  readonly password: string | null;
}

const DEFAULT_PORT = 4222;
const SCHEMES: ReadonlySet<string> = new Set(['nats:', 'tls:']);

/**
 * `nats://host`, `nats://token@host:port`, `nats://user:password@host:port`, `tls://…` or `host:port`; one or
 * several in each text, comma separated.
 * @throws DlgforgeError `config`, without the text in it: it may hold a secret.
 */
export function readAddresses(urls: readonly string[]): NatsAddress[] {
  const texts = urls.flatMap((text) => text.split(',')).map((text) => text.trim());
  const named = texts.filter((text) => text !== '');
  if (named.length === 0)
    throw new DlgforgeError('config', 'no NATS URL was given; name one, such as nats://host:4222');
  return named.map(readAddress);
}

function readAddress(text: string, index: number): NatsAddress {
  const url = URL.parse(text.includes('://') ? text : `nats://${text}`);
  if (url === null || !SCHEMES.has(url.protocol) || url.hostname === '') {
    const which = `NATS URL number ${index + 1} cannot be read`;
    const advice =
      'write nats://host:4222, nats://token@host:4222 or tls://host:4222, with %-codes for special characters';
    throw new DlgforgeError('config', `${which}; ${advice}`);
  }
  const server = `${url.hostname}:${url.port === '' ? DEFAULT_PORT : url.port}`;
  const user = decoded(url.username);
  const password = decoded(url.password);
  return {
    host: url.hostname.replace(/^\[|\]$/g, ''),
    server,
    shown: `${url.protocol}//${server}`,
    isTls: url.protocol === 'tls:',
    // A lone word before the `@` is a token.
    token: password === null ? user : null,
    user: password === null ? null : user,
    password,
  };
}

function decoded(part: string): string | null {
  if (part === '') return null;
  try {
    return decodeURIComponent(part);
  } catch {
    // A `%` that is no code stands for itself.
    return part;
  }
}
