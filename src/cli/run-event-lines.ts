/** The events of a run as lines for people. */
import type { NumberedRunEvent } from '../bootstrap/cluster/follow.ts';

export function eventLine({ atMs, event }: NumberedRunEvent): string {
  return `${new Date(atMs).toISOString().slice(0, 19)}Z  ${textOf(event)}`;
}

/** The same for programs; `seq` counts from 1, without gaps. */
export const eventJson = ({ seq, atMs, event }: NumberedRunEvent): string =>
  JSON.stringify({ seq, at: new Date(atMs).toISOString(), ...event });

function textOf(event: NumberedRunEvent['event']): string {
  switch (event.type) {
    case 'CoordinatorStarted':
      return `led by ${event.node} (epoch ${event.epoch})`;
    case 'ConversationSettled':
      return event.outcome === 'committed'
        ? `${event.language}: ${event.conversationId} committed, ${event.committed}/${event.target}`
        : `${event.language}: ${event.conversationId} dropped: ${event.reason}${event.detail === '' ? '' : ` (${event.detail})`}`;
    case 'LanguageEnded':
      return event.how === 'reached'
        ? `${event.language}: done, ${event.committed}/${event.target}, dropped ${event.dropped}`
        : `${event.language}: given up at ${event.committed}/${event.target}, dropped ${event.dropped}`;
    case 'WorkerJoined':
      return event.lacks.length === 0
        ? `worker ${event.worker} joined`
        : `worker ${event.worker} joined, but takes no conversations: it lacks ${event.lacks.join(', ')}`;
    case 'WorkerLost':
      return `worker ${event.worker} lost; its ${event.conversations} conversations go on elsewhere`;
    case 'RunPaused':
      return `paused: ${event.reason}`;
    case 'RunResumed':
      return 'goes on';
    case 'RunEnded':
      return event.end.type === 'failed' ? `stopped: ${event.end.trouble.message}` : event.end.type;
    case 'Unknown':
      return `${event.name} (an event of a later release)`;
  }
}
