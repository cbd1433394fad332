/** Replaces an export and ends itself, as by kill -9, at a step: `node export-folder-child.ts <target> <step>`. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { replaceExport } from '../../../../src/export/dataset/export-folder.ts';

const [target = '', at = ''] = process.argv.slice(2);

const dieAt = (step: string): void => {
  if (step === at) process.kill(process.pid, 'SIGKILL');
};

await replaceExport(
  {
    target,
    never: [],
    builder: { host: 'here', pid: process.pid, processKey: `child ${process.pid}` },
    isAlive: () => false,
    onStep: dieAt,
  },
  async (folder) => {
    dieAt('started');
    await writeFile(join(folder, 'a.txt'), 'new');
    dieAt('half');
    await writeFile(join(folder, 'b.txt'), 'new');
    return { records: 2, rehearsal: false };
  },
);
