/** `dlgforge runs …`, `dlgforge attach`, `dlgforge actors …`: what goes on, here or on a cluster. */
import { type Command, Option } from 'commander';
import { located, ofProject } from './cluster-program.ts';
import { command, json, verbose } from './command.ts';

const project = (): Option =>
  new Option('--config <file>', 'configuration file of the project (default: config.yaml, when it is there)');

const aboutRuns = (target: Command): Command => located(target.addOption(project())).addOption(verbose());

export function addRunsCommands(program: Command): void {
  const runs = program
    .command('runs')
    .description('look at runs, and pause, resume or cancel those of a cluster');
  aboutRuns(runs.command('list'))
    .description('all runs, newest first')
    .addOption(json('print JSON'))
    .action(command('runs list', async () => (await import('./commands/runs.ts')).runsList));
  aboutRuns(runs.command('show'))
    .description('one run: status, counts, calls and settings')
    .argument('<run-id>')
    .addOption(json('print JSON'))
    .action(command('runs show', async () => (await import('./commands/runs.ts')).runsShow));
  aboutRuns(runs.command('logs'))
    .description('what happened to a run of a cluster, from its start')
    .argument('<run-id>')
    .option('-f, --follow', 'go on with what happens, until the run ends or Ctrl-C')
    .addOption(json('print one JSON line per event'))
    .action(command('runs logs', async () => (await import('./commands/runs-control.ts')).runsLogs));
  aboutRuns(runs.command('pause'))
    .description('start nothing new; what is in flight is finished and kept')
    .argument('<run-id>')
    .action(command('runs pause', async () => (await import('./commands/runs-control.ts')).runsPause));
  aboutRuns(runs.command('resume'))
    .description('go on with a paused run')
    .argument('<run-id>')
    .action(command('runs resume', async () => (await import('./commands/runs-control.ts')).runsResume));
  aboutRuns(runs.command('cancel'))
    .description('end a run; what is in flight is finished and kept')
    .argument('<run-id>')
    .action(command('runs cancel', async () => (await import('./commands/runs-control.ts')).runsCancel));
}

export function addAttachCommand(program: Command): void {
  aboutRuns(program.command('attach'))
    .description('follow a run of a cluster to its end, from any machine; Ctrl-C detaches')
    .argument('[run-id]', 'the run (default: the one that is on, or the latest)')
    .addOption(
      new Option('--from <where>', 'first event that is shown').choices(['start', 'now']).default('start'),
    )
    .option('--output-dir <dir>', 'write the files of the run there, as it goes on')
    .addOption(json('print one JSON line per event'))
    .action(command('attach', async () => (await import('./commands/attach.ts')).attach));
}

export function addActorsCommands(program: Command): void {
  const actors = program.command('actors').description('the actors of a cluster');
  ofProject(actors.command('tree'))
    .description('the supervision tree over all nodes, with restarts and the last error of each actor')
    .option('--run <run-id>', 'only what belongs to this run')
    .addOption(json('print JSON'))
    .addOption(verbose())
    .action(command('actors tree', async () => (await import('./commands/actors.ts')).actorsTree));
}
