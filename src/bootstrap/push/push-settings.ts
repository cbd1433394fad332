/** What is published, from where and to where. */
import { exportDir, outputDir } from '../../config/paths.ts';
import type { Config } from '../../config/schema.ts';

export interface PushSettings {
  readonly repoId: string;
  readonly repoType: Config['saving']['hf_push']['repo_type'];
  readonly private: boolean;
  readonly commitMessage: string;
  readonly cleanRemote: boolean;
  /** Absolute. */
  readonly sourceDir: string;
  /** Absolute; also of another source it is the one of the configuration. */
  readonly exportDir: string;
}

/** @param sourceDir the one of the command line, absolute; null for the folder of the dataset. */
export function pushSettings(config: Config, projectRoot: string, sourceDir: string | null): PushSettings {
  const push = config.saving.hf_push;
  return {
    repoId: push.repo_id.trim(),
    repoType: push.repo_type,
    private: push.private,
    commitMessage: push.commit_message,
    cleanRemote: push.clean_remote,
    sourceDir: sourceDir ?? outputDir(config, projectRoot),
    exportDir: exportDir(config, projectRoot),
  };
}
