import { DlgforgeError, messageOf } from '../kernel/errors.ts';

const HINTS: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full: free some space',
  EDQUOT: 'the disk quota is used up: free some space',
  EACCES: 'permission was denied: give this user write access',
  EPERM: 'permission was denied: give this user write access',
  EROFS: 'the file system is read-only: make it writable',
  ENOTDIR: 'a part of this path is a file: choose another folder (saving.output_dir)',
  EEXIST: 'there is a file of this name: choose another folder (saving.output_dir)',
  ENOENT: 'the folder is gone: something removed it while dlgforge was running',
};

/**
 * Turns a failed file operation into an operating fault that says what to do. Nothing is ever lost with
 * it: the store has every committed conversation, the files are only a view of it (I6).
 */
export function outputError(path: string, cause: unknown): DlgforgeError {
  if (cause instanceof DlgforgeError) return cause;
  const code = codeOf(cause);
  const reason = (code !== null && HINTS[code]) || messageOf(cause);
  return new DlgforgeError(
    'output',
    `cannot write ${path}: ${reason}. Nothing is lost, every committed conversation is in the store; ` +
      'put this right, then `dlgforge export <config>` completes the files.',
    { cause, details: { path, code, reason } },
  );
}

/** The same about a dataset that people load: what stands there stays until the new one is whole, nothing completes it. */
export function exportError(error: unknown): unknown {
  if (!(error instanceof DlgforgeError) || typeof error.details['reason'] !== 'string') return error;
  const { path, reason } = error.details;
  return new DlgforgeError(
    'output',
    `cannot write ${String(path)}: ${reason}. The export that was there, if any, is as it was; put this right and run the same command again.`,
    { cause: error.cause, details: error.details },
  );
}

export function codeOf(error: unknown): string | null {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  return code ?? null;
}

const isFileError = (error: unknown): boolean => error instanceof Error && 'syscall' in error;

/** Runs a file operation; when the operating system refuses it, the error is an `output` error that names `path`. */
export async function naming<T>(path: string, operation: () => Promise<T>): Promise<T> {
  try {
    return await operation();
  } catch (error) {
    throw isFileError(error) ? outputError(path, error) : error;
  }
}

/**
 * Waits for all of them and throws the first failure in order. With Promise.all the others would go on
 * writing after the caller has heard of the failure and started to repair.
 */
export async function settleAll(work: readonly Promise<unknown>[]): Promise<void> {
  for (const result of await Promise.allSettled(work)) if (result.status === 'rejected') throw result.reason;
}
