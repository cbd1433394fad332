/**
 * One language of a run: puts its admitted conversations into the work queue, again when whoever had one
 * is gone, follows them until they are settled, and tells people how the language gets on. Its durable
 * state is the commit table.
 *
 * Owns: the admitted, unsettled conversations of its language.
 */
import { unreachable } from '../kernel/errors.ts';
import type { WorkItem, WorkQueue } from '../ports/work-queue.ts';
import { decodeWaveMessage } from './decode-messages.ts';
import type { SettledConversation, WaveMessage } from './messages.ts';
import type { ActorDefinition } from './runtime/types.ts';
import type { LanguageProgress, Rank } from '../dialogue/schedule.ts';

export interface WaveOptions {
  readonly runId: string;
  readonly languageIndex: number;
  readonly language: string;
  /** Of the run. */
  readonly languageCount: number;
  readonly target: number;
  readonly queue: WorkQueue;
}

export function languageWave(options: WaveOptions): ActorDefinition<WaveMessage> {
  return {
    kind: 'language-wave',
    decode: decodeWaveMessage,
    mailbox: { capacity: 65_536 },
    restart: { onGivenUp: 'escalate' },
    start(context) {
      const { runId, languageIndex, language } = options;
      const open = new Set<number>();
      let turns = 0;
      const say = (level: 'info' | 'warn', text: string): void => context.logger.log(level, 'run', text);

      /** Ranks are served in their order, whoever leads the run. */
      const itemOf = ({ index }: Rank): WorkItem => ({
        runId,
        languageIndex,
        index,
        priority: index * options.languageCount + languageIndex,
      });

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
              if (!message.isHeld) options.queue.publish(itemOf(message.rank));
              return;
            case 'RepublishConversation':
              open.add(message.rank.index);
              return options.queue.republish(itemOf(message.rank));
            case 'TurnAccepted':
              turns += 1;
              return;
            case 'ConversationSettled':
              // Whoever had it may have died before it could say that it is done.
              if (!message.isHeld) options.queue.withdraw(itemOf(message.settled.rank));
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
