/**
 * Asks somebody who may be away: restarting, moving to another node, too busy, or cut off. Each try looks
 * up who plays the part now, and is short, because a message may be lost without a word.
 */
import { delay } from '../kernel/clock.ts';
import { DlgforgeError, messageOf } from '../kernel/errors.ts';
import type { ActorContext, ActorRef, ReplyTo } from './runtime/types.ts';

export interface Question<M, R> {
  /** Whoever plays the part at the moment; null while nobody does. */
  readonly to: () => ActorRef<M> | null;
  readonly message: (replyTo: ReplyTo<R>) => NoInfer<M>;
  /** Checks an answer, which may have come over the wire; throwing asks again. */
  readonly decode: (reply: unknown) => R;
  /** An answer that only says to ask again. @default none is */
  readonly isNotYet?: (reply: R) => boolean;
  /** For people: who is asked. */
  readonly whom: string;
  readonly tryMs: number;
  readonly patienceMs: number;
}

const PAUSE_MIN_MS = 100;
const PAUSE_MAX_MS = 2_000;

/**
 * @throws DlgforgeError `timeout` when the patience has passed without an answer, `cancelled` when the
 *   asking behaviour has ended.
 */
export async function askPatiently<M, R>(
  context: Pick<ActorContext<never>, 'ask' | 'clock' | 'signal'>,
  question: Question<M, R>,
): Promise<R> {
  const { clock, signal } = context;
  const endsAtMs = clock.now() + question.patienceMs;
  let why = 'nobody plays this part at the moment';
  for (let pauseMs = PAUSE_MIN_MS; ; pauseMs = Math.min(PAUSE_MAX_MS, pauseMs * 2)) {
    const to = question.to();
    if (to !== null) {
      const tried = await tryOnce(context, to, question);
      if (tried.type === 'answered') return tried.reply;
      why = tried.why;
    }
    if (clock.now() + pauseMs >= endsAtMs) throw unanswered(question, why);
    if (!signal.aborted) await delay(clock, pauseMs, signal);
    if (signal.aborted) throw new DlgforgeError('cancelled', `nobody waits for ${question.whom} any more`);
  }
}

type Tried<R> =
  | { readonly type: 'answered'; readonly reply: R }
  | { readonly type: 'not_yet'; readonly why: string };

async function tryOnce<M, R>(
  context: Pick<ActorContext<never>, 'ask'>,
  to: ActorRef<M>,
  { message, decode, isNotYet, tryMs }: Question<M, R>,
): Promise<Tried<R>> {
  try {
    const reply = decode(await context.ask<M, R>(to, message, { timeoutMs: tryMs }));
    return isNotYet?.(reply) === true
      ? { type: 'not_yet', why: 'it has too much to do' }
      : { type: 'answered', reply };
  } catch (error) {
    // Whatever it is, it may be otherwise in a moment, or on another node.
    return { type: 'not_yet', why: messageOf(error) };
  }
}

function unanswered(
  { whom, patienceMs }: { readonly whom: string; readonly patienceMs: number },
  why: string,
): DlgforgeError {
  const text = `${whom} has not answered for ${Math.round(patienceMs / 60_000)} min: ${why}`;
  return new DlgforgeError(
    'timeout',
    `${text}. See \`dlgforge cluster status\`, then run the same command again.`,
  );
}
