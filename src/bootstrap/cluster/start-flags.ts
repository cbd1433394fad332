/** The flags of `cluster start`. */
import { z } from 'zod';
import { DlgforgeError } from '../../kernel/errors.ts';
import type { StoreLimits } from './join.ts';

export interface StartFlags {
  readonly head?: boolean;
  readonly address?: string;
  readonly token?: string;
  readonly nats?: string;
  readonly postgres?: string;
  readonly host?: string;
  readonly port?: number;
  readonly namespace?: string;
  readonly workers?: number;
  readonly gpus?: number;
  readonly labels?: readonly string[];
  readonly metricsPort?: number;
  readonly stateDir?: string;
  readonly name?: string;
  /** Ends with the runs that it was started for. */
  readonly untilIdle?: boolean;
  /** Folder of the embedded database of a head, instead of its own. */
  readonly databaseDir?: string;
  /** A configuration whose own keys count on this node. */
  readonly keysFrom?: string;
  /** Folder of the address file of a head, instead of the user's. */
  readonly home?: string;
  /** Connections and time limits of the store, as JSON. */
  readonly storeLimits?: string;
}

const LABEL = /^[^=\s]+=[^=\s]*$/;

const storeLimits = z.object({
  poolMin: z.number().int().nonnegative(),
  poolMax: z.number().int().positive(),
  statementTimeoutMs: z.number().int().nonnegative(),
});

/** @throws DlgforgeError `usage`. */
export function limitsOf(text: string | undefined): Partial<StoreLimits> {
  if (text === undefined) return {};
  try {
    return storeLimits.parse(JSON.parse(text));
  } catch (cause) {
    throw new DlgforgeError('usage', '--store-limits is for the head that a run starts; leave it out.', {
      cause,
    });
  }
}

/** @throws DlgforgeError `usage`. */
export function labelsOf(texts: readonly string[]): Record<string, string> {
  for (const text of texts) {
    if (!LABEL.test(text))
      throw new DlgforgeError(
        'usage',
        `--labels ${text}: write labels as key=value, for example --labels zone=a.`,
      );
  }
  return Object.fromEntries(
    texts.map((text) => [text.slice(0, text.indexOf('=')), text.slice(text.indexOf('=') + 1)]),
  );
}
