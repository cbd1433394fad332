import { expect, test } from 'vitest';
import { ClusterBench } from '../../../support/cluster-bench.ts';

test('a node that was cut off and is back stays a member, though it writes to the others at once', async () => {
  const bench = new ClusterBench({ seed: 1, delayMs: { min: 0, max: 5 } });
  const [a, , c] = await bench.joinAll('a', 'b', 'c');
  if (a === undefined || c === undefined) throw new Error('both have joined');
  await bench.pass(4_000);
  bench.transport.cutOff('c');
  await bench.pass(10_000);
  bench.transport.restore('c');
  // What was under way is void, so actors begin anew, with the node that is lost to the network for a moment.
  const written = new Set<string>();
  c.endpoint.onNodeLost((node) => {
    if (written.has(node)) return;
    written.add(node);
    c.endpoint.send(node, { version: 1, from: 'c', kind: 'tell', path: 'x', body: null });
  });
  const before = c.changes.length;
  await bench.pass(10_000);
  expect([...written].toSorted()).toEqual(['a', 'b']);
  expect(c.changes.slice(before)).toEqual([]);
  expect(a.changes.filter((change) => change.endsWith(' c'))).toEqual(['joined c', 'lost c', 'joined c']);
  await bench.close();
});
