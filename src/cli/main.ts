/** The command line: argv → command → exit code. Commands are loaded when they are called, so that help is quick. */
import { readFileSync } from 'node:fs';
import { Command, CommanderError, Option } from 'commander';
import { wholeOptions } from './abbreviations.ts';
import { addClusterCommands, located } from './cluster-program.ts';
import { collect, command, json, logFormat, port, positive, verbose } from './command.ts';
import { addConversationCommands } from './conversations-program.ts';
import { addDatasetCommands } from './datasets-program.ts';
import { addEndpointsCommands } from './endpoints-program.ts';
import { EXIT } from './exit-codes.ts';
import { addExportOptions } from './export-overrides.ts';
import { addActorsCommands, addAttachCommand, addRunsCommands } from './runs-program.ts';
import { watchStreams } from './terminal.ts';

const packageFile = new URL('../../package.json', import.meta.url);
const { version } = JSON.parse(readFileSync(packageFile, 'utf8')) as { readonly version: string };

export function createProgram(): Command {
  const program = new Command('dlgforge')
    .description(
      'Generates grounded multi-turn conversations from a folder of documents. Paid answers are never lost or paid twice.',
    )
    .version(version)
    .showHelpAfterError('(dlgforge --help shows the commands)')
    .exitOverride();

  program
    .command('run')
    .description('generate conversations; the same command again goes on where a run stopped')
    .argument('<config>', 'path of the configuration file')
    .option('--resume <run-id>', 'go on with this run (run.resume_run_id)')
    .option('--run-id <id>', 'id of the run (run.run_id)')
    .option('--batch-size <n>', 'conversations kept open at the same time (run.batch_size)', positive)
    .option('--total-samples <n>', 'conversations per language (run.total_samples)', positive)
    .option('--languages <list>', 'comma-separated target languages (run.target_languages)')
    .option(
      '--output-dir <dir>',
      'folder of the dataset (saving.output_dir), relative to the working directory',
    )
    .option('--set <key=value>', 'any key of the configuration; may be repeated', collect, [])
    .option(
      '--allow-config-change',
      'resume although settings that decide about accepted rows have changed',
      false,
    )
    .option('--detach', 'on a cluster: submit the run, print its id, and do not wait for it', false)
    .option(
      '--metrics-port <port>',
      'on a cluster: serve metrics for Prometheus on this port of 127.0.0.1',
      port,
    )
    .option('--quiet', 'no progress, only warnings and the summary', false)
    .addOption(json('print a machine-readable summary on stdout'))
    .addOption(logFormat())
    .addOption(verbose())
    .action(command('run', async () => (await import('./commands/run.ts')).run));

  program
    .command('doctor')
    .description('check everything that a run needs, and print all problems at once')
    .argument('<config>', 'path of the configuration file')
    .addOption(json('print the checks as JSON on stdout'))
    .addOption(verbose())
    .action(command('doctor', async () => (await import('./commands/doctor.ts')).doctor));

  program
    .command('init')
    .description('write a commented configuration and its folders')
    .argument('[folder]', 'the project to make', '.')
    .option('--force', 'replace a configuration that is there', false)
    .addOption(new Option('--backend <backend>', 'where answers come from').choices(['rehearsal', 'openai']))
    .option('--languages <list>', 'comma-separated target languages')
    .addOption(verbose())
    .action(command('init', async () => (await import('./commands/init.ts')).init));

  const config = program.command('config').description('look at the configuration');
  config
    .command('show')
    .description('print every effective value')
    .argument('<config>', 'path of the configuration file')
    .option('--origin', 'say where each value comes from: default, file, env or flag', false)
    .option('--set <key=value>', 'any key of the configuration; may be repeated', collect, [])
    .addOption(json('print JSON'))
    .addOption(verbose())
    .action(command('config show', async () => (await import('./commands/config-show.ts')).configShow));

  addRunsCommands(program);
  addAttachCommand(program);
  addEndpointsCommands(program);

  addExportOptions(located(program.command('export')))
    .description(
      'make the output files anew from the store, or those of a run of a cluster anywhere; with --format also the dataset in other formats',
    )
    .argument('<config or run-id>', 'path of the configuration file, or the id of a run')
    .option('--run <run-id>', 'only this run; needs --output-dir when the folder holds other runs')
    .option(
      '--output-dir <dir>',
      'folder to write to, relative to the working directory (default: that of the configuration; the id of a run); with --format: of the formats (default: exports in the output folder)',
    )
    .option('--set <key=value>', 'any key of the configuration; may be repeated', collect, [])
    .addOption(json('print what was written as JSON'))
    .addOption(verbose())
    .action(command('export', async () => (await import('./commands/export.ts')).exportFiles));

  program
    .command('rehearse')
    .description('serve the built-in offline backend, an OpenAI-compatible endpoint on this machine')
    .option('--port <port>', 'port; 0 takes a free one', port, 8100)
    .option('--options <json>', 'knobs as JSON, for example {"seed":1,"rate_limit_rate":0.1}', '{}')
    .option('--log-file <file>', 'append one JSON line per request')
    .addOption(verbose())
    .action(command('rehearse', async () => (await import('./commands/rehearse.ts')).rehearse));

  addConversationCommands(program);
  addDatasetCommands(program);
  addClusterCommands(program);
  addActorsCommands(program);
  return program;
}

watchStreams();
try {
  const program = createProgram();
  await program.parseAsync(wholeOptions(program, process.argv.slice(2)), { from: 'user' });
} catch (error) {
  if (!(error instanceof CommanderError)) throw error;
  // Help and --version end with 0; everything else that commander throws is about the arguments.
  process.exitCode = error.exitCode === 0 ? EXIT.done : EXIT.usage;
}
