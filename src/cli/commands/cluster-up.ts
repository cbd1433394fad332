import { clusterUp } from '../../bootstrap/cluster/launch.ts';
import { reportLaunch, launchOptions, planFrom } from '../launch-report.ts';

interface Flags {
  readonly json?: boolean;
}

export async function clusterUpCommand(file: string, flags: Flags): Promise<number> {
  const plan = planFrom(file);
  const results = await clusterUp(plan, launchOptions(flags));
  return reportLaunch('up', plan, results, flags);
}
