/** A process that projects a sample dataset and is killed at its n-th write: `<folder> <commits> <step> [rebuild]`. */
import { DEFAULT_COLUMNS } from '../../../src/dialogue/sharegpt-record.ts';
import { openProjection } from '../../../src/export/projection.ts';
import { arrayStore, DATASET, sampleAnswers } from './sample-dataset.ts';

const [folder = '', commits = '0', killStep = '-1', mode = 'catch-up'] = process.argv.slice(2);
let step = 0;
const projection = await openProjection({
  outputDir: folder,
  projectRoot: folder,
  datasetId: DATASET,
  store: arrayStore(Number(commits)),
  columns: DEFAULT_COLUMNS,
  journalAnswers: sampleAnswers,
  onStep: () => {
    if (step === Number(killStep)) process.kill(process.pid, 'SIGKILL');
    step += 1;
  },
});
if (mode === 'rebuild') await projection.rebuild();
else await projection.catchUp();
await projection.close();
