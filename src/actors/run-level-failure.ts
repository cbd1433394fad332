/** Failures that are not one conversation's: every other one would meet them too. */
import { type DlgforgeError, type ErrorCode, isDlgforgeError } from '../kernel/errors.ts';

/** Of what all conversations use, or of the actors that serve them. */
const CODES: ReadonlySet<string> = new Set<ErrorCode>([
  'store',
  'endpoint',
  'credentials',
  'retrieval',
  'knowledge',
  'config',
  'held',
  'output',
  'timeout',
  'overloaded',
  'receiver_gone',
]);

export const isRunLevel = (error: unknown): error is DlgforgeError =>
  isDlgforgeError(error) && CODES.has(error.code);
