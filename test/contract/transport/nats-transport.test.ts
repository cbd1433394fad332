import { afterAll, beforeAll } from 'vitest';
import { startTestNats, type TestNats } from '../../support/nats-server.ts';
import { broadcastContract } from './broadcast-contract.ts';
import { natsHarness } from './nats-harness.ts';
import { transportContract } from './transport-contract.ts';

let server: TestNats;

beforeAll(async () => {
  server = await startTestNats();
});

afterAll(() => server.remove());

transportContract(
  'nats',
  natsHarness(() => server),
);
broadcastContract(
  'nats',
  natsHarness(() => server),
);
