import { runEvents, wantRun } from '../../bootstrap/cluster/run-control.ts';
import type { StoreFlags } from '../../bootstrap/cluster/runs-store.ts';
import { processEnvironment } from '../../config/environment.ts';
import { EXIT } from '../exit-codes.ts';
import { eventJson, eventLine } from '../run-event-lines.ts';
import { print, say } from '../terminal.ts';

type Said = (id: string, flags: StoreFlags) => Promise<number>;

const saying =
  (wanted: 'run' | 'pause' | 'cancel', done: (id: string) => string): Said =>
  async (id, flags) => {
    await wantRun(flags, processEnvironment(), id, wanted);
    say(done(id));
    return EXIT.done;
  };

export const runsPause = saying(
  'pause',
  (id) =>
    `Run ${id} pauses: what is in flight is finished and kept, nothing new is paid for. Go on with: dlgforge runs resume ${id}`,
);
export const runsResume = saying('run', (id) => `Run ${id} goes on.`);
export const runsCancel = saying('cancel', (id) => `Run ${id} ends as soon as what is in flight is kept.`);

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
