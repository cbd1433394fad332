import { DlgforgeError } from '../kernel/errors.ts';
import { indexFingerprint } from './index-fingerprint.ts';
import type { Manifest } from './index-manifest.ts';
import { PassageTables } from './passage-table.ts';

/**
 * Reads every passage of an index that came from elsewhere and compares them with its fingerprint.
 * @throws DlgforgeError `retrieval` when it is not the index that it says it is.
 */
export async function checkIndex(folder: string, manifest: Manifest): Promise<void> {
  const { identity, fingerprint, passages } = manifest;
  const tables = await PassageTables.connect(folder);
  try {
    const table = await tables.open(manifest.table, identity.embedder?.dimension ?? null);
    try {
      const found = indexFingerprint(identity);
      let count = 0;
      for await (const { passage } of table.passages(false)) {
        found.add(passage);
        count += 1;
      }
      if (count === passages && found.digest() === fingerprint) return;
      throw new DlgforgeError(
        'retrieval',
        `The knowledge index in ${folder} does not hold what its manifest says: ${count} of ${passages} passages, or other ones.`,
      );
    } finally {
      table.close();
    }
  } finally {
    tables.close();
  }
}
