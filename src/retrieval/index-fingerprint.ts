/** What makes two indexes the same: equal passages in equal places, cut and embedded alike. */
import { createHash } from 'node:crypto';
import type { Passage } from '../dialogue/passage.ts';
import { canonicalJson } from '../kernel/hash.ts';
import type { IndexIdentity } from './index-manifest.ts';

export interface IndexFingerprint {
  /** In row order. */
  add(passage: Pick<Passage, 'id' | 'charStart' | 'descriptor'>): void;
  /** Hex SHA-256; ends it. */
  digest(): string;
}

export function indexFingerprint(identity: IndexIdentity): IndexFingerprint {
  const hash = createHash('sha256').update(canonicalJson(identity));
  return {
    add: ({ id, charStart, descriptor }) => void hash.update(`${id} ${charStart} ${descriptor}\n`),
    digest: () => hash.digest('hex'),
  };
}
