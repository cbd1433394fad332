import { type Heard, runEvents, wantRun } from '../../bootstrap/cluster/run-control.ts';
import type { StoreFlags } from '../../bootstrap/cluster/runs-store.ts';
import { processEnvironment } from '../../config/environment.ts';
import { EXIT } from '../exit-codes.ts';
import { eventJson, eventLine } from '../run-event-lines.ts';
import { print, say } from '../terminal.ts';

type Said = (id: string, flags: StoreFlags) => Promise<number>;
type Texts = Readonly<Record<Heard, (id: string) => string>>;

const saying =
  (wanted: 'run' | 'pause' | 'cancel', texts: Texts): Said =>
  async (id, flags) => {
    say(texts[await wantRun(flags, processEnvironment(), id, wanted)](id));
    return EXIT.done;
  };

const over = (id: string): string => `Run ${id} is cancelled; no node was working on it.`;

export const runsPause = saying('pause', {
  led: (id) =>
    `Run ${id} pauses: what is in flight is finished and kept, nothing new is paid for. Go on with: dlgforge runs resume ${id}`,
  waits: (id) => `No node leads the run ${id} now. It stays paused when one does: dlgforge runs resume ${id}`,
  ended: over,
});
export const runsResume = saying('run', {
  led: (id) => `Run ${id} goes on.`,
  waits: (id) => `Run ${id} goes on when a node is there to lead it: dlgforge cluster start`,
  ended: over,
});
export const runsCancel = saying('cancel', {
  led: (id) => `Run ${id} ends as soon as what is in flight is kept.`,
  waits: (id) => `Run ${id} ends as soon as a node leads it.`,
  ended: over,
});

interface LogsFlags extends StoreFlags {
  readonly follow?: boolean;
  readonly json?: boolean;
}

export async function runsLogs(id: string, flags: LogsFlags): Promise<number> {
  const over = new AbortController();
  process.once('SIGINT', () => over.abort());
  const events = runEvents(flags, processEnvironment(), {
    id,
    follow: flags.follow === true,
    signal: over.signal,
  });
  for await (const event of events) print(flags.json === true ? eventJson(event) : eventLine(event));
  return EXIT.done;
}
