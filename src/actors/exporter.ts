/**
 * Keeps the output files up with the committed conversations (I6). A pass that fails costs nothing:
 * the next one starts where the files are.
 *
 * Owns: whether a pass is under way and whether another is wanted.
 */
import { messageOf } from '../kernel/errors.ts';
import type { ExporterMessage } from './messages.ts';
import type { ActorDefinition, ReplyTo } from './runtime/types.ts';

export interface ExporterOptions {
  /** Appends everything that is committed and not yet in the files. */
  readonly catchUp: () => Promise<void>;
  /** Pause between passes, so that many commits make one pass. */
  readonly pauseMs: number;
}

export function exporter(options: ExporterOptions): ActorDefinition<ExporterMessage> {
  return {
    kind: 'exporter',
    start(context) {
      let phase: 'idle' | 'pausing' | 'writing' = 'idle';
      let wanted = false;
      let cancelPause = (): void => undefined;
      let lastError: unknown = null;
      let waiting: ReplyTo<{ readonly error: string | null }>[] = [];

      const write = (): void => {
        cancelPause();
        phase = 'writing';
        wanted = false;
        context.pipe(
          options.catchUp(),
          () => ({ type: 'PassDone', error: null }),
          (error) => ({ type: 'PassDone', error: error ?? new Error('the files could not be written') }),
        );
      };

      const passDone = (error: unknown): void => {
        phase = 'idle';
        if (error !== null && messageOf(error) !== messageOf(lastError)) {
          context.logger.log('warn', 'export', `[export] ${messageOf(error)}`);
        }
        lastError = error;
        if (wanted) return waiting.length > 0 ? write() : pause();
        for (const replyTo of waiting)
          context.reply(replyTo, { error: error === null ? null : messageOf(error) });
        waiting = [];
      };

      const pause = (): void => {
        phase = 'pausing';
        cancelPause = context.after(options.pauseMs, { type: 'PauseOver' });
      };

      return {
        receive(message) {
          if (message.type === 'PassDone') return passDone(message.error);
          if (message.type === 'Flush') {
            waiting.push(message.replyTo);
            if (phase === 'writing') wanted = true;
            else write();
            return;
          }
          if (message.type === 'PauseOver') {
            if (phase === 'pausing') write();
          } else if (phase === 'writing') wanted = true;
          else if (phase === 'idle') pause();
        },
      };
    },
  };
}
