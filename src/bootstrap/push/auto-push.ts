/** Publishing at the end of a run (`saving.hf_push.auto_push_on_run`). The run is complete whatever comes of it (I6). */
import { pushesAfterRun } from '../../config/publishing.ts';
import { invariant, messageOf } from '../../kernel/errors.ts';
import type { Project } from '../project.ts';
import type { RunOptions } from '../run-options.ts';
import type { Publication, RunReport } from '../run-report.ts';

/** The report with what became of publishing. Never throws. */
export async function publishAfterRun(
  project: Project,
  options: RunOptions,
  report: RunReport,
): Promise<RunReport> {
  if (!pushesAfterRun(project.config) || report.status !== 'completed') return report;
  const publication = await publish(project, options, report);
  if (publication.type === 'failed')
    project.logger.log('warn', 'export', `[hf-push] failed: ${publication.message}`);
  return { ...report, publication };
}

async function publish(project: Project, options: RunOptions, report: RunReport): Promise<Publication> {
  if (report.rehearsal) {
    const reason = 'the conversations come from the built-in rehearsal and not from a model';
    return { type: 'skipped', reason };
  }
  const { observer, stop, pushCommand } = options;
  try {
    const { pushDataset } = await import('./push.ts');
    const { uploaded } = await pushDataset(project, {
      sourceDir: null,
      build: true,
      upload: true,
      allowRehearsal: false,
      token: null,
      stop,
      onStatus: (text) => {
        observer.status(`publishing: ${text}`);
        project.logger.log('info', 'export', `[hf-push] ${text}`);
      },
    });
    invariant(uploaded !== null, 'a push that is to upload has uploaded');
    const { repoId, url, commit } = uploaded;
    return { type: 'published', repoId, url, commit };
  } catch (error) {
    return { type: 'failed', message: messageOf(error), command: pushCommand };
  } finally {
    observer.status(null);
  }
}
