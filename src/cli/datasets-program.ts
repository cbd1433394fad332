/** Commands on conversations that exist, and on what they start from. */
import { type Command } from 'commander';
import { command, json, verbose } from './command.ts';

export function addDatasetCommands(program: Command): void {
  addSeedsMigrate(program);
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
