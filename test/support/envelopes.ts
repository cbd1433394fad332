import type { Envelope } from '../../src/ports/transport.ts';

/** For tests that look at what carries an envelope and not at what is in it. */
export const tell = (from: string, body: unknown): Envelope => ({
  version: 1,
  from,
  kind: 'tell',
  path: 'x',
  incarnation: 1,
  body,
});
