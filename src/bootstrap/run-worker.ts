/** Works on a run: one worker actor, with everything that its conversations need on this node. */
import type { WorkerMessage } from '../actors/messages.ts';
import type { ActorRef, ActorSystem } from '../actors/runtime/types.ts';
import { worker, type WorkerOptions } from '../actors/worker.ts';
import type { RunId } from '../kernel/ids.ts';
import type { ModelPort } from '../ports/model.ts';
import type { Store } from '../ports/store.ts';

/** What working on a run depends on. */
export interface WorkerParts extends Pick<WorkerOptions, 'dialogue' | 'inputs' | 'webSearch' | 'lacks'> {
  readonly runId: RunId;
  readonly port: Pick<ModelPort, 'usedName'>;
}

export interface RunWorkerOptions extends Pick<WorkerOptions, 'modelCalls' | 'directory' | 'queue'> {
  readonly system: ActorSystem;
  readonly store: Pick<Store, 'journal'>;
  readonly parts: WorkerParts;
  /** Of the actor. @default one per run and node */
  readonly name?: string;
  /** It failed again and again; its conversations go on elsewhere. @default nobody hears */
  readonly onGivenUp?: (error: unknown) => void;
}

export interface RunWorker {
  readonly worker: ActorRef<WorkerMessage>;
  /** Conversations that it works on now. */
  conversations(): number;
  /**
   * Takes nothing more, and gives its conversations to others as soon as their calls in flight are journalled.
   * @throws DlgforgeError `timeout` when that takes longer.
   */
  handBack(timeoutMs: number): Promise<void>;
  stop(): Promise<void>;
}

export function startRunWorker(options: RunWorkerOptions): RunWorker {
  const { system, store, parts, modelCalls, directory, queue } = options;
  const { runId, dialogue, inputs, webSearch, lacks, port } = parts;
  const ref = system.spawn<WorkerMessage>(
    options.name ?? `worker:${encodeURIComponent(runId)}`,
    worker({
      runId,
      dialogue,
      inputs,
      webSearch,
      lacks,
      modelCalls,
      directory,
      queue,
      journal: store.journal,
      usedName: (role, endpoint) => port.usedName(role, endpoint),
    }),
  );
  system.watch(ref, ({ reason, error }) => {
    if (reason !== 'stopped') options.onGivenUp?.(error);
  });
  return {
    worker: ref,
    conversations: () => system.tree().filter(({ path }) => path.startsWith(`${ref.path}/`)).length,
    async handBack(timeoutMs) {
      await system.ask<WorkerMessage, 'handed_back'>(ref, (replyTo) => ({ type: 'HandBack', replyTo }), {
        timeoutMs,
      });
    },
    stop: () => system.stopActor(ref),
  };
}
