/** The store of a project: the embedded database below it, or the server that the configuration names. */
import type { Store } from '../ports/store.ts';
import { openStore } from '../store/open-store.ts';
import type { Project } from './project.ts';

export interface ProjectStoreOptions {
  /** Told what the store waits for, and null when it is over. */
  readonly onWaiting?: (message: string | null) => void;
}

/** @throws DlgforgeError `store`. */
export function openProjectStore({ config, folders, loaded, logger }: Project, options: ProjectStoreOptions = {}): Promise<Store> {
  const { postgres } = config.store;
  return openStore({
    dsn: postgres.dsn?.reveal(),
    stateDir: folders.state,
    runtimeDir: loaded.environment['XDG_RUNTIME_DIR'],
    poolMin: postgres.min_pool_size,
    poolMax: postgres.max_pool_size,
    statementTimeoutMs: postgres.statement_timeout_ms,
    ...(options.onWaiting === undefined ? {} : { onWaiting: options.onWaiting }),
    logger,
  });
}
