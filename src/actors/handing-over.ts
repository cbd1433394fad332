/**
 * How a conversation that is ready reaches the committer, whoever that is at the moment: it hands over once,
 * and then reminds until it is settled or sent back. Owns the reminder.
 */
import type { InputsBase } from '../dialogue/conversation-record.ts';
import type { ConversationState } from '../dialogue/conversation-state.ts';
import type { DialogueSettings } from '../dialogue/settings.ts';
import { isDlgforgeError, messageOf } from '../kernel/errors.ts';
import type { RunDirectory } from './directory.ts';
import { handOverOf } from './hand-over.ts';
import type { CommitterMessage, ConversationMessage, WorkerMessage } from './messages.ts';
import type { ActorContext, ActorRef } from './runtime/types.ts';

/** Whoever was handed over to may have been restarted since, and forgotten it. */
const REMIND_MS = 10_000;

export interface HandingOverOptions {
  readonly context: ActorContext<ConversationMessage>;
  readonly directory: RunDirectory;
  readonly worker: ActorRef<WorkerMessage>;
  readonly conversationId: string;
  readonly state: () => ConversationState;
  readonly settings: DialogueSettings;
  readonly inputs: InputsBase;
}

export interface HandingOver {
  handOver(): void;
  /** Says again that it is ready; at a step that is over it does nothing. Null: whatever the step. */
  remind(step: number | null): void;
  /** What became of a hand-over. */
  answered(error: unknown): void;
}

export function createHandingOver(options: HandingOverOptions): HandingOver {
  const { context, directory, worker, conversationId, settings, inputs } = options;
  let cancelReminder = (): void => undefined;

  const remindLater = (): void => {
    cancelReminder();
    cancelReminder = context.after(REMIND_MS, { type: 'RemindCommitter', step: options.state().step });
  };

  return {
    handOver() {
      const committer = directory.committer();
      if (committer !== null) {
        const said = handOverOf(options.state(), context.self, settings, inputs);
        context.pipe(
          context.ask<CommitterMessage, 'taken'>(committer, (replyTo) => ({ ...said, replyTo }), {
            timeoutMs: REMIND_MS,
          }),
          () => ({ type: 'HandOverAnswered', error: null }),
          (error) => ({ type: 'HandOverAnswered', error }),
        );
      }
      remindLater();
    },
    remind(step) {
      const { stage, step: now, key } = options.state();
      if (stage.type !== 'ready' || (step !== null && step !== now)) return;
      const committer = directory.committer();
      const rank = { languageIndex: key.languageIndex, index: key.index };
      if (committer !== null)
        context.tell(committer, { type: 'RemindOfHandOver', rank, conversation: context.self });
      remindLater();
    },
    // One that was lost is repeated; one that cannot travel or is not understood would keep all others waiting.
    answered(error) {
      if (error === null || (isDlgforgeError(error) && error.code !== 'refused')) return;
      const message = `The conversation ${conversationId} cannot be handed over: ${messageOf(error)}`;
      context.tell(worker, { type: 'ReportTrouble', trouble: { code: 'refused', message } });
    },
  };
}
