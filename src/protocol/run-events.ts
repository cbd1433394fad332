/**
 * What happened to a run, as its coordinator writes it down: the journal that everybody follows who wants
 * to know how the run gets on. Each event stands in it once, in order, whoever led the run at the time.
 *
 * Stored names are never reused with another meaning. An event of a later release, which this one does not
 * know, is passed over: nodes one release apart work on one run.
 */
import { z } from 'zod';
import { DlgforgeError } from '../kernel/errors.ts';
import { type PersistenceId, persistenceId } from '../kernel/ids.ts';

/** The journal of a run's events; outside of `runPrefix`, whose journals hold conversations. */
export const runEventsId = (runId: string): PersistenceId =>
  persistenceId(`events/${encodeURIComponent(runId)}`);

/** Why a run cannot go on; the run is resumable whatever it says. */
export interface RunTrouble {
  readonly code: string;
  readonly message: string;
}

/** How a run ended; files and exit codes are others' business. */
export type RunEnd =
  | { readonly type: 'completed' }
  /** What was in flight is kept; somebody may go on with it. */
  | { readonly type: 'interrupted' }
  /** A person wants no more of it. */
  | { readonly type: 'cancelled' }
  | { readonly type: 'failed'; readonly trouble: RunTrouble };

export type RunEvent =
  /** Again whenever it moves or recovers. `fresh`: after a person's word, so that languages get their chances anew. */
  | {
      readonly type: 'CoordinatorStarted';
      readonly node: string;
      readonly epoch: number;
      readonly fresh: boolean;
    }
  | SettledEvent
  | {
      readonly type: 'LanguageEnded';
      readonly languageIndex: number;
      readonly language: string;
      readonly how: 'reached' | 'failed';
      readonly committed: number;
      readonly target: number;
      readonly dropped: number;
    }
  | { readonly type: 'WorkerJoined'; readonly worker: string; readonly lacks: readonly string[] }
  /** `conversations`: how many it had, which others go on with. */
  | { readonly type: 'WorkerLost'; readonly worker: string; readonly conversations: number }
  | { readonly type: 'RunPaused'; readonly reason: string }
  | { readonly type: 'RunResumed' }
  | { readonly type: 'RunEnded'; readonly end: RunEnd };

export interface SettledEvent {
  readonly type: 'ConversationSettled';
  readonly languageIndex: number;
  readonly language: string;
  readonly index: number;
  readonly conversationId: string;
  readonly outcome: 'committed' | 'dropped';
  /** Null for a committed one. */
  readonly reason: string | null;
  /** '' when it was found in the commit table after a crash, which does not keep it. */
  readonly detail: string;
  readonly turns: number;
  /** Of its language, this one included; conversations of an imported run count. */
  readonly committed: number;
  readonly target: number;
  readonly dropped: number;
  readonly commitSeq: number;
}

/** An event of a later release. */
export interface UnknownRunEvent {
  readonly type: 'Unknown';
  readonly name: string;
}

const text = z.string().max(2_000);
const count = z.int().min(0);
const runEnd = z.discriminatedUnion('type', [
  z.object({ type: z.literal('completed') }),
  z.object({ type: z.literal('interrupted') }),
  z.object({ type: z.literal('cancelled') }),
  z.object({ type: z.literal('failed'), trouble: z.object({ code: text, message: z.string() }) }),
]);

const SCHEMAS: Readonly<Record<RunEvent['type'], z.ZodType<RunEvent>>> = {
  CoordinatorStarted: z.object({
    type: z.literal('CoordinatorStarted'),
    node: text,
    epoch: count,
    fresh: z.boolean(),
  }),
  ConversationSettled: z.object({
    type: z.literal('ConversationSettled'),
    languageIndex: count,
    language: text,
    index: count,
    conversationId: text,
    outcome: z.enum(['committed', 'dropped']),
    reason: text.nullable(),
    detail: z.string(),
    turns: count,
    committed: count,
    target: count,
    dropped: count,
    commitSeq: count,
  }),
  LanguageEnded: z.object({
    type: z.literal('LanguageEnded'),
    languageIndex: count,
    language: text,
    how: z.enum(['reached', 'failed']),
    committed: count,
    target: count,
    dropped: count,
  }),
  WorkerJoined: z.object({ type: z.literal('WorkerJoined'), worker: text, lacks: z.array(text) }),
  WorkerLost: z.object({ type: z.literal('WorkerLost'), worker: text, conversations: count }),
  RunPaused: z.object({ type: z.literal('RunPaused'), reason: z.string() }),
  RunResumed: z.object({ type: z.literal('RunResumed') }),
  RunEnded: z.object({ type: z.literal('RunEnded'), end: runEnd }),
};

const isKnown = (name: string): name is RunEvent['type'] => Object.hasOwn(SCHEMAS, name);

/** @throws DlgforgeError `store` when it is no event of a run. */
export function decodeRunEvent(stored: unknown): RunEvent | UnknownRunEvent {
  const type = (stored as { readonly type?: unknown } | null)?.type;
  const name = typeof type === 'string' ? type : '';
  if (name !== '' && !isKnown(name)) return { type: 'Unknown', name };
  const parsed = isKnown(name) ? SCHEMAS[name].safeParse(stored) : null;
  if (parsed?.success === true) return parsed.data;
  throw new DlgforgeError(
    'store',
    `The run's events hold one that cannot be read (${name}: ${parsed?.error.message ?? 'no type'}). Update dlgforge on this machine, or restore the database from a backup.`,
  );
}
