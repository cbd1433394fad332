import { afterAll, beforeAll, describe } from 'vitest';
import type { EmbeddedPostgres } from '../../../src/store/embedded-postgres.ts';
import { enterTestServer, withStore } from '../../support/embedded-store.ts';
import { clusterContract } from './cluster-contract.ts';
import { runEndpointsContract } from './run-endpoints-contract.ts';
import { storeContract, type UseStore } from './store-contract.ts';
import { verdictContract } from './verdict-contract.ts';

describe('Postgres store', () => {
  let server: EmbeddedPostgres;
  beforeAll(async () => {
    server = await enterTestServer();
  });
  afterAll(() => server.leave());

  storeContract(withStore);
  clusterContract(withStore);
  verdictContract(withStore);
  runEndpointsContract(withStore);
});

/** For the oldest server that is supported, and any other: name it and run this file. */
const dsn = process.env['DLGFORGE_TEST_POSTGRES_DSN'];

describe.runIf(dsn !== undefined)('Postgres store on a server of the user', () => {
  const use: UseStore = (work) => withStore(work, dsn === undefined ? {} : { dsn });
  storeContract(use);
  clusterContract(use);
  verdictContract(use);
  runEndpointsContract(use);
});
