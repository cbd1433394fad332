/**
 * Three kinds of failure, never mixed: an expected outcome is a value; an operating fault is a
 * `DlgforgeError`, recognised by its code; our own mistake is an `InvariantError`, which only a
 * supervisor catches.
 */

export type ErrorCode =
  | 'usage' //          the command line is off (exit code 2)
  | 'config' //         the configuration is off
  | 'knowledge' //      the documents are off
  | 'credentials' //    a key is missing or refused
  | 'endpoint' //       a model endpoint cannot be used
  | 'model' //          a model keeps giving answers that cannot be used
  | 'retrieval' //      the index, an embedder or a reranker cannot be used
  | 'store' //          the database cannot be used
  | 'transport' //      the cluster's network (NATS) cannot be used
  | 'stale_epoch' //    another holder has taken over (I2); the loser stops
  | 'held' //           another live process drives this run
  | 'resume' //         the stored run and the given configuration do not fit together
  | 'run_failed' //     the run ended without reaching its target
  | 'output' //         the output folder cannot be written
  | 'hub' //          the Hugging Face Hub cannot be used
  | 'timeout' //        a deadline passed
  | 'cancelled' //      somebody asked for the end
  | 'overloaded' //     a bounded queue is full
  | 'receiver_gone' //  the actor that was asked has ended, or its node is lost
  | 'refused'; //       the receiver does not accept this message: the nodes' versions differ

export interface DlgforgeErrorOptions {
  /** True when the same call may succeed later without anybody changing anything. */
  readonly retryable?: boolean;
  /** Facts for logs and `--verbose`; never secrets (I8). */
  readonly details?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
}

/** An operating fault. The message says what happened and what to do next. */
export class DlgforgeError extends Error {
  override readonly name = 'DlgforgeError';
  readonly code: ErrorCode;
  readonly retryable: boolean;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message: string, options: DlgforgeErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryable = options.retryable ?? false;
    this.details = options.details ?? {};
  }
}

/** Our own mistake: a condition that the code promises to hold did not. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError';
}

export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new InvariantError(`invariant broken: ${message}`);
}

/** Closes a `switch` over a union; the compiler complains when a case is missing. */
export function unreachable(value: never): never {
  throw new InvariantError(`unreachable case: ${JSON.stringify(value)}`);
}

export function isDlgforgeError(error: unknown, code?: ErrorCode): error is DlgforgeError {
  return error instanceof DlgforgeError && (code === undefined || error.code === code);
}

/** The text of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
