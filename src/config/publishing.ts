/** Where a dataset is published and as whom; what is missing for that, in the same words for every command. */
import { DlgforgeError } from '../kernel/errors.ts';
import { hubToken } from './credentials.ts';
import type { Environment } from './environment.ts';
import { type ConfigProblem, Findings } from './problem.ts';
import type { Config } from './schema.ts';

const HUB_URL = 'https://huggingface.co';

export interface Lack {
  readonly message: string;
  readonly hint: string;
}

/** The address of the Hub, by the Hub's own variable; no slash at its end. @throws DlgforgeError `config`. */
export function hubUrl(environment: Environment): string {
  const lack = hubUrlLack(environment);
  if (lack !== null) throw new DlgforgeError('config', `${lack.message} ${lack.hint}`);
  return endpointOf(environment).replace(/\/+$/, '');
}

const endpointOf = (environment: Environment): string => environment['HF_ENDPOINT']?.trim() || HUB_URL;

function hubUrlLack(environment: Environment): Lack | null {
  const given = endpointOf(environment);
  if (URL.canParse(given) && /^https?:$/.test(new URL(given).protocol)) return null;
  return {
    message: 'HF_ENDPOINT must be the address of a Hub, for example https://huggingface.co.',
    hint: 'Correct it, or leave it unset.',
  };
}

export const NO_TOKEN: Lack = {
  message: 'HF token not found.',
  hint: `Make one with write access at ${HUB_URL}/settings/tokens and set HF_TOKEN, in the environment or in .env.`,
};

/** As the Hub wants names: letters, digits, `-`, `_` and `.`, none of the last three twice in a row or at an end. */
const NAME = /^(?!.*(?:--|\.\.))[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?$/;

/** What is wrong with a repository id; null when it can be one. */
export function repoIdLack(repoId: string): Lack | null {
  const hint = 'Set saving.hf_push.repo_id (HF_PUSH_REPO_ID, --repo-id), for example my-name/my-dataset.';
  if (repoId.trim() === '') return { message: 'HF repo_id is required.', hint };
  const names = repoId.trim().split('/');
  if (names.length <= 2 && names.every((name) => NAME.test(name))) return null;
  return { message: `HF repo_id \`${repoId.trim()}\` is not of the form owner/name.`, hint };
}

export const pushesAfterRun = ({ saving: { hf_push: push } }: Config): boolean =>
  push.enabled && push.auto_push_on_run;

/**
 * What a run that publishes at its end needs for it; found before the run spends anything. What comes from
 * the rehearsal is not published, so it needs nothing.
 */
export function publishingProblems(config: Config, environment: Environment): readonly ConfigProblem[] {
  if (!pushesAfterRun(config) || config.llm.backend === 'rehearsal') return [];
  const findings = new Findings();
  const report = (lack: Lack | null, keyPath: string): void => {
    if (lack === null) return;
    const hint = `${lack.hint} Or switch saving.hf_push.auto_push_on_run off.`;
    findings.problem(null, lack.message, { keyPath, hint });
  };
  report(repoIdLack(config.saving.hf_push.repo_id), 'saving.hf_push.repo_id');
  report(hubToken(environment) === null ? NO_TOKEN : null, 'saving.hf_push.auto_push_on_run');
  report(hubUrlLack(environment), 'saving.hf_push.auto_push_on_run');
  return findings.problems;
}
