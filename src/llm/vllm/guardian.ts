/**
 * A process that ends a server when the process that started it has gone:
 *
 *   node guardian.ts <file with the server's record>
 *
 * Its standard input comes from the starter, and ends with it. Until then a shell waits in its place (see
 * guardians.ts), so this file mostly runs when there is something to do.
 */
import { killTree } from './process-tree.ts';
import { readRecord, treeOf } from './server-records.ts';
import { rmSync } from 'node:fs';

process.stdin
  .resume()
  .once('end', () => void endServer())
  .once('error', () => void endServer());

async function endServer(): Promise<void> {
  process.stdin.destroy();
  const path = process.argv[2] ?? '';
  const record = readRecord(path);
  // No record: it has been ended in order, or by the other guardian.
  if (record === null) return;
  const left = await killTree(treeOf(record));
  // What could not be ended stays on record for the next sweep.
  if (left.length === 0) rmSync(path, { force: true });
}
