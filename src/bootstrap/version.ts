/** What this build is, and which protocol it speaks with other nodes. */
import { readFileSync } from 'node:fs';
import { ENVELOPE_VERSION } from '../actors/runtime/envelopes.ts';

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  readonly version: string;
};

export const BUILD = version;
/** Nodes one step apart understand each other. */
export const PROTOCOL = ENVELOPE_VERSION;
