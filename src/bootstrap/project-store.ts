/** The store of a project: the embedded database below it, or the server that the configuration names. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Store } from '../ports/store.ts';
import { openStore, type OpenStoreOptions } from '../store/open-store.ts';
import type { Project } from './project.ts';

export interface ProjectStoreOptions {
  /** Told what the store waits for, and null when it is over. */
  readonly onWaiting?: (message: string | null) => void;
}

/** @throws DlgforgeError `store`. */
export function openProjectStore(project: Project, options: ProjectStoreOptions = {}): Promise<Store> {
  return openStore(storeOptions(project, options));
}

/** False before the first run of a project: the embedded database is made when something is to be stored. */
export function hasStore({ config, folders }: Project): boolean {
  return config.store.postgres.dsn !== null || existsSync(join(folders.state, 'postgres'));
}

export function storeOptions(
  { config, folders, loaded, logger }: Project,
  options: ProjectStoreOptions = {},
): OpenStoreOptions {
  const { postgres } = config.store;
  return {
    dsn: postgres.dsn?.reveal(),
    stateDir: folders.state,
    runtimeDir: loaded.environment['XDG_RUNTIME_DIR'],
    poolMin: postgres.min_pool_size,
    poolMax: postgres.max_pool_size,
    statementTimeoutMs: postgres.statement_timeout_ms,
    ...(options.onWaiting === undefined ? {} : { onWaiting: options.onWaiting }),
    logger,
  };
}
