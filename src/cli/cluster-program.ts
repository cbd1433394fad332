/** `dlgforge cluster …`. */
import { type Command, Option } from 'commander';
import { collect, command, count, json, port, verbose } from './command.ts';

export function addClusterCommands(program: Command): void {
  const cluster = program.command('cluster').description('start, look at and stop a cluster of nodes');
  addStart(cluster);
  addLaunch(cluster);
  addControl(cluster);
}

/** Where the cluster is, for commands that look at it or ask it for something. */
export function located(target: Command): Command {
  return target
    .option('--address <url>', 'NATS server of the cluster (default: the one that runs on this machine)')
    .option('--token <token>', 'token of the NATS server; better in DLGFORGE_NATS_TOKEN')
    .option('--postgres <dsn>', 'Postgres of the cluster; better in DLGFORGE_POSTGRES_DSN')
    .option('--namespace <name>', 'name of the cluster (default: dlgforge)');
}

/** The same, or a project whose runs use it. */
export const ofProject = (target: Command): Command =>
  located(
    target.option(
      '--config <file>',
      'configuration whose cluster is meant (default: config.yaml, when it is there and enables one)',
    ),
  );

function addControl(cluster: Command): void {
  ofProject(cluster.command('status'))
    .description('nodes, runs, endpoints and queue of the cluster')
    .option('--watch', 'look again every second, until Ctrl-C')
    .addOption(json('print JSON; with --watch one line each time'))
    .addOption(verbose())
    .action(
      command(
        'cluster status',
        async () => (await import('./commands/cluster-status.ts')).clusterStatusCommand,
      ),
    );
  ofProject(cluster.command('nodes'))
    .description('the nodes of the cluster')
    .addOption(json('print JSON'))
    .addOption(verbose())
    .action(
      command('cluster nodes', async () => (await import('./commands/cluster-status.ts')).clusterNodes),
    );
  ofProject(cluster.command('drain'))
    .description('let a node finish its steps, hand its conversations over, and leave')
    .argument('<node>')
    .addOption(json('print JSON'))
    .addOption(verbose())
    .action(command('cluster drain', async () => (await import('./commands/cluster-stop.ts')).clusterDrain));
  ofProject(cluster.command('stop'))
    .description('stop the nodes of this machine, one node, or all of them; runs can go on later')
    .option('--node <node>', 'only this one')
    .option('--all', 'every node of the cluster')
    .addOption(json('print JSON'))
    .addOption(verbose())
    .action(command('cluster stop', async () => (await import('./commands/cluster-stop.ts')).clusterStop));
}

function addStart(cluster: Command): void {
  cluster
    .command('start')
    .description('start a node: the first one of a cluster with --head, others with --address')
    .option('--head', 'begin a cluster; starts NATS and Postgres where none is named')
    .option('--address <url>', 'join the cluster at this NATS server; `auto` finds one on this machine')
    .option(
      '--token <token>',
      'token of the NATS server; better in DLGFORGE_NATS_TOKEN, where other users of this machine cannot see it',
    )
    .option('--nats <url>', 'NATS server of a new cluster (DLGFORGE_NATS_URL)')
    .option('--postgres <dsn>', 'Postgres of the cluster; better in DLGFORGE_POSTGRES_DSN')
    .option('--host <address>', 'address that the servers of a head listen on (default: 127.0.0.1)')
    .option('--port <port>', 'port of the NATS server of a head (default: 4222, or a free one)', port)
    .option('--namespace <name>', 'name of the cluster (default: dlgforge)')
    .option('--workers <n>', 'worker processes while a run is on (default: 1)', count)
    .option('--gpus <n>', 'GPUs that the node offers (default: what nvidia-smi finds)', count)
    .option('--labels <key=value>', 'a label of the node; may be repeated', collect, [])
    .option('--metrics-port <port>', 'serve metrics for Prometheus on this port of 127.0.0.1', port)
    .option('--state-dir <dir>', 'folder for node.json and the logs of the node')
    .option('--name <name>', 'name of the node in the cluster (default: from the host name)')
    .option('--block', 'stay in the foreground')
    .addOption(json('print the node as JSON on stdout'))
    .addOption(new Option('--home <dir>', 'folder of the address file').hideHelp())
    .addOption(new Option('--database-dir <dir>', 'state folder of the embedded database').hideHelp())
    .addOption(new Option('--until-idle', 'end with the runs').hideHelp())
    .addOption(new Option('--store-limits <json>', 'limits of the store').hideHelp())
    .addOption(new Option('--keys-from <config>', 'a configuration whose keys count here').hideHelp())
    .addOption(verbose())
    .action(command('cluster start', async () => (await import('./commands/cluster-start.ts')).clusterStart));
}

function addLaunch(cluster: Command): void {
  cluster
    .command('up')
    .description('start the nodes of a cluster file that do not run, here and over ssh')
    .argument('<file>', 'the cluster file')
    .addOption(json('print the nodes as JSON on stdout'))
    .addOption(verbose())
    .action(command('cluster up', async () => (await import('./commands/cluster-up.ts')).clusterUpCommand));
  cluster
    .command('down')
    .description('stop the nodes of a cluster file')
    .argument('<file>', 'the cluster file')
    .addOption(json('print the nodes as JSON on stdout'))
    .addOption(verbose())
    .action(
      command('cluster down', async () => (await import('./commands/cluster-down.ts')).clusterDownCommand),
    );
  cluster
    .command('host', { hidden: true })
    .description('start or stop a node here for an `up` or `down` elsewhere: reads the request from stdin')
    .action(
      command('cluster host', async () => (await import('./commands/cluster-host.ts')).clusterHostCommand),
    );
}
