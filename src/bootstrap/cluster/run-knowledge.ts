/**
 * The knowledge of a run as its conversations on this node reach it: opened here, or through another node
 * until it is. Owns the retriever actor and the attempts to open the index.
 */
import type { RetrieverMessage } from '../../actors/messages.ts';
import { retriever } from '../../actors/retriever.ts';
import type { ActorRef } from '../../actors/runtime/types.ts';
import { messageOf } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/logger.ts';
import type { ClusterNode } from './join.ts';
import { chooseRetriever, searchKeyOf } from './knowledge-choice.ts';
import { keepPublished } from './knowledge-publish.ts';
import { openWorkerKnowledge, type WorkerKnowledge } from './knowledge-worker.ts';
import { retrieverPath } from './names.ts';
import type { RunParts } from './run-parts.ts';

export interface RunKnowledge {
  /** Who searches for this node now; null while nobody can. */
  ref(): ActorRef<RetrieverMessage> | null;
  /** The searches that this process serves, for its card; null while the index is not open. */
  readonly serves: string | null;
  close(): Promise<void>;
}

export interface RunKnowledgeOptions {
  readonly node: ClusterNode;
  readonly parts: RunParts;
  readonly cacheDir: string;
  readonly folder: string;
  readonly logger: Logger;
}

const RETRY_MS = 3_000;
/** What fails again and again costs a whole transfer each time. */
const RETRY_MAX_MS = 60_000;
const LOOK_UPS_AT_ONCE = 4;
/** Look-ups of other nodes may come on top of those of this one's conversations. */
const WAITING_MAX = 20_000;

interface Served {
  readonly ref: ActorRef<RetrieverMessage>;
  readonly opened: WorkerKnowledge;
  /** Runs of this process that search here; the last one closes it. */
  users: number;
}

/** By node, then by the path of the actor. */
const served = new WeakMap<ClusterNode, Map<string, Served>>();

/** Does not wait for the index: other nodes may search for this one meanwhile. */
export function openRunKnowledge({
  node,
  parts,
  cacheDir,
  folder,
  logger,
}: RunKnowledgeOptions): RunKnowledge {
  const { fingerprint } = parts.spec.knowledge;
  const searchKey = searchKeyOf(parts);
  const path = retrieverPath(searchKey);
  const shared = served.get(node) ?? new Map<string, Served>();
  served.set(node, shared);
  const ended = new AbortController();
  const cleanUp = new AsyncDisposableStack();
  let local: ActorRef<RetrieverMessage> | null = null;
  let timer: NodeJS.Timeout | null = null;

  const serve = async (opened: WorkerKnowledge): Promise<void> => {
    const entry = shared.get(path) ?? {
      ref: node.system.spawn<RetrieverMessage>(
        path,
        retriever({ retriever: opened.retriever, parallel: LOOK_UPS_AT_ONCE, waitingMax: WAITING_MAX }),
      ),
      opened,
      users: 0,
    };
    entry.users += 1;
    shared.set(path, entry);
    local = entry.ref;
    cleanUp.defer(async () => {
      entry.users -= 1;
      if (entry.users > 0) return;
      shared.delete(path);
      // The actor first, then its index.
      await node.system.stopActor(entry.ref);
      await entry.opened.close();
    });
    // Another run of this process was faster.
    if (entry.opened !== opened) await opened.close();
  };

  const tryToOpen = async (): Promise<void> => {
    const blobs = await node.blobs();
    const opened = await openWorkerKnowledge({
      parts,
      blobs,
      cacheDir,
      folder,
      logger,
      signal: ended.signal,
    });
    if (opened.type === 'elsewhere') return again(opened.why, opened.isExpected);
    if (ended.signal.aborted) return await opened.close();
    await serve(opened);
    const { persistDir } = opened;
    if (persistDir === null || parts.spec.knowledge.place.type === 'place') return;
    const stop = keepPublished({ blobs, persistDir, fingerprint, logger, signal: ended.signal });
    cleanUp.defer(stop);
  };
  let failures = 0;
  let saidWhy = '';
  const again = (why: string, isExpected: boolean): void => {
    if (ended.signal.aborted) return;
    const level = isExpected ? 'info' : 'warn';
    if (why !== saidWhy)
      logger.log(level, 'retrieval', `[retrieval] other nodes search for this one: ${why}`);
    saidWhy = why;
    failures = isExpected ? 0 : failures + 1;
    timer = setTimeout(start, Math.min(RETRY_MS * 2 ** failures, RETRY_MAX_MS));
  };
  let underWay: Promise<void> = Promise.resolve();
  const start = (): void => {
    underWay = tryToOpen().catch((error: unknown) =>
      again(`the index could not be opened: ${messageOf(error)}`, false),
    );
  };
  start();

  return {
    ref: () => chooseRetriever(searchKey, local, node.membership),
    get serves() {
      return local === null ? null : searchKey;
    },
    async close() {
      ended.abort();
      if (timer !== null) clearTimeout(timer);
      await underWay;
      local = null;
      await cleanUp.disposeAsync();
    },
  };
}
