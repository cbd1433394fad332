/** A project in a temporary folder, run in this process with everything real: embedded Postgres, LanceDB, files. */
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { openProject } from '../../src/bootstrap/project.ts';
import { type RunStart, runLocally } from '../../src/bootstrap/run.ts';
import type { RunReport } from '../../src/bootstrap/run-report.ts';

const KNOWLEDGE = fileURLToPath(new URL('../../examples/quickstart/knowledge', import.meta.url));

export interface BenchProject {
  readonly folder: string;
  run(observe?: (start: RunStart) => void): Promise<RunReport>;
  remove(): Promise<void>;
}

/** @param settings merged over a configuration whose three roles ask `url`. */
export async function benchProject(
  url: string,
  settings: Readonly<Record<string, unknown>>,
): Promise<BenchProject> {
  const folder = await mkdtemp(join(tmpdir(), 'dlgforge-bench-'));
  await cp(KNOWLEDGE, join(folder, 'knowledge'), { recursive: true });
  const role = { provider: 'hosted_vllm', model: 'rehearsal', base_url: `${url}/v1` };
  const llm = {
    backend: 'openai',
    agents: { user: role, assistant: role, judge: role },
    ...(settings['llm'] as object),
  };
  const configPath = join(folder, 'config.yaml');
  await writeFile(configPath, stringify({ judge: { mode: 'online' }, ...settings, llm }));
  return {
    folder,
    async run(observe = () => undefined) {
      const project = openProject({ configPath });
      try {
        return await runLocally(project, {
          allowConfigChange: false,
          command: 'bench',
          pushCommand: 'dlgforge push',
          observer: { status: () => undefined, started: observe },
          stop: new AbortController().signal,
        });
      } finally {
        project.logger.close();
      }
    },
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}

export const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
};
