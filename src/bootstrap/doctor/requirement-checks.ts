/** The configuration itself, and what it names: models, keys, files. */
import type { ConfigProblem } from '../../config/problem.ts';
import type { AgentRole, Config } from '../../config/schema.ts';
import type { Requirements } from '../../config/requirements.ts';
import { modelOf, samplesPerLanguage } from '../../config/roles.ts';
import type { Project } from '../project.ts';
import { type Check, configProblem, ok, warning } from './check.ts';

/** @param problems what loading found; `project` is what could be read all the same. */
export function configChecks(project: Project, problems: readonly ConfigProblem[]): Check[] {
  const { loaded, config } = project;
  const notices = loaded.notices.map((notice) => warning('config', notice));
  if (problems.length > 0) return [...problems.map((each) => configProblem('config', each)), ...notices];
  const { target_languages: languages, turns } = config.run;
  const wanted = `${samplesPerLanguage(config)} conversations of ${turns.min} to ${turns.max} turns in ${languages.join(', ')}`;
  return [ok('config', `${loaded.configPath}: ${wanted}`), ...notices];
}

export function requirementChecks(project: Project, requirements: Requirements): Check[] {
  const { roles, problems, notices } = requirements;
  const found = problems.map((each) => configProblem(areaOf(each), each));
  const lacks = (area: string): boolean => found.some(({ name }) => name === area);
  const checks: Check[] = [];
  if (!lacks('models')) {
    checks.push(ok('models', modelsText(project.config, roles)));
  }
  if (!lacks('keys')) checks.push(ok('keys', keysText(requirements)));
  return [...checks, ...found, ...notices.map((notice) => warning('config', notice))];
}

function modelsText(config: Config, roles: readonly AgentRole[]): string {
  const { backend } = config.llm;
  if (backend === 'rehearsal') return 'none: the built-in rehearsal answers, no model is called';
  return `${backend}: ${roles.map((role) => `${role} ${modelOf(config, role) || 'as its endpoints say'}`).join(', ')}`;
}

function areaOf({ variable, keyPath }: ConfigProblem): string {
  if (variable !== null) return 'keys';
  return keyPath?.startsWith('llm.') ? 'models' : 'config';
}

function keysText({ roles, keyVariables }: Requirements): string {
  const found = roles.flatMap((role) =>
    keyVariables[role] === null ? [] : [`${role} from ${keyVariables[role]}`],
  );
  return found.length === 0 ? 'none needed, or each endpoint names its own' : found.join(', ');
}
