/** A conversation by its id: of the store, still open in a journal, or a file of 0.1.0. */
import { readFile } from 'node:fs/promises';
import { distance } from 'fastest-levenshtein';
import { conversationPersistenceId } from '../actors/conversation.ts';
import { languageTags } from '../dialogue/settings.ts';
import { conversationPath } from '../export/dataset-rows.ts';
import { conversationFileNames } from '../export/legacy-record.ts';
import { codeOf } from '../export/output-error.ts';
import { DlgforgeError } from '../kernel/errors.ts';
import type { DatasetId } from '../kernel/ids.ts';
import type { CommitKey, CommittedConversation, RunRecord, Store } from '../ports/store.ts';
import type { OpenedStore } from './cluster/runs-store.ts';
import { ownDatasetId } from './dataset.ts';
import { configOf } from './runs.ts';

export type StoredConversation = CommittedConversation & { readonly datasetId: DatasetId };

export type FoundConversation =
  | { readonly type: 'stored'; readonly store: Store; readonly conversation: StoredConversation }
  /** It has a journal and is not committed yet. */
  | { readonly type: 'open'; readonly store: Store; readonly key: CommitKey; readonly run: RunRecord }
  | { readonly type: 'file'; readonly path: string; readonly text: string };

/** @throws DlgforgeError `usage` naming ids that are close to it. */
export async function findConversation(
  { store, project }: Pick<OpenedStore, 'store' | 'project'>,
  id: string,
): Promise<FoundConversation> {
  const outputDir = project?.folders.output ?? null;
  const stored = store === null ? null : await storedAs(store, outputDir, id);
  if (store !== null && stored !== null) return { type: 'stored', store, conversation: stored };
  const runs = store === null ? [] : await store.listRuns();
  if (store !== null) {
    const open = await openAs(store, runs, id);
    if (open !== null) return open;
  }
  const file = outputDir === null ? null : await fileOf(outputDir, id);
  if (file !== null) return file;
  throw noSuchConversation(id, await closeIds(id, store, runs, outputDir));
}

/** Of several datasets that have it, the project's own. */
async function storedAs(
  store: Store,
  outputDir: string | null,
  id: string,
): Promise<StoredConversation | null> {
  const found = await store.findConversations(id);
  if (found.length < 2 || outputDir === null) return found[0] ?? null;
  const own = await ownDatasetId(store, outputDir);
  return found.find(({ datasetId }) => datasetId === own) ?? found[0] ?? null;
}

async function openAs(
  store: Store,
  runs: readonly RunRecord[],
  id: string,
): Promise<FoundConversation | null> {
  for (const run of runs) {
    const { head, number } = /^(?<head>.*)-(?<number>\d{4,})$/s.exec(id)?.groups ?? {};
    const languageIndex = headsOf(run).indexOf(head ?? '');
    if (head === undefined || number === undefined || languageIndex < 0) continue;
    const key = { runId: run.id, languageIndex, index: Number(number) };
    const journal = conversationPersistenceId(key.runId, key.languageIndex, key.index);
    if ((await store.journal.read(journal)).length > 0) return { type: 'open', store, key, run };
  }
  return null;
}

/** What ids of a run begin with, by language (`conversationIdOf`). */
function headsOf(run: RunRecord): string[] {
  const languages = languageTags(configOf(run).run.target_languages);
  return languages.map(({ tag }) => (languages.length > 1 ? `${run.id}-${tag}` : run.id));
}

async function fileOf(
  outputDir: string,
  id: string,
): Promise<Extract<FoundConversation, { type: 'file' }> | null> {
  if (!(await conversationFileNames(outputDir)).includes(`${id}.json`)) return null;
  const path = conversationPath(outputDir, id);
  try {
    return { type: 'file', path, text: await readFile(path, 'utf8') };
  } catch (error) {
    throw new DlgforgeError(
      'output',
      `${path} cannot be read (${codeOf(error)}). Make it readable for this user.`,
      {
        cause: error,
      },
    );
  }
}

const SHOWN_IDS = 5;
/** Ids that are compared; a run of this size is told by its first ones. */
const COMPARED_IDS_MAX = 20_000;

async function closeIds(
  id: string,
  store: Store | null,
  runs: readonly RunRecord[],
  outputDir: string | null,
): Promise<string[]> {
  const known = new Set<string>();
  const add = (candidate: string): unknown => known.size < COMPARED_IDS_MAX && known.add(candidate);
  for (const run of store === null ? [] : runs) {
    const heads = headsOf(run);
    for (const { languageIndex, nextIndex } of (await store?.runCounts(run.id)) ?? [])
      for (let index = 0; index < nextIndex; index += 1)
        add(`${heads[languageIndex]}-${String(index).padStart(4, '0')}`);
  }
  if (outputDir !== null)
    for (const name of await conversationFileNames(outputDir)) add(name.replace(/\.json$/, ''));
  const farthest = Math.max(3, Math.ceil(id.length / 3));
  return [...known]
    .map((candidate) => ({
      candidate,
      far: candidate.startsWith(id) || candidate.endsWith(id) ? 0 : distance(candidate, id),
    }))
    .filter(({ far }) => far <= farthest)
    .toSorted((a, b) => a.far - b.far || (a.candidate < b.candidate ? -1 : 1))
    .slice(0, SHOWN_IDS)
    .map(({ candidate }) => candidate);
}

function noSuchConversation(id: string, close: readonly string[]): DlgforgeError {
  const hint =
    close.length > 0
      ? `Close to it: ${close.join(', ')}.`
      : 'The ids are in conversations_index.jsonl of the output folder; `dlgforge runs list` shows the runs.';
  return new DlgforgeError('output', `There is no conversation ${JSON.stringify(id)}. ${hint}`);
}
