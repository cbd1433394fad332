/** Commands that look at conversations: `show`, `replay`, `stats`. They change nothing. */
import { type Command, Option } from 'commander';
import { located } from './cluster-program.ts';
import { command, json, positive, verbose } from './command.ts';

export function addConversationCommands(program: Command): void {
  ofProject(program.command('show'))
    .description('one conversation as a person reads it: turns, tools, passages, verdicts')
    .argument('<conversation-id>')
    .argument('[config]', CONFIG)
    .addOption(json('print its record as JSON'))
    .addOption(verbose())
    .action(command('show', async () => (await import('./commands/show.ts')).show));
  ofProject(program.command('replay'))
    .description('the requests that made a conversation, as they were sent, with passages and answers')
    .argument('<conversation-id>')
    .argument('[config]', CONFIG)
    .option('--turn <n>', 'only this turn', positive)
    .addOption(json('print JSON; each `body` is what was sent'))
    .addOption(verbose())
    .action(command('replay', async () => (await import('./commands/replay.ts')).replay));
  ofProject(program.command('stats'))
    .description('the figures of a dataset, or of one run: scores, texts, variety, coverage, cost')
    .argument('[config]', CONFIG)
    .option('--run <run-id>', 'only this run')
    .addOption(json('print JSON, as in the statistics file of an export'))
    .addOption(verbose())
    .action(command('stats', async () => (await import('./commands/stats.ts')).stats));
}

const CONFIG = 'path of the configuration file (default: config.yaml, when it is there)';

/** The configuration may be named as for `runs` too. */
const ofProject = (target: Command): Command =>
  located(target.addOption(new Option('--config <file>', 'the same as [config]').hideHelp()));
