/**
 * `dlgforge doctor`: everything that a run needs, looked at side by side, so that one look shows all that is
 * off. Pays for nothing and leaves nothing behind.
 */
import { examineConfig } from '../../config/load.ts';
import { publishingProblems } from '../../config/publishing.ts';
import { checkRequirements } from '../../config/requirements.ts';
import { projectWithoutLogs } from '../project.ts';
import { assetChecks } from './asset-checks.ts';
import { type Check, configProblem, guarded, ok } from './check.ts';
import { clusterChecks } from './cluster-checks.ts';
import { endpointChecks } from './endpoint-checks.ts';
import { folderChecks } from './folder-checks.ts';
import { knowledgeChecks, retrievalChecks } from './knowledge-checks.ts';
import { configChecks, requirementChecks } from './requirement-checks.ts';
import { serverChecks } from './server-checks.ts';
import { storeChecks } from './store-checks.ts';

export type { Check } from './check.ts';

/** In the order in which a run needs them. */
export async function diagnose(configPath: string): Promise<readonly Check[]> {
  const node = ok('node', `${process.versions.node} at ${process.execPath}`);
  const { loaded, problems } = examineConfig({ configPath });
  if (loaded === null) return [node, ...problems.map((each) => configProblem('config', each))];
  const project = projectWithoutLogs(loaded);
  const requirements = checkRequirements(loaded, 'run');
  const checks = await Promise.all([
    assetChecks(project),
    knowledgeChecks(project),
    retrievalChecks(project),
    endpointChecks(project, requirements),
    serverChecks(project, requirements),
    guarded('disk', () => folderChecks(project)),
    storeChecks(project),
    clusterChecks(project),
  ]);
  return [
    node,
    ...configChecks(project, problems),
    ...requirementChecks(project, requirements),
    ...publishingProblems(loaded.config, loaded.environment).map((each) => configProblem('publishing', each)),
    ...checks.flat(),
  ];
}
