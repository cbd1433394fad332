/** What a sender is told when its message is not taken. */
import { DlgforgeError, unreachable } from '../../kernel/errors.ts';
import type { ActorRef, DeadLetterReason } from './types.ts';

export function undeliverable(to: ActorRef<never>, reason: DeadLetterReason): DlgforgeError {
  const name = `${to.node}/${to.path}`;
  const retryable = true;
  switch (reason) {
    case 'overloaded':
      return new DlgforgeError('overloaded', `the mailbox of ${name} is full; ask again later`, {
        retryable,
      });
    case 'refused':
    case 'not_encodable':
      return new DlgforgeError(
        'refused',
        `${name} does not accept the message; run one version on all nodes`,
      );
    case 'unreachable':
      return new DlgforgeError('receiver_gone', `${name} cannot be reached: this node has no transport`);
    case 'no_such_actor':
    case 'old_incarnation':
    case 'stopped':
      return new DlgforgeError('receiver_gone', `${name} has ended (${reason}); ask its successor`, {
        retryable,
      });
    default:
      return unreachable(reason);
  }
}

export function stoppedError(node: string): DlgforgeError {
  return new DlgforgeError('cancelled', `the actor system of node ${node} has been stopped`);
}

export function tooManyAsks(node: string): DlgforgeError {
  const text = `too many asks of node ${node} are waiting for an answer; ask fewer at a time`;
  return new DlgforgeError('overloaded', text, { retryable: true });
}
