import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { chooseRetriever, searchKeyOf } from '../../../../src/bootstrap/cluster/knowledge-choice.ts';
import type { RetrieverMessage } from '../../../../src/actors/messages.ts';
import { actorRef } from '../../../../src/actors/runtime/types.ts';
import { restoreConfig } from '../../../../src/config/restore.ts';
import type { Member } from '../../../../src/ports/membership.ts';
import { FINGERPRINT, submitted } from './submitted-run.ts';

const member = (node: string, host: string, status: Readonly<Record<string, unknown>> = {}): Member => ({
  lastHeardMs: 0,
  card: {
    node,
    kind: 'worker',
    parent: null,
    host,
    pid: 1,
    startedAtMs: 0,
    protocol: 1,
    build: '1',
    labels: {},
    leads: [],
    status,
  },
});
const able = { indexes: ['other', FINGERPRINT] };
const cluster = (members: readonly Member[], node = 'me') => ({ node, members: () => members });
const me = member('me', 'host-a', able);

describe('who searches', () => {
  test('is this process when it has the index open', () => {
    const local = actorRef<RetrieverMessage>('me', 'retriever:x');
    const members = cluster([me, member('b', 'host-a', able)]);
    expect(chooseRetriever(FINGERPRINT, local, members)).toBe(local);
  });

  test('is a node that says so, on the same machine if there is one, never this one', () => {
    const far = member('far', 'host-b', able);
    const near = member('near', 'host-a', able);
    const others = [member('without', 'host-a'), member('odd', 'host-a', { indexes: 'all' })];
    const chosen = chooseRetriever(FINGERPRINT, null, cluster([me, far, near, ...others]));
    expect(chosen).toEqual(actorRef('near', `retriever:${FINGERPRINT}`));
    expect(chooseRetriever(FINGERPRINT, null, cluster([me, far, ...others]))?.node).toBe('far');
    expect(chooseRetriever(FINGERPRINT, null, cluster([me, ...others]))).toBeNull();
  });

  test('stays the same while it lives, and is spread over those who can', () => {
    const servers = Array.from({ length: 5 }, (_, index) => member(`s${index}`, 'host-b', able));
    const asked = (node: string, among: readonly Member[]): string =>
      chooseRetriever(FINGERPRINT, null, cluster([member(node, 'host-a'), ...among], node))?.node ?? '';
    fc.assert(
      fc.property(
        fc.string({ minLength: 1 }),
        fc.shuffledSubarray(servers, { minLength: 2 }),
        (node, some) => {
          const first = asked(node, some);
          expect(asked(node, some.toReversed())).toBe(first);
          const left = some.filter(({ card }) => card.node !== first);
          expect(asked(node, [...left, ...some.filter(({ card }) => card.node === first)])).toBe(first);
        },
      ),
    );
    const counts = new Map<string, number>();
    for (let index = 0; index < 200; index += 1) {
      const node = asked(`n${index}`, servers);
      counts.set(node, (counts.get(node) ?? 0) + 1);
    }
    expect(Math.min(...counts.values())).toBeGreaterThan(15);
    expect(counts.size).toBe(5);
  });
});

test('I5: runs that rerank differently do not search for each other', async () => {
  const keyOf = async (yaml: string): Promise<string> => {
    const { spec } = await submitted(`llm: {backend: rehearsal}\n${yaml}`);
    return searchKeyOf({ spec, config: restoreConfig(spec.config, {}).config });
  };
  const reranker = (more: string): string =>
    `tools: {retrieval: {reranker: {enabled: true, backend: endpoint, base_url: "http://r/v1", model: a${more}}}}`;
  const keys = await Promise.all([
    keyOf(''),
    keyOf('run: {batch_size: 3}'),
    keyOf(reranker('')),
    keyOf(reranker('')),
    keyOf(reranker(', candidates: 20')),
  ]);
  expect(keys[0]).toBe(FINGERPRINT);
  expect(keys[1]).toBe(keys[0]);
  expect(keys[3]).toBe(keys[2]);
  expect(new Set(keys).size).toBe(3);
});
