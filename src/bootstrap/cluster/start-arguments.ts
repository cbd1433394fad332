/** How the flags of `cluster start` go to the process in the background: secrets by environment (I8). */
import { join, resolve } from 'node:path';
import type { Environment } from '../../config/environment.ts';
import { clusterHome, namespaceFolder } from './address-file.ts';
import { DEFAULT_NAMESPACE } from './find-cluster.ts';
import type { StartFlags } from './start-flags.ts';

/** Of what a node prints before it has a log of its own. */
export function clusterLogsDir({ stateDir, home, namespace }: StartFlags, environment: Environment): string {
  if (stateDir !== undefined) return join(resolve(stateDir), 'logs');
  return join(namespaceFolder(home ?? clusterHome(environment), namespace ?? DEFAULT_NAMESPACE), 'logs');
}

export function daemonArguments(flags: StartFlags): {
  readonly args: readonly string[];
  readonly variables: Readonly<Record<string, string>>;
} {
  const natsUrl = flags.head === true ? (flags.nats ?? flags.address) : flags.address;
  const named: readonly (readonly [string, string | number | undefined])[] = [
    ['--host', flags.host],
    ['--port', flags.port],
    ['--namespace', flags.namespace],
    ['--workers', flags.workers],
    ['--gpus', flags.gpus],
    ['--metrics-port', flags.metricsPort],
    ['--state-dir', flags.stateDir === undefined ? undefined : resolve(flags.stateDir)],
    ['--name', flags.name],
    ['--home', flags.home],
    ['--keys-from', flags.keysFrom],
    ['--database-dir', flags.databaseDir],
    ['--store-limits', flags.storeLimits],
    // Said, so that a variable does not count instead.
    ['--address', natsUrl === 'auto' ? 'auto' : undefined],
  ];
  const variables = {
    DLGFORGE_NATS_URL: natsUrl === 'auto' ? undefined : natsUrl,
    DLGFORGE_NATS_TOKEN: flags.token,
    DLGFORGE_POSTGRES_DSN: flags.postgres,
  };
  return {
    args: [
      ...(flags.head === true ? ['--head'] : []),
      ...(flags.untilIdle === true ? ['--until-idle'] : []),
      ...named.flatMap(([flag, value]) => (value === undefined ? [] : [flag, String(value)])),
      ...(flags.labels ?? []).flatMap((label) => ['--labels', label]),
    ],
    variables: Object.fromEntries(
      Object.entries(variables).filter(([, value]) => value !== undefined),
    ) as Record<string, string>,
  };
}
