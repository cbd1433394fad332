/**
 * A folder becomes the content of a repository on the Hugging Face Hub, in one commit.
 *
 * H1  One commit carries all files that differ and all deletions (I9 of 0.1.0's faults: it deleted first).
 * H2  A commit whose fate is unknown is looked up on the Hub before it is tried again.
 * H3  The token goes to the Hub and into nothing else (I8).
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import {
  checkRepoAccess,
  type CommitOperation,
  commitIter,
  createRepo,
  listFiles,
  whoAmI,
} from '@huggingface/hub';
import { DlgforgeError } from '../../kernel/errors.ts';
import { hubError } from './hub-error.ts';
import { statusOf } from './hub-failure.ts';
import {
  ATTEMPTS_MAX,
  backOffMs,
  type HubConnection,
  hubFetch,
  isConnectionError,
  isPassing,
  TOKEN_STAND_IN,
} from './hub-fetch.ts';
import { changesOf, type LocalFile, localFiles, type RemoteFile } from './remote-files.ts';

export type RepoType = 'dataset' | 'model' | 'space';

export interface HubAccess extends HubConnection {
  readonly repoType: RepoType;
  /** `owner/name`, or a name alone for the owner of the token. */
  readonly repoId: string;
}

export interface UploadOptions extends HubAccess {
  readonly folder: string;
  /** Below the folder, with `/`. */
  readonly isLeftOut: (path: string) => boolean;
  readonly private: boolean;
  readonly commitMessage: string;
  /** Also delete what the folder does not hold. */
  readonly cleanRemote: boolean;
  readonly onStatus: (text: string) => void;
}

export interface Uploaded {
  /** `owner/name`. */
  readonly repoId: string;
  /** Where people see it. */
  readonly url: string;
  /** Null when the Hub held the same already. */
  readonly commit: string | null;
  readonly files: number;
  readonly bytes: number;
  /** Files whose bytes went to the Hub, and files that were deleted there. */
  readonly changed: number;
  readonly deleted: number;
}

interface Session {
  readonly repo: { readonly type: RepoType; readonly name: string };
  readonly client: ReturnType<typeof clientOf>;
}

/**
 * Asks the Hub who we are, so that a refused token is known before anything is built.
 * @returns the full name of the repository.
 * @throws DlgforgeError `hub`, `cancelled`.
 */
export async function checkHubAccess(access: HubAccess): Promise<string> {
  return await guarded(access, 'say whose token this is', async () => {
    const isWhole = access.repoId.includes('/');
    try {
      const { name } = await whoAmI(clientOf(access));
      return isWhole ? access.repoId : `${name}/${access.repoId}`;
    } catch (error) {
      // Not every hub answers this, nor to every token; what we may do there shows when we do it.
      const status = statusOf(error);
      if (isWhole && status !== null && status !== 401 && !isPassing(status)) return access.repoId;
      throw error;
    }
  });
}

/**
 * Safe to call again after any failure. @throws DlgforgeError `hub`, `output` for an empty folder, `cancelled`.
 */
export async function uploadFolder(options: UploadOptions): Promise<Uploaded> {
  const local = await localFiles(options.folder, options.isLeftOut);
  if (local.length === 0) {
    throw new DlgforgeError(
      'output',
      `There is nothing to upload: ${options.folder} holds no files. Run the command without --no-export to build it.`,
    );
  }
  const name = await checkHubAccess(options);
  const access = { ...options, repoId: name };
  const session: Session = { repo: { type: options.repoType, name }, client: clientOf(options) };
  await guarded(access, 'create the repository', () => ensureRepo(session, options));
  const made = await guarded(access, 'take the commit', () => commitFolder(session, options, local));
  return {
    repoId: name,
    url: repoUrl(access),
    files: local.length,
    bytes: local.reduce((sum, { bytes }) => sum + bytes, 0),
    ...made,
  };
}

export function repoUrl({
  hubUrl,
  repoType,
  repoId,
}: Pick<HubAccess, 'hubUrl' | 'repoType' | 'repoId'>): string {
  return `${hubUrl}/${repoType === 'model' ? '' : `${repoType}s/`}${repoId}`;
}

const clientOf = (connection: HubConnection) => ({
  hubUrl: connection.hubUrl,
  fetch: hubFetch(connection),
  accessToken: TOKEN_STAND_IN,
});

async function guarded<T>(access: HubAccess, doing: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (access.stop.aborted) {
      throw new DlgforgeError(
        'cancelled',
        'Stopped. Either the whole commit is on the Hub or nothing of it; run the same command again to finish.',
      );
    }
    throw hubError(error, doing, { hubUrl: access.hubUrl, repo: access.repoId, token: access.token });
  }
}

/** A repository that is there is fine; so is one that the token may write to but not create. */
async function ensureRepo({ repo, client }: Session, options: UploadOptions): Promise<void> {
  try {
    await createRepo({
      ...client,
      repo,
      visibility: options.private ? 'private' : 'public',
      ...(repo.type === 'space' ? { sdk: 'static' as const } : {}),
    });
  } catch (error) {
    if (statusOf(error) === 409) return;
    if (statusOf(error) !== 403) throw error;
    try {
      await checkRepoAccess({ ...client, repo });
    } catch {
      throw error;
    }
  }
}

type Made = Pick<Uploaded, 'commit' | 'changed' | 'deleted'>;

async function commitFolder(
  session: Session,
  options: UploadOptions,
  local: readonly LocalFile[],
): Promise<Made> {
  for (let attempt = 1; ; attempt += 1) {
    options.onStatus('comparing with the Hub');
    const remote = await remoteFiles(session, options);
    const { put, remove } = await changesOf(local, remote, options.cleanRemote);
    const counts = { changed: put.length, deleted: remove.length };
    if (put.length + remove.length === 0) return { commit: null, ...counts };
    const operations: CommitOperation[] = [
      ...put.map(({ path, absolute }) => ({
        operation: 'addOrUpdate' as const,
        path,
        content: pathToFileURL(absolute),
      })),
      ...remove.map((path) => ({ operation: 'delete' as const, path })),
    ];
    const made = await commit(session, options, operations);
    if (made.type === 'done') return { commit: made.oid, ...counts };
    if (attempt === ATTEMPTS_MAX || options.stop.aborted || !mayTryAgain(made.error)) throw made.error;
    options.onWaiting('the commit was not confirmed; looking at the Hub before trying again');
    await sleep(backOffMs(attempt, options.firstDelayMs ?? 1000), undefined, { signal: options.stop });
  }
}

/** Somebody else has committed in between, or nobody knows what became of ours (H2). */
function mayTryAgain(error: unknown): boolean {
  const status = statusOf(error);
  return (
    isConnectionError(error) || status === 409 || status === 412 || (status !== null && isPassing(status))
  );
}

/** A hub that cannot list what it holds gets everything; deleting needs the list. */
async function remoteFiles(
  { repo, client }: Session,
  { cleanRemote }: UploadOptions,
): Promise<readonly RemoteFile[]> {
  const found: RemoteFile[] = [];
  try {
    for await (const entry of listFiles({ ...client, repo, recursive: true })) {
      if (entry.type !== 'file') continue;
      found.push({
        path: entry.path,
        bytes: entry.lfs?.size ?? entry.size,
        digest:
          entry.lfs !== undefined
            ? { algorithm: 'sha256', hex: entry.lfs.oid }
            : entry.oid === undefined
              ? null
              : { algorithm: 'git', hex: entry.oid },
      });
    }
  } catch (error) {
    // A repository without a commit has no list either.
    if (statusOf(error) !== 404 && (cleanRemote || statusOf(error) !== 405)) throw error;
    return [];
  }
  return found;
}

type CommitOutcome =
  | { readonly type: 'done'; readonly oid: string }
  /** It was sent, and no confirmation came. */
  | { readonly type: 'unconfirmed'; readonly error: unknown };

/** @throws what went wrong before the commit was sent. */
async function commit(
  { repo, client }: Session,
  { commitMessage, stop, onStatus }: UploadOptions,
  operations: CommitOperation[],
): Promise<CommitOutcome> {
  const events = commitIter({ ...client, repo, title: commitMessage, operations, abortSignal: stop });
  const uploaded = new Set<string>();
  let isSent = false;
  try {
    for (;;) {
      const next = await events.next();
      if (next.done === true) return { type: 'done', oid: next.value?.commit.oid ?? '' };
      const event = next.value;
      if (event.event === 'phase') {
        onStatus(PHASES[event.phase]);
        isSent = event.phase === 'committing';
      } else if (event.state === 'uploading' && event.progress === 1 && !uploaded.has(event.path)) {
        uploaded.add(event.path);
        onStatus(`uploaded ${event.path} (large file ${uploaded.size})`);
      }
    }
  } catch (error) {
    if (isSent) return { type: 'unconfirmed', error };
    throw error;
  }
}

const PHASES = {
  preuploading: 'asking the Hub how it wants the files',
  uploadingLargeFiles: 'uploading the large files',
  committing: 'committing',
} as const;
