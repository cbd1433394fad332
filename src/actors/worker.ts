/**
 * Runs the conversations that the work queue hands to it, each as an actor of its own. A conversation
 * that keeps failing is dropped with its reason and the run goes on (I11); a failure that is not the
 * conversation's own stops the run, resumably.
 *
 * Owns: the deliveries in hand. A delivery is acknowledged when its conversation is settled.
 */
import type { DialogueSettings } from '../dialogue/settings.ts';
import { conversationIdOf } from '../dialogue/settings.ts';
import { type ErrorCode, isDlgforgeError, messageOf, unreachable } from '../kernel/errors.ts';
import type { Delivery, WorkQueue } from '../ports/work-queue.ts';
import { conversation, type ConversationOptions } from './conversation.ts';
import type { ConversationMessage, HandOver, RunTrouble, WorkerMessage } from './messages.ts';
import type { ActorDefinition, ActorRef, ReplyTo, Terminated } from './runtime/types.ts';

export interface WorkerOptions extends ConversationOptions {
  readonly queue: WorkQueue;
  /** Conversations at once. */
  readonly capacity: number;
}

interface InHand {
  readonly delivery: Delivery;
  readonly actor: ActorRef<ConversationMessage>;
}

/** Failures that every other conversation would meet too: of what all of them use, or of the actors that serve them. */
const RUN_LEVEL_CODES: ReadonlySet<string> = new Set<ErrorCode>([
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

export function worker(options: WorkerOptions): ActorDefinition<WorkerMessage> {
  return {
    kind: 'worker',
    mailbox: { capacity: 65_536 },
    restart: { maxRestarts: 5, withinMs: 60_000, onGivenUp: 'escalate' },
    start(context) {
      const { settings } = options.dialogue;
      const inHand = new Map<string, InHand>();
      const undrained = new Set<string>();
      const left = new Set<number>();
      let awaitingDrain: ReplyTo<'drained'> | null = null;

      // A delivery has functions and is this process's own, so it comes in by a pipe and not as a message.
      const consumer = options.queue.consume(options.capacity, (delivery) =>
        context.pipe(
          Promise.resolve(delivery),
          (ready) => ({ type: 'TakeWork', delivery: ready }),
          neverFails,
        ),
      );

      const take = (delivery: Delivery): void => {
        const { languageIndex, index } = delivery.item;
        // It stays in hand: the run is being stopped, and the next one takes it up.
        if (awaitingDrain !== null) return;
        if (left.has(languageIndex)) return delivery.ack();
        const name = `${languageIndex}-${index}`;
        const actor = context.spawn(name, conversation(options, delivery.item, context.self, name));
        inHand.set(name, { delivery, actor });
        context.watch(actor, (terminated) => ({ type: 'ConversationEnded', name, terminated }));
      };

      const ended = (name: string, terminated: Terminated): void => {
        const held = inHand.get(name);
        inHand.delete(name);
        drained(name);
        if (held === undefined) return;
        if (terminated.reason === 'stopped') return held.delivery.ack();
        const { error } = terminated;
        if (isDlgforgeError(error, 'stale_epoch')) {
          context.logger.log(
            'warn',
            'run',
            `[worker] conversation ${name} went on elsewhere: ${messageOf(error)}`,
          );
          return held.delivery.release();
        }
        if (isDlgforgeError(error) && RUN_LEVEL_CODES.has(error.code)) {
          reportTrouble({ code: error.code, message: error.message });
          return;
        }
        held.delivery.ack();
        dropCrashed(held, settings, error);
      };

      const dropCrashed = ({ delivery }: InHand, dialogue: DialogueSettings, error: unknown): void => {
        const { languageIndex, index } = delivery.item;
        const handOver: HandOver = {
          type: 'HandOver',
          rank: { languageIndex, index },
          conversationId: conversationIdOf(dialogue, languageIndex, index),
          conversation: null,
          turns: [],
          payload: null,
          ledger: [],
          outcome: { type: 'dropped', reason: 'crashed', detail: messageOf(error) },
        };
        context.logger.log(
          'error',
          'run',
          `[worker] ${handOver.conversationId} failed again and again: ${messageOf(error)}`,
        );
        const { committer } = options.directory;
        if (committer !== null) context.tell(committer, handOver);
      };

      const reportTrouble = (trouble: RunTrouble): void => {
        const { coordinator } = options.directory;
        if (coordinator !== null) context.tell(coordinator, { type: 'TroubleReported', trouble });
      };

      const drain = (replyTo: ReplyTo<'drained'>): void => {
        awaitingDrain = replyTo;
        for (const [name, { actor }] of inHand) {
          undrained.add(name);
          context.tell(actor, { type: 'Drain' });
        }
        if (undrained.size === 0) context.reply(replyTo, 'drained');
      };

      const leaveLanguage = (languageIndex: number): void => {
        left.add(languageIndex);
        for (const { delivery, actor } of inHand.values()) {
          if (delivery.item.languageIndex === languageIndex) context.tell(actor, { type: 'Drain' });
        }
      };

      const conversationDrained = (name: string): void => {
        drained(name);
        const held = inHand.get(name);
        if (held !== undefined && left.has(held.delivery.item.languageIndex)) void context.stop(held.actor);
      };

      const drained = (name: string): void => {
        if (undrained.delete(name) && undrained.size === 0 && awaitingDrain !== null)
          context.reply(awaitingDrain, 'drained');
      };

      return {
        receive(message) {
          switch (message.type) {
            case 'TakeWork':
              return take(message.delivery);
            case 'ConversationEnded':
              return ended(message.name, message.terminated);
            case 'ConversationDrained':
              return conversationDrained(message.name);
            case 'ReportTrouble':
              return reportTrouble(message.trouble);
            case 'LeaveLanguage':
              return leaveLanguage(message.languageIndex);
            case 'DrainWorker':
              return drain(message.replyTo);
            default:
              return unreachable(message);
          }
        },
        stopped: () => consumer.close(),
      };
    },
  };
}

function neverFails(error: unknown): never {
  throw error;
}
