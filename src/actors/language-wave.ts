/**
 * One language of a run: puts its admitted conversations into the work queue, follows them until they
 * are settled, and tells people how the language gets on. Its durable state is the commit table.
 *
 * Owns: the admitted, unsettled conversations of its language.
 */
import { unreachable } from '../kernel/errors.ts';
import type { WorkQueue } from '../ports/work-queue.ts';
import type { SettledConversation, WaveMessage } from './messages.ts';
import type { ActorDefinition } from './runtime/types.ts';
import type { LanguageProgress } from '../dialogue/schedule.ts';

export interface WaveOptions {
  readonly runId: string;
  readonly languageIndex: number;
  readonly language: string;
  readonly target: number;
  readonly queue: WorkQueue;
}

export function languageWave(options: WaveOptions): ActorDefinition<WaveMessage> {
  return {
    kind: 'language-wave',
    mailbox: { capacity: 65_536 },
    restart: { onGivenUp: 'escalate' },
    start(context) {
      const { runId, languageIndex, language } = options;
      const open = new Set<number>();
      let turns = 0;
      const say = (level: 'info' | 'warn', text: string): void => context.logger.log(level, 'run', text);

      const settled = (conversation: SettledConversation, progress: LanguageProgress): void => {
        open.delete(conversation.rank.index);
        if (conversation.outcome === 'committed') {
          say(
            'info',
            `[samples] ${language}: ${conversation.conversationId} committed, ${progress.committed}/${progress.target}`,
          );
        } else {
          say(
            'warn',
            `[samples] ${language}: ${conversation.conversationId} dropped: ${conversation.reason} (${conversation.detail})`,
          );
        }
        if (progress.ended === 'reached')
          say(
            'info',
            `[language] ${language}: done, ${progress.committed}/${progress.target}, dropped ${progress.dropped}`,
          );
        if (progress.ended === 'failed')
          say(
            'warn',
            `[language] ${language}: given up after ${progress.consecutiveDrops} drops in a row at ${progress.committed}/${progress.target}`,
          );
      };

      return {
        receive(message) {
          switch (message.type) {
            case 'OpenConversation':
              open.add(message.rank.index);
              return options.queue.publish({
                runId,
                languageIndex,
                index: message.rank.index,
                priority: message.priority,
              });
            case 'TurnAccepted':
              turns += 1;
              return;
            case 'ConversationSettled':
              return settled(message.settled, message.progress);
            case 'GetWaveView':
              return context.reply(message.replyTo, { languageIndex, open: open.size, turns });
            default:
              return unreachable(message);
          }
        },
      };
    },
  };
}
