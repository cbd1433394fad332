import { openStoreOfRuns, type StoreFlags } from '../../bootstrap/cluster/runs-store.ts';
import { statsOf } from '../../bootstrap/stats.ts';
import { processEnvironment } from '../../config/environment.ts';
import { EXIT } from '../exit-codes.ts';
import { statsLines } from '../stats-lines.ts';
import { count } from '../format.ts';
import { print, say } from '../terminal.ts';

interface Flags extends StoreFlags {
  readonly run?: string;
  readonly json?: boolean;
}

export async function stats(config: string | undefined, flags: Flags): Promise<number> {
  const named = config === undefined ? flags : { ...flags, config };
  const opened = await openStoreOfRuns(named, processEnvironment(), say);
  try {
    const report = await statsOf(opened, flags.run ?? null);
    if (report.badLines > 0) say(`${count(report.badLines)} lines are no conversations and were left out`);
    if (flags.json === true) {
      print(JSON.stringify({ run_id: report.runId, place: report.place, ...report.stats }, null, 2));
    } else print(statsLines(report).join('\n'));
    return EXIT.done;
  } finally {
    await opened.close();
  }
}
