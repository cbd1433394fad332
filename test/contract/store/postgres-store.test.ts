import { afterAll, beforeAll, describe } from 'vitest';
import type { EmbeddedPostgres } from '../../../src/store/embedded-postgres.ts';
import { enterTestServer, withStore } from '../../support/embedded-store.ts';
import { storeContract } from './store-contract.ts';

describe('Postgres store', () => {
  let server: EmbeddedPostgres;
  beforeAll(async () => {
    server = await enterTestServer();
  });
  afterAll(() => server.leave());

  storeContract(withStore);
});

/** For the oldest server that is supported, and any other: name it and run this file. */
const dsn = process.env['DLGFORGE_TEST_POSTGRES_DSN'];

describe.runIf(dsn !== undefined)('Postgres store on a server of the user', () => {
  storeContract((use) => withStore(use, dsn === undefined ? {} : { dsn }));
});
