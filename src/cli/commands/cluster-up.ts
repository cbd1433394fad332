import { clusterUp } from '../../bootstrap/cluster/launch.ts';
import { launchFrom, reportLaunch } from '../launch-report.ts';

interface Flags {
  readonly json?: boolean;
}

export async function clusterUpCommand(file: string, flags: Flags): Promise<number> {
  const { plan, options } = launchFrom(file, flags);
  const results = await clusterUp(plan, options);
  return reportLaunch('up', plan, results, flags);
}
