/** Makes the index of the submitting process available to the nodes of the cluster. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '../../kernel/clock.ts';
import { isObjectStore, storageOptionsOf } from '../../config/object-store.ts';
import { DlgforgeError, messageOf } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/logger.ts';
import type { BlobStore } from '../../ports/blob-store.ts';
import { packIndex } from '../../retrieval/index-archive.ts';
import { lockIndex } from '../../retrieval/index-lock.ts';
import { readManifest } from '../../retrieval/index-manifest.ts';
import type { Knowledge } from '../knowledge.ts';
import type { Project } from '../project.ts';
import type { IndexPlace } from './run-spec.ts';

export interface PublishOptions {
  readonly blobs: BlobStore;
  /** The index folder. */
  readonly persistDir: string;
  readonly fingerprint: string;
  readonly logger: Logger;
  readonly signal?: AbortSignal;
}

export const indexBlob = (fingerprint: string): string => `index-${fingerprint}`;

/** Under the writer's lock one name is enough, and a file that a dead process left is overwritten. */
const PACKED = 'publish.tmp';

/**
 * Puts the index into the blob store unless it is there; returns its name. A blob store may lose all it has,
 * so whoever has an index may call this at any time.
 * @throws DlgforgeError `retrieval` when the folder holds another index, `transport` when it cannot be stored.
 */
export async function publishIndex(options: PublishOptions): Promise<string> {
  const { blobs, persistDir, fingerprint, logger, signal } = options;
  const name = indexBlob(fingerprint);
  if (await blobs.has(name)) return name;
  const doing = 'indexing or publishing the same folder';
  const lock = await lockIndex({ persistDir, logger, clock: systemClock, doing, signal });
  const path = join(persistDir, PACKED);
  try {
    // Another process of this machine may have been faster.
    if (await blobs.has(name)) return name;
    const state = await readManifest(persistDir);
    if (state.type !== 'present' || state.manifest.fingerprint !== fingerprint) {
      throw new DlgforgeError(
        'retrieval',
        `The knowledge index in ${persistDir} is not the one that the run uses any more, so it cannot be given to other nodes. Give runs with different knowledge their own tools.retrieval.index.persist_dir.`,
      );
    }
    await rm(path, { force: true });
    await packIndex(persistDir, state.manifest, path);
    await blobs.put(name, path);
    logger.log(
      'info',
      'retrieval',
      `[retrieval] published the knowledge index to the cluster: ${state.manifest.passages} passages`,
      { fingerprint },
    );
    return name;
  } finally {
    await rm(path, { force: true });
    await lock.release();
  }
}

export interface PublishKnowledgeOptions {
  readonly project: Project;
  readonly knowledge: Pick<Knowledge, 'retriever'>;
  readonly node: { blobs(): Promise<BlobStore> };
}

/**
 * Puts the index where the configuration says that nodes find it, and returns where that is.
 * @throws DlgforgeError `retrieval` or `transport`, saying what to do.
 */
export async function publishKnowledge({
  project,
  knowledge,
  node,
}: PublishKnowledgeOptions): Promise<IndexPlace> {
  const { config, loaded, folders, logger } = project;
  const { persist_dir: place, shared } = config.tools.retrieval.index;
  const { fingerprint } = knowledge.retriever.info;
  if (isObjectStore(place)) {
    const uri = place.trim();
    const { shareIndex } = await import('../../retrieval/shared-index.ts');
    const storageOptions = storageOptionsOf(loaded.environment);
    await shareIndex({ uri, storageOptions, fingerprint, persistDir: folders.index, logger });
    return { type: 'place', uri };
  }
  if (shared) return { type: 'place', uri: folders.index };
  const blobs = await node.blobs();
  const name = await publishIndex({ blobs, persistDir: folders.index, fingerprint, logger });
  return { type: 'blob', name, folder: folders.index };
}

const LOOK_MS = 15_000;

/** Publishes the index again whenever it is gone (JetStream was wiped); a failure is said once, and tried again. */
export function keepPublished(options: PublishOptions, everyMs = LOOK_MS): () => void {
  let isLooking = false;
  let lastFailure = '';
  const look = async (): Promise<void> => {
    if (isLooking) return;
    isLooking = true;
    try {
      await publishIndex(options);
      lastFailure = '';
    } catch (error) {
      const failure = messageOf(error);
      if (failure !== lastFailure)
        options.logger.log('warn', 'retrieval', `[retrieval] the index is not published: ${failure}`);
      lastFailure = failure;
    } finally {
      isLooking = false;
    }
  };
  const timer = setInterval(() => void look(), everyMs);
  timer.unref();
  return () => clearInterval(timer);
}
