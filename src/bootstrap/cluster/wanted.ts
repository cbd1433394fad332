/** The cluster that a command means which looks at one, or asks it for something. */
import { existsSync } from 'node:fs';
import type { Environment } from '../../config/environment.ts';
import { examineConfig, loadConfig, type LoadedConfig } from '../../config/load.ts';
import { projectWithoutLogs } from '../project.ts';
import { wantedBy } from './distributed-wanted.ts';
import { type Wanted, wantedFromFlags } from './find-cluster.ts';

export interface WantedFlags {
  /** A configuration file: the cluster that its runs use. */
  readonly config?: string;
  readonly address?: string;
  readonly token?: string;
  readonly postgres?: string;
  readonly namespace?: string;
}

const DEFAULT_CONFIG = 'config.yaml';

/**
 * What flags name; otherwise what a configuration means, also the cluster that a run has started for itself.
 * @throws DlgforgeError `config` when the file that was named is off.
 */
export function wantedOf(flags: WantedFlags, environment: Environment): Wanted {
  const named = flags.address ?? flags.postgres ?? flags.namespace;
  const loaded = named === undefined ? configuration(flags.config, environment) : null;
  if (loaded === null) return wantedFromFlags(flags, environment);
  const wanted = wantedBy(projectWithoutLogs(loaded));
  return { ...wanted, natsToken: flags.token ?? wanted.natsToken };
}

/** The customary one counts when it is there, whole, and about a cluster. */
function configuration(path: string | undefined, env: Environment): LoadedConfig | null {
  if (path !== undefined) return loadConfig({ configPath: path, env });
  if (!existsSync(DEFAULT_CONFIG)) return null;
  const { loaded, problems } = examineConfig({ configPath: DEFAULT_CONFIG, env });
  return problems.length === 0 && loaded?.config.run.distributed.enabled === true ? loaded : null;
}
