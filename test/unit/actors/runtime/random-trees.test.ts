/** Random trees of actors under random work, failures and stops, on a simulated clock. */
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import type { ActorDefinition, ActorSystem, RestartPolicy } from '../../../../src/actors/runtime/types.ts';
import { actorRef } from '../../../../src/actors/runtime/types.ts';
import { startBench } from './fixtures.ts';

interface Order {
  readonly id: number;
  readonly type: 'work' | 'crash' | 'stop';
  /** Event-loop turns that the handler takes. */
  readonly turns: number;
}

interface Shape {
  readonly policy: RestartPolicy;
  readonly children: readonly Shape[];
}

type Step =
  | { readonly type: 'tell'; readonly target: number; readonly order: Omit<Order, 'id'> }
  | { readonly type: 'advance'; readonly ms: number }
  | { readonly type: 'turns'; readonly count: number };

const policy: fc.Arbitrary<RestartPolicy> = fc.record({
  maxRestarts: fc.nat(3),
  withinMs: fc.constant(2_000),
  backoffMinMs: fc.constant(10),
  backoffMaxMs: fc.constant(100),
  onGivenUp: fc.constantFrom('stop' as const, 'escalate' as const),
});

const shapeOf = (depth: number): fc.Arbitrary<Shape> =>
  fc.record({
    policy,
    children: depth === 0 ? fc.constant([]) : fc.array(shapeOf(depth - 1), { maxLength: 3 }),
  });

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      type: fc.constant('tell' as const),
      target: fc.nat(1_000),
      order: fc.record({
        type: fc.oneof(
          { weight: 6, arbitrary: fc.constant('work' as const) },
          { weight: 2, arbitrary: fc.constant('crash' as const) },
          { weight: 1, arbitrary: fc.constant('stop' as const) },
        ),
        turns: fc.nat(3),
      }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('advance' as const), ms: fc.nat(500) }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('turns' as const), count: fc.nat(6) }) },
);

/** Watches that the promises are kept while a tree runs, and remembers what was handled. */
class Ledger {
  readonly handled = new Map<number, number>();
  readonly starts = new Map<string, number[]>();
  readonly breaches: string[] = [];
  /** Paths whose behaviour has started and not been stopped. */
  readonly #alive = new Set<string>();
  readonly #inHand = new Set<string>();

  started(path: string, atMs: number): void {
    if (this.#alive.has(path)) this.breaches.push(`${path} started twice`);
    this.#alive.add(path);
    this.starts.set(path, [...(this.starts.get(path) ?? []), atMs]);
  }

  begin(path: string, id: number): void {
    if (!this.#alive.has(path)) this.breaches.push(`${path} handled ${id} after its end`);
    if (this.#inHand.has(path)) this.breaches.push(`${path} ran two handlers at once`);
    this.#inHand.add(path);
    this.handled.set(id, (this.handled.get(id) ?? 0) + 1);
  }

  end(path: string): void {
    this.#inHand.delete(path);
  }

  stopped(path: string): void {
    if (this.#inHand.has(path)) this.breaches.push(`${path} stopped in a handler`);
    const living = [...this.#alive].filter((other) => other.startsWith(`${path}/`));
    if (living.length > 0) this.breaches.push(`${path} stopped before ${living.join(', ')}`);
    this.#alive.delete(path);
  }

  get alive(): number {
    return this.#alive.size;
  }
}

function member(ledger: Ledger, { policy, children }: Shape): ActorDefinition<Order> {
  return {
    kind: 'member',
    restart: policy,
    mailbox: { capacity: 20 },
    start(context) {
      const { path } = context.self;
      for (const [index, child] of children.entries()) context.spawn(`${index}`, member(ledger, child));
      ledger.started(path, context.clock.now());
      return {
        async receive({ id, type, turns }) {
          ledger.begin(path, id);
          for (let turn = 0; turn < turns; turn += 1) await new Promise((resolve) => setImmediate(resolve));
          ledger.end(path);
          if (type === 'crash') throw new Error(`order ${id}`);
          if (type === 'stop') context.stopSelf();
        },
        async stopped() {
          await Promise.resolve();
          ledger.stopped(path);
        },
      };
    },
  };
}

const pathsOf = (shape: Shape, path: string): string[] => [
  path,
  ...shape.children.flatMap((child, index) => pathsOf(child, `${path}/${index}`)),
];

const policiesOf = (shape: Shape, path: string): (readonly [string, RestartPolicy])[] => [
  [path, shape.policy],
  ...shape.children.flatMap((child, index) => policiesOf(child, `${path}/${index}`)),
];

async function play(
  system: ActorSystem,
  advance: (ms: number) => void,
  paths: readonly string[],
  steps: readonly Step[],
): Promise<number> {
  let told = 0;
  for (const step of steps) {
    if (step.type === 'advance') advance(step.ms);
    else if (step.type === 'turns')
      for (let turn = 0; turn < step.count; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    else {
      const path = paths[step.target % paths.length] as string;
      system.tell(actorRef<Order>('a', path), { ...step.order, id: told });
      told += 1;
    }
  }
  return told;
}

test('children end before parents, a message is handled at most once and counted, restarts stay in limits', async () => {
  await fc.assert(
    fc.asyncProperty(
      shapeOf(3),
      fc.array(step, { maxLength: 80 }),
      fc.boolean(),
      async (shape, steps, patient) => {
        const bench = startBench();
        const ledger = new Ledger();
        bench.system.spawn('root', member(ledger, shape));
        const told = await play(bench.system, (ms) => bench.clock.advance(ms), pathsOf(shape, 'root'), steps);
        if (patient) await bench.settle();
        await bench.system.stop();
        await bench.settle();

        expect(ledger.breaches).toEqual([]);
        expect(ledger.alive).toBe(0);
        expect(Math.max(0, ...ledger.handled.values())).toBeLessThanOrEqual(1);
        expect(ledger.handled.size + bench.system.deadLetterCount).toBe(told);
        expect(bench.clock.pending).toBe(0);
        for (const [path, { maxRestarts }] of policiesOf(shape, 'root')) {
          // Restarts of a parent start its children anew, with a new budget each.
          const parents = Math.max(
            1,
            path.includes('/') ? (ledger.starts.get(path.slice(0, path.lastIndexOf('/'))) ?? []).length : 1,
          );
          const times = ledger.starts.get(path) ?? [];
          const mostInWindow = Math.max(
            0,
            ...times.map((atMs) => times.filter((other) => other >= atMs && other - atMs < 2_000).length),
          );
          expect(mostInWindow).toBeLessThanOrEqual((maxRestarts + 1) * parents);
        }
      },
    ),
    { numRuns: 100 },
  );
});
