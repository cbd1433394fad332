import { resolve } from 'node:path';
import { type Attached, attachTo } from '../../bootstrap/cluster/attach-run.ts';
import type { StoreFlags } from '../../bootstrap/cluster/runs-store.ts';
import { processEnvironment } from '../../config/environment.ts';
import { pushesAfterRun } from '../../config/publishing.ts';
import type { Config } from '../../config/schema.ts';
import { EXIT, exitCodeOfEnd } from '../exit-codes.ts';
import { eventJson, eventLine } from '../run-event-lines.ts';
import { print, say } from '../terminal.ts';

interface Flags extends StoreFlags {
  readonly from: 'start' | 'now';
  readonly outputDir?: string;
  readonly json?: boolean;
}

export async function attach(runId: string | undefined, flags: Flags): Promise<number> {
  const detach = new AbortController();
  const onSignal = (): void => detach.abort();
  let isToBePublished = false;
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, onSignal);
  try {
    const attached = await attachTo(flags, processEnvironment(), {
      runId: runId ?? null,
      from: flags.from,
      outputDir: flags.outputDir === undefined ? null : resolve(flags.outputDir),
      command: 'dlgforge attach',
      detach: detach.signal,
      onStart: ({ id, status, config }) => {
        // Whatever stored it: a run of another version may know nothing of this.
        isToBePublished =
          (config as Partial<Config>).saving !== undefined && pushesAfterRun(config as Config);
        if (flags.json !== true)
          say(`[attach] following run ${id} (${status}); Ctrl-C detaches, the run goes on`);
      },
      onWarning: (text) => say(`[attach] ${text}`),
      onEvent: (event) => print(flags.json === true ? eventJson(event) : eventLine(event)),
    });
    if (attached.type === 'ended') {
      if (isToBePublished && attached.end.type === 'completed') say(publishingText(flags.outputDir));
      return codeOf(attached);
    }
    say(`[attach] detached; the run goes on. Follow it again: dlgforge attach ${attached.runId}`);
    return EXIT.done;
  } finally {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, onSignal);
  }
}

/** The command that submitted the run publishes, if it is there to the end; this one has neither its project nor its token. */
const publishingText = (outputDir: string | undefined): string =>
  `[attach] nothing is published from here. If nobody else does: npx dlgforge push config.yaml${outputDir === undefined ? '' : ` --source-dir ${outputDir}`}, with the configuration of the run`;

/** The run's own exit code. */
function codeOf({ end }: Extract<Attached, { type: 'ended' }>): number {
  if (end.type === 'failed') say(end.trouble.message);
  return exitCodeOfEnd(end.type);
}
