import { clusterDown } from '../../bootstrap/cluster/launch.ts';
import { launchFrom, reportLaunch } from '../launch-report.ts';

interface Flags {
  readonly json?: boolean;
}

export async function clusterDownCommand(file: string, flags: Flags): Promise<number> {
  const { plan, options } = launchFrom(file, flags);
  const results = await clusterDown(plan, options);
  return reportLaunch('down', plan, results, flags);
}
