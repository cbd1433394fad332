/** What `cluster up` and `cluster down` show. */
import { resolve } from 'node:path';
import { givenTo, type LaunchOptions, type LaunchResult, type Outcome } from '../bootstrap/cluster/launch.ts';
import { type LaunchPlan, readLaunchFile } from '../bootstrap/cluster/launch-file.ts';
import { readSecret } from '../config/credentials.ts';
import { type Environment, processEnvironment } from '../config/environment.ts';
import { EXIT } from './exit-codes.ts';
import { print, say } from './terminal.ts';

interface Flags {
  readonly json?: boolean;
}

export function launchFrom(
  path: string,
  flags: Flags,
): { readonly plan: LaunchPlan; readonly options: LaunchOptions } {
  const environment = processEnvironment();
  const given = givenTo({ file: resolve(path) }, environment);
  const plan = readLaunchFile(path, {
    nats: readSecret(given, 'DLGFORGE_NATS_URL') !== null,
    postgres: readSecret(given, 'DLGFORGE_POSTGRES_DSN') !== null,
  });
  return { plan, options: optionsOf(environment, flags) };
}

const optionsOf = (environment: Environment, { json }: Flags): LaunchOptions => ({
  environment,
  onStatus: (text) => say(`[cluster] ${text}`),
  onResult: (result) => {
    if (json !== true) say(lineOf(result));
  },
});

/** The failed ones again at the end, with what they said last, and what to do. */
export function reportLaunch(
  what: 'up' | 'down',
  plan: LaunchPlan,
  results: readonly LaunchResult[],
  { json }: Flags,
): number {
  const failed = results.filter(({ outcome }) => outcome === 'failed');
  const planned = plan.nodes.length + (plan.head === null ? 0 : 1);
  if (json === true)
    print(JSON.stringify({ ok: failed.length === 0, namespace: plan.namespace, nodes: results }, null, 2));
  for (const { name, host, message, log } of failed) {
    say(`dlgforge cluster ${what} failed for ${name} (${host}): ${message ?? ''}`);
    for (const line of log) say(`    ${line}`);
  }
  if (failed.length > 0) {
    say(
      `${failed.length} of ${planned} nodes failed. Put right what is said above and run the same command again: the others are left as they are.`,
    );
    return EXIT.failed;
  }
  if (json !== true) print(summary(what, plan, planned));
  return EXIT.done;
}

const summary = (what: 'up' | 'down', { namespace, file }: LaunchPlan, planned: number): string =>
  what === 'up'
    ? `The cluster ${namespace} is up: ${planned} nodes. Look at it: dlgforge cluster status. Stop it: dlgforge cluster down ${file}`
    : `The cluster ${namespace} is down: ${planned} nodes.`;

const TEXT: Readonly<Record<Outcome, string>> = {
  started: 'started',
  running: 'runs already',
  stopped: 'stopped',
  absent: 'was not running',
  failed: 'FAILED',
};

const lineOf = ({ name, host, outcome, node, pid }: LaunchResult): string =>
  `  ${name} (${host}): ${TEXT[outcome]}${node === null ? '' : ` as ${node}, process ${pid}`}`;
