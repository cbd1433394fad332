import { openStoreOfRuns, type StoreFlags } from '../../bootstrap/cluster/runs-store.ts';
import { replayConversation } from '../../bootstrap/replay.ts';
import { processEnvironment } from '../../config/environment.ts';
import { EXIT } from '../exit-codes.ts';
import { replayLines } from '../replay-lines.ts';
import { print, say } from '../terminal.ts';

interface Flags extends StoreFlags {
  readonly turn?: number;
  readonly json?: boolean;
}

export async function replay(id: string, config: string | undefined, flags: Flags): Promise<number> {
  const named = config === undefined ? flags : { ...flags, config };
  const opened = await openStoreOfRuns(named, processEnvironment(), say);
  try {
    const replayed = await replayConversation(opened, id, flags.turn ?? null);
    print(flags.json === true ? JSON.stringify(replayed, null, 2) : replayLines(replayed).join('\n'));
    return EXIT.done;
  } finally {
    await opened.close();
  }
}
