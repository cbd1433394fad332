/** `dlgforge endpoints …`. */
import { type Command, Option } from 'commander';
import { located } from './cluster-program.ts';
import { above0, command, json, positive, verbose } from './command.ts';

export function addEndpointsCommands(program: Command): void {
  const endpoints = program
    .command('endpoints')
    .description('the model endpoints of a run; add, drain and remove them while it is on');
  of(endpoints.command('list'))
    .description('every endpoint with what is wanted of it and, on a cluster, its load and health now')
    .argument('[config]', 'the same as --config')
    .action(command('endpoints list', async () => (await import('./commands/endpoints.ts')).endpointsList));
  of(endpoints.command('add'))
    .description('let the run use another endpoint, or one again that was drained or removed')
    .argument('<url>', 'its address, for example http://gpu-2:8000/v1; without user, password or query')
    .option('--name <name>', 'its name in the run (default: the address)')
    .option('--model <id>', 'model that is asked for there (default: that of the role)')
    .option('--weight <n>', 'share of the traffic, relative to the others (default: 1)', above0)
    .option(
      '--max-in-flight <n>',
      'hard limit of requests in flight (default: as configured for all)',
      positive,
    )
    .option('--roles <list>', 'roles that may use it: user, assistant, judge (default: all)')
    .option('--api-key-env <variable>', 'environment variable that holds its key, on each node that uses it')
    .option('--timeout <s>', 'seconds for one request (default: that of the role)', above0)
    .option('--no-check', 'do not ask it first whether it is there and serves the model')
    .argument('[config]', 'the same as --config')
    .action(command('endpoints add', async () => (await import('./commands/endpoints.ts')).endpointsAdd));
  of(endpoints.command('drain'))
    .description('let an endpoint finish what it has, and send it nothing more')
    .argument('<name>', 'its name in the run, or its address')
    .argument('[config]', 'the same as --config')
    .action(command('endpoints drain', async () => (await import('./commands/endpoints.ts')).endpointsDrain));
  of(endpoints.command('remove'))
    .description('the same, and take it from the list of the run')
    .argument('<name>', 'its name in the run, or its address')
    .argument('[config]', 'the same as --config')
    .action(
      command('endpoints remove', async () => (await import('./commands/endpoints.ts')).endpointsRemove),
    );
}

/** Where its run is. */
const of = (target: Command): Command =>
  located(
    target
      .option('--run <run-id>', 'the run (default: the only one that is on)')
      .addOption(
        new Option(
          '--config <file>',
          'configuration file of the project (default: config.yaml, when it is there)',
        ),
      ),
  )
    .addOption(json('print JSON'))
    .addOption(verbose());
