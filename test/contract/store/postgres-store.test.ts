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
