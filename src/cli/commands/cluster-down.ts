import { clusterDown } from '../../bootstrap/cluster/launch.ts';
import { reportLaunch, launchOptions, planFrom } from '../launch-report.ts';

interface Flags {
  readonly json?: boolean;
}

export async function clusterDownCommand(file: string, flags: Flags): Promise<number> {
  const plan = planFrom(file);
  const results = await clusterDown(plan, launchOptions(flags));
  return reportLaunch('down', plan, results, flags);
}
