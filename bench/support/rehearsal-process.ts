/** The rehearsal backend in a process of its own, so that its work is not counted with ours. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { RehearsalOptionsInput } from '../../src/llm/rehearsal/options.ts';

const PROGRAM = fileURLToPath(new URL('../../src/llm/rehearsal/process.ts', import.meta.url));

export interface RehearsalProcess {
  readonly url: string;
  close(): Promise<void>;
}

export async function startRehearsalProcess(
  options: RehearsalOptionsInput & { readonly logFile?: string },
): Promise<RehearsalProcess> {
  const child = spawn(process.execPath, [PROGRAM, JSON.stringify(options)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
  const { url } = JSON.parse(line) as { readonly url: string };
  return {
    url,
    async close() {
      const ended = once(child, 'exit');
      child.stdin.end();
      await ended;
    },
  };
}
