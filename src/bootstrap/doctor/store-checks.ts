/** The database: whether it opens, how far its tables are, and whether somebody is writing the dataset. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspectStore, type StoreInspection } from '../../store/open-store.ts';
import { ownDatasetId } from '../dataset.ts';
import { holderText, livingHolder } from '../hold.ts';
import { hasStore, openProjectStore, storeOptions } from '../project-store.ts';
import type { Project } from '../project.ts';
import { type Check, guarded, ok, problem, warning } from './check.ts';

export async function storeChecks(project: Project): Promise<readonly Check[]> {
  let isCurrent = false;
  const store = await guarded('store', async () => {
    const inspection = hasStore(project) ? await inspectStore(storeOptions(project)) : null;
    isCurrent = inspection !== null && inspection.version === inspection.newest;
    return [inspection === null ? await newStoreCheck(project) : storeCheck(inspection)];
  });
  // Opening an older store would change its tables, and one without tables has no dataset.
  return isCurrent ? [...store, ...(await guarded('dataset', () => datasetChecks(project)))] : store;
}

function storeCheck(found: StoreInspection): Check {
  const where = `${found.description}, Postgres ${found.serverVersion}`;
  if (!found.supported) {
    const hint = 'Name a newer server in store.postgres.dsn, or leave it empty for the embedded one.';
    return problem('store', `${where}: dlgforge needs 14 or newer.`, hint);
  }
  if (found.version > found.newest) {
    const hint = 'Update dlgforge on this machine, or name another database in store.postgres.dsn.';
    return problem('store', `${where}: its tables are of a newer dlgforge (version ${found.version}).`, hint);
  }
  if (found.version === found.newest)
    return ok('store', `${where}, tables up to date (version ${found.version})`);
  if (!found.mayMigrate) {
    const hint = 'Give this user the right to create a schema and tables there, or name another database.';
    return problem('store', `${where}: this user may not make the tables.`, hint);
  }
  const from = found.version === 0 ? 'it has no tables yet' : `its tables are of version ${found.version}`;
  return ok('store', `${where}; ${from}, and the next run brings them to version ${found.newest}`);
}

/** Before the first run: whether the embedded database works on this machine, in a folder that goes again. */
async function newStoreCheck(project: Project): Promise<Check> {
  const stateDir = await mkdtemp(join(tmpdir(), 'dlgforge-doctor-'));
  try {
    const { serverVersion } = await inspectStore({ ...storeOptions(project), stateDir });
    const where = join(project.folders.state, 'postgres');
    return ok('store', `embedded Postgres ${serverVersion} works; the first run makes it in ${where}`);
  } finally {
    await rm(stateDir, { recursive: true, force: true });
  }
}

async function datasetChecks(project: Project): Promise<Check[]> {
  const store = await openProjectStore(project);
  try {
    const id = await ownDatasetId(store, project.folders.output);
    if (id === null) return [ok('dataset', 'none in the output folder yet')];
    const holder = await livingHolder(store, id);
    if (holder === null) return [ok('dataset', `${id}, free to be written`)];
    return [
      warning(
        'dataset',
        `${holderText(holder)} is writing it now.`,
        'A run has to wait until that process is done.',
      ),
    ];
  } finally {
    await store.close();
  }
}
