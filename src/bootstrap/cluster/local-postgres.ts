/**
 * The embedded database of a head. Other processes of this machine start it themselves when they need it; those
 * on other machines cannot, so the head looks after it: owns one presence in it, and brings it back when it dies.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf } from '../../kernel/errors.ts';
import { type Logger, silentLogger } from '../../kernel/logger.ts';
import { EmbeddedPostgres, type EmbeddedListen } from '../../store/embedded-postgres.ts';

export interface LocalPostgresOptions {
  readonly stateDir: string;
  readonly runtimeDir: string | undefined;
  /** Null: by its Unix socket only. */
  readonly listen: EmbeddedListen | null;
  readonly logger: Logger;
}

export interface LocalPostgres {
  /** Where other machines reach it; null: not at all. */
  readonly port: number | null;
  /** With the password in it (I8). @param host the name by which they reach this machine */
  dsnForOthers(host: string): string;
  /** Leaves; the last one stops the server. Idempotent. */
  leave(): Promise<void>;
}

/** While it is up, a look costs nothing. */
const LOOK_MS = 500;

/** @throws DlgforgeError `store`. */
export async function keepPostgres(options: LocalPostgresOptions): Promise<LocalPostgres> {
  const { stateDir, runtimeDir, listen, logger } = options;
  const server = await EmbeddedPostgres.open({
    stateDir,
    runtimeDir,
    logger,
    ...(listen === null ? {} : { listen }),
  });
  let looking: Promise<void> | null = null;
  const timer = setInterval(() => {
    looking ??= server
      .ensure()
      .catch((error: unknown) => {
        logger.log('warn', 'store', `[store] the embedded database does not come back: ${messageOf(error)}`);
      })
      .finally(() => {
        looking = null;
      });
  }, LOOK_MS);
  let leaving: Promise<void> | null = null;
  return {
    port: server.tcp?.port ?? null,
    dsnForOthers: (host) => server.dsnForOthers(host),
    leave() {
      leaving ??= (async () => {
        clearInterval(timer);
        await looking;
        await server.leave();
      })();
      return leaving;
    },
  };
}

/** Stops the server of a head that was killed, unless another process is in it. True when it did. */
export async function stopLeftPostgres(stateDir: string, runtimeDir: string | undefined): Promise<boolean> {
  const isThere = (): boolean => existsSync(join(stateDir, 'postgres', 'postmaster.pid'));
  if (!isThere()) return false;
  const server = await EmbeddedPostgres.open({ stateDir, runtimeDir, logger: silentLogger });
  await server.leave();
  return !isThere();
}
