/** Prompts, personas and seed topics: whether they can be read, and what a person should know of them. */
import { type Asset, personasFile, promptsDir, seedTopicsFile } from '../../config/paths.ts';
import { unknownVariables } from '../../dialogue/prompt-assets.ts';
import { loadPersonas, loadPrompts, loadSeeds } from '../assets.ts';
import type { Project } from '../project.ts';
import { type Check, guarded, ok, warning } from './check.ts';

/** A file that is missing has been reported with the configuration that names it. */
const isMissing = (asset: Asset | null): boolean => asset?.type === 'missing';

export async function assetChecks(project: Project): Promise<readonly Check[]> {
  const checks = await Promise.all([
    guarded('prompts', () => promptChecks(project)),
    guarded('personas', () => personaChecks(project)),
    guarded('seeds', () => seedChecks(project)),
  ]);
  return checks.flat();
}

async function promptChecks({ config, root }: Project): Promise<Check[]> {
  const folder = promptsDir(config, root);
  if (isMissing(folder)) return [];
  const unknown = unknownVariables(await loadPrompts(config, root));
  const where =
    folder.type === 'shipped' ? 'the shipped ones' : `the shipped ones with those in ${folder.path}`;
  return [
    ok('prompts', where),
    ...unknown.map((variable) =>
      warning(
        'prompts',
        `${variable} is no variable and stays empty.`,
        'Correct its name, or take it out of the prompt.',
      ),
    ),
  ];
}

async function personaChecks({ config, root }: Project): Promise<Check[]> {
  if (!config.personas.enabled) return [ok('personas', 'off')];
  const file = personasFile(config, root);
  if (isMissing(file)) return [];
  const pools = await loadPersonas(config, root);
  const [users, assistants] = [pools?.user.length ?? 0, pools?.assistant.length ?? 0];
  const where = file.type === 'shipped' ? 'the shipped ones' : file.path;
  return [ok('personas', `${users} users and ${assistants} assistants, ${where}`)];
}

async function seedChecks({ config, root }: Project): Promise<Check[]> {
  const file = seedTopicsFile(config, root);
  if (isMissing(file)) return [];
  const seeds = await loadSeeds(config, root);
  if (seeds.length === 0)
    return [ok('seeds', file === null ? 'none: every question is about a passage' : 'off')];
  const counts = config.run.target_languages.map((language, at) => {
    const questions = seeds[at]?.topics.reduce((sum, topic) => sum + topic.questions.length, 0) ?? 0;
    return `${questions} questions for ${language}`;
  });
  const notices = [...new Set(seeds.flatMap((seed) => seed.problems))];
  return [ok('seeds', counts.join(', ')), ...notices.map((notice) => warning('seeds', notice))];
}
