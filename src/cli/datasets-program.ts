/** Commands on conversations that exist, and on what they start from. */
import { type Command, Option } from 'commander';
import { collect, command, json, logFormat, positive, verbose } from './command.ts';
import { addExportOptions } from './export-overrides.ts';

export function addDatasetCommands(program: Command): void {
  addJudge(program);
  addSeedsMigrate(program);
  addPush(program);
}

function addJudge(program: Command): void {
  program
    .command('judge')
    .description('judge conversations that exist, those of 0.1.0 too; the same command again goes on')
    .argument('<config>', 'path of the configuration file')
    .addOption(
      new Option(
        '--granularity <what>',
        'a verdict per turn or per conversation (judge.granularity)',
      ).choices(['turn', 'conversation']),
    )
    .addOption(
      new Option(
        '--only-missing',
        'judge what has no verdict of this granularity, model and prompt (default)',
      ).conflicts('rejudge'),
    )
    .option('--rejudge', 'judge again what has such a verdict, too', false)
    .option('--model <model>', 'the judge (llm.agents.judge.model)')
    .option(
      '--batch',
      "ask through the provider's batch API: slow and cheap; go on with the same command",
      false,
    )
    .option('--limit <n>', 'judge so many conversations at most', positive)
    .option('--language <list>', 'only these languages, comma-separated; may be repeated', collect, [])
    .option(
      '--output-dir <dir>',
      'folder of the dataset (saving.output_dir), relative to the working directory',
    )
    .option('--set <key=value>', 'any key of the configuration; may be repeated', collect, [])
    .option('--quiet', 'no progress, only warnings and the summary', false)
    .addOption(json('print a machine-readable summary on stdout'))
    .addOption(logFormat())
    .addOption(verbose())
    .action(command('judge', async () => (await import('./commands/judge.ts')).judge));
}

function addPush(program: Command): void {
  addExportOptions(program.command('push'))
    .description('build the export of a dataset and publish it on the Hugging Face Hub, in one commit')
    .argument('<config>', 'path of the configuration file')
    .option('--repo-id <owner/name>', 'repository (saving.hf_push.repo_id)')
    .addOption(
      new Option('--repo-type <type>', 'kind of repository (saving.hf_push.repo_type)').choices([
        'dataset',
        'model',
        'space',
      ]),
    )
    .option(
      '--source-dir <dir>',
      'folder of the dataset, relative to the working directory (default: saving.output_dir)',
    )
    .option(
      '--export-dir <dir>',
      'folder of the export, relative to the working directory (saving.hf_push.export_dir)',
    )
    .option('--include-run-state', 'also the states of the runs (saving.hf_push.include_run_state)', false)
    .option('--token <token>', 'token of the Hub; better: HF_TOKEN in the environment or in .env')
    .option('--commit-message <text>', 'message of the commit (saving.hf_push.commit_message)')
    .option('--no-export', 'publish the export folder as it is')
    .option('--no-push', 'only build the export')
    .option(
      '--clean-remote',
      'delete files on the Hub that are not in the export (saving.hf_push.clean_remote)',
      false,
    )
    .option('--license <name>', 'licence for the card, as the Hub names it (saving.hf_push.license)')
    .option('--allow-rehearsal', 'publish conversations of the built-in rehearsal', false)
    .option(
      '--output-dir <dir>',
      'folder of the dataset as for run (saving.output_dir), relative to the working directory',
    )
    .option('--set <key=value>', 'any key of the configuration; may be repeated', collect, [])
    .option('--quiet', 'no progress, only warnings and the result', false)
    .addOption(json('print the result as JSON on stdout'))
    .addOption(verbose())
    .action(command('push', async () => (await import('./commands/push.ts')).push));
}

function addSeedsMigrate(program: Command): void {
  program
    .command('seeds-migrate')
    .description('turn seed topics of an older layout into the structured YAML file')
    .argument('<config>', 'path of the configuration file')
    .option(
      '--source-file <file>',
      'JSON or YAML, relative to the project (default: the configured .json, else seed_topics.json, else the configured file)',
    )
    .option(
      '--dest-file <file>',
      'YAML, relative to the project (default: the configured file, else data/seeds/topics.yaml)',
    )
    .option('--overwrite', 'replace a file that is there', false)
    .option('--dry-run', 'write nothing; print what would change as a unified diff', false)
    .addOption(json('print the result as JSON on stdout'))
    .addOption(verbose())
    .action(command('seeds-migrate', async () => (await import('./commands/seeds-migrate.ts')).seedsMigrate));
}
