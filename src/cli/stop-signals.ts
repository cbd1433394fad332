import { EXIT } from './exit-codes.ts';
import type { Progress } from './progress.ts';
import { say } from './terminal.ts';

/** What a person is told after the first and the second request to stop. */
export interface StopTexts {
  readonly first: string;
  readonly second: string;
}

/** The first request stops admitting and lets calls in flight finish; the second ends the process at once. */
export function stopOnSignals(
  progress: Progress,
  said: StopTexts,
): { readonly signal: AbortSignal; dispose(): void } {
  const controller = new AbortController();
  const onSignal = (): void => {
    if (controller.signal.aborted) {
      progress.close();
      say(said.second);
      process.exit(EXIT.interrupted);
    }
    controller.abort();
    progress.message(said.first);
  };
  const signals = ['SIGINT', 'SIGTERM'] as const;
  for (const signal of signals) process.on(signal, onSignal);
  return {
    signal: controller.signal,
    dispose: () => {
      for (const signal of signals) process.off(signal, onSignal);
    },
  };
}
