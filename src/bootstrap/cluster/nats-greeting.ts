/** What a NATS server says first on every connection, before it asks for credentials. */
import { connect } from 'node:net';
import { z } from 'zod';

export interface NatsGreeting {
  /** New in every process. */
  readonly serverId: string;
  readonly version: string;
}

const info = z.object({ server_id: z.string(), version: z.string() });
const LENGTH_MAX = 64 * 1024;

/** Null when nothing answers there, or something that is no NATS server. */
export function greetingOf(host: string, port: number, timeoutMs: number): Promise<NatsGreeting | null> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    let text = '';
    const end = (greeting: NatsGreeting | null): void => {
      socket.destroy();
      resolve(greeting);
    };
    socket.setTimeout(timeoutMs, () => end(null));
    // Refused, reset, unreachable: nothing answers.
    socket.on('error', () => end(null));
    socket.on('close', () => end(null));
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
      if (text.includes('\r\n') || text.length > LENGTH_MAX) end(parse(text));
    });
  });
}

function parse(text: string): NatsGreeting | null {
  const json = /^INFO (\{.*\})\s*?\r\n/.exec(text)?.[1];
  if (json === undefined) return null;
  try {
    const { server_id: serverId, version } = info.parse(JSON.parse(json));
    return { serverId, version };
  } catch {
    // Another protocol that happens to begin alike.
    return null;
  }
}
