import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { silentLogger } from '../../../../src/kernel/logger.ts';
import { type Order, type OrderKind, WorkOrders } from '../../../../src/transport/nats/work-orders.ts';

const item = (index: number) => ({ runId: 'r', languageIndex: 0, index, priority: index });

/** A queue that does what it is told: which items are there, and how often each was published anew. */
class Server {
  readonly items = new Map<number, number>();
  underWay = 0;
  underWayMax = 0;
  failures = 0;

  async perform(order: Order): Promise<void> {
    this.underWay += 1;
    this.underWayMax = Math.max(this.underWay, this.underWayMax);
    await new Promise((resolve) => setImmediate(resolve));
    this.underWay -= 1;
    if (this.failures > 0) {
      this.failures -= 1;
      throw new Error('away');
    }
    this.carryOut(order);
  }

  carryOut(order: Order): void {
    if (order.kind === 'drop') return this.items.clear();
    const { index } = order.item;
    const before = this.items.get(index);
    if (order.kind === 'withdraw') this.items.delete(index);
    else if (before === undefined || order.kind === 'republish') this.items.set(index, (before ?? 0) + 1);
  }
}

const namesIn = ({ items }: Server): number[] => [...items.keys()].toSorted((a, b) => a - b);

function ordersOf(server: Server, isConnected = (): boolean => true) {
  let overflows = 0;
  const orders = new WorkOrders({
    logger: silentLogger,
    perform: (order) => server.perform(order),
    isConnected,
    onOverflow: () => {
      overflows += 1;
    },
  });
  return { orders, overflows: () => overflows };
}

test('whatever is ordered in whatever rhythm, the same items are there in the end', async () => {
  const step = fc.record({
    kind: fc.constantFrom<OrderKind>('publish', 'republish', 'withdraw'),
    index: fc.nat({ max: 3 }),
    pause: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
      const [server, plain] = [new Server(), new Server()];
      const { orders } = ordersOf(server);
      for (const { kind, index, pause } of steps) {
        orders.add({ kind, item: item(index) });
        plain.carryOut({ kind, item: item(index) });
        if (pause) await new Promise((resolve) => setImmediate(resolve));
      }
      await expect.poll(() => namesIn(server)).toEqual(namesIn(plain));
      orders.close();
    }),
    { numRuns: 50 },
  );
});

test('what fails is tried again, and no more than a bound is under way', async () => {
  const server = new Server();
  server.failures = 70;
  const { orders } = ordersOf(server);
  for (let index = 0; index < 500; index += 1) orders.add({ kind: 'publish', item: item(index) });
  await expect.poll(() => server.items.size, { timeout: 5_000 }).toBe(500);
  expect(server.underWayMax).toBe(64);
  orders.close();
});

test('while nobody is there orders wait, merged; beyond a bound the loss is told when there is room', async () => {
  const server = new Server();
  let isConnected = false;
  const { orders, overflows } = ordersOf(server, () => isConnected);
  for (let round = 0; round < 3; round += 1)
    for (let index = 0; index < 100_001; index += 1) orders.add({ kind: 'publish', item: item(index) });
  expect(overflows()).toBe(0);
  orders.add({ kind: 'drop', runId: 'r' });
  orders.add({ kind: 'publish', item: item(7) });
  isConnected = true;
  orders.resume();
  await expect.poll(() => [...server.items]).toEqual([[7, 1]]);
  expect(overflows()).toBe(1);
  orders.close();
});
