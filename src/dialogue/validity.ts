/**
 * When a generated conversation may be committed (ARCHITECTURE.md, "Commit in rank order"). A turn is valid when (a) each of
 * its rejected attempts asked a question that is committed by a lower rank or asked by an earlier turn
 * of the same conversation, and (b) its accepted question is neither.
 */

export interface QuestionedTurn {
  readonly turn: number;
  /** Keys in the order of the attempts. */
  readonly attempts: readonly string[];
  /** True when the last attempt was accepted; false for the turn in which a conversation was dropped. */
  readonly accepted: boolean;
}

export type Validity =
  | { readonly type: 'valid' }
  /** The first guess that was wrong, and what it should have been. */
  | {
      readonly type: 'wrong_guess';
      readonly turn: number;
      readonly attempt: number;
      readonly verdict: 'accept' | 'reject';
    };

/**
 * @param committed tells whether a key is committed by a lower rank or an earlier run; asked when
 * every lower rank is settled.
 */
export function validate(turns: readonly QuestionedTurn[], committed: (key: string) => boolean): Validity {
  const own = new Set<string>();
  for (const { turn, attempts, accepted } of turns) {
    for (const [attempt, key] of attempts.entries()) {
      const isTaken = own.has(key) || committed(key);
      const wasAccepted = accepted && attempt === attempts.length - 1;
      if (isTaken === wasAccepted)
        return { type: 'wrong_guess', turn, attempt, verdict: isTaken ? 'reject' : 'accept' };
      if (wasAccepted) own.add(key);
    }
  }
  return { type: 'valid' };
}

/** Every key that a conversation's validity depends on. */
export function keysOf(turns: readonly QuestionedTurn[]): string[] {
  return [...new Set(turns.flatMap((turn) => turn.attempts))];
}
