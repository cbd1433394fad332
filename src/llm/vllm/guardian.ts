/**
 * A process that ends a server when the process that started it has gone:
 *
 *   node guardian.ts <file with the server's record>
 *
 * Its standard input comes from the starter, and ends with it. Until then a shell waits in its place (see
 * guardians.ts). It imports next to nothing, because every millisecond of its start is one in which a server
 * without an owner holds GPUs.
 */
import { readFileSync, rmSync } from 'node:fs';
import { killTree, type ServerTree } from './process-tree.ts';

const path = process.argv[2] ?? '';
process.stdin
  .resume()
  .once('end', () => void endServer())
  .once('error', () => void endServer());

async function endServer(): Promise<void> {
  process.stdin.destroy();
  const tree = recordedTree();
  if (tree === null) return;
  const left = await killTree(tree);
  // What could not be ended stays on record for the next sweep.
  if (left.length === 0) rmSync(path, { force: true });
}

/** Null when there is no record: the server has been ended in order, or by the other guardian. */
function recordedTree(): ServerTree | null {
  try {
    const { mark, program } = JSON.parse(readFileSync(path, 'utf8')) as ServerTree;
    return { mark, program };
  } catch {
    return null;
  }
}
