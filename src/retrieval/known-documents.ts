/** The documents of an index with the ids of their passages, read without opening it for search. */
import type { DocumentEntry } from '../dialogue/passage.ts';
import { readManifest } from './index-manifest.ts';
import { markReader } from './index-readers.ts';
import { PassageTables } from './passage-table.ts';

/** Null when there is no index to read. @throws DlgforgeError `retrieval` when it is damaged. */
export async function knownDocuments(persistDir: string): Promise<readonly DocumentEntry[] | null> {
  const state = await readManifest(persistDir);
  if (state.type !== 'present') return null;
  const { table: name, identity } = state.manifest;
  const unmark = await markReader(persistDir, name);
  try {
    const tables = await PassageTables.connect(persistDir);
    try {
      const table = await tables.open(name, identity.embedder?.dimension ?? null);
      const documents = new Map<string, string[]>();
      for await (const { passage } of table.passages(false)) {
        const ids = documents.get(passage.source) ?? [];
        ids.push(passage.id);
        documents.set(passage.source, ids);
      }
      return [...documents].map(([source, passageIds]) => ({ source, passageIds }));
    } finally {
      tables.close();
    }
  } finally {
    await unmark();
  }
}
