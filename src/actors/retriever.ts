/**
 * Serves passages to the conversations of a node, a few look-ups at a time.
 *
 * Owns: look-ups that wait. Bounded (I9): one more than `waitingMax` is answered as failed at once.
 */
import { messageOf } from '../kernel/errors.ts';
import type { Retriever } from '../ports/retriever.ts';
import { decodeRetrieverMessage } from './decode-messages.ts';
import type { RetrieverMessage, SearchReply } from './messages.ts';
import type { ActorDefinition } from './runtime/types.ts';

export interface RetrieverOptions {
  readonly retriever: Retriever;
  /** Look-ups under way at once; the index has threads of its own. */
  readonly parallel: number;
  readonly waitingMax: number;
}

type LookUp = Exclude<RetrieverMessage, { type: 'LookUpDone' }>;

export function retriever(options: RetrieverOptions): ActorDefinition<RetrieverMessage> {
  return {
    kind: 'retriever',
    decode: decodeRetrieverMessage,
    mailbox: { capacity: options.waitingMax * 2 },
    start(context) {
      const waiting: LookUp[] = [];
      let underWay = 0;

      const run = async (lookUp: LookUp): Promise<SearchReply> => ({
        type: 'found',
        passages:
          lookUp.type === 'Search'
            ? await options.retriever.search(lookUp.query, lookUp.k, context.signal)
            : await options.retriever.get(lookUp.ids),
      });

      const next = (): void => {
        while (underWay < options.parallel) {
          const lookUp = waiting.shift();
          if (lookUp === undefined) return;
          underWay += 1;
          const { replyTo } = lookUp;
          context.pipe(
            run(lookUp),
            (reply) => ({ type: 'LookUpDone', replyTo, reply }),
            (error) => ({
              type: 'LookUpDone',
              replyTo,
              reply: { type: 'failed', message: messageOf(error) },
            }),
          );
        }
      };

      return {
        receive(message) {
          if (message.type === 'LookUpDone') {
            underWay -= 1;
            context.reply(message.replyTo, message.reply);
          } else if (waiting.length >= options.waitingMax) {
            context.reply(message.replyTo, { type: 'busy' });
          } else {
            waiting.push(message);
          }
          next();
        },
      };
    },
  };
}
