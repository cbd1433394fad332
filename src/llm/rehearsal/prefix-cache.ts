import { BoundedMap } from './bounded-map.ts';
import { estimateTokens } from './request-key.ts';

const BLOCK_TOKENS = 16;
const BLOCK_CHARS = BLOCK_TOKENS * 4;

/**
 * Accounts for prompts as a server with automatic prefix caching does. It owns the set of known
 * blocks; a block is known by its text and all text before it, and only whole blocks count.
 *
 * Invariants: at most `limit` blocks; a prompt's last token is never cached (a server has to
 * compute it to answer); the block not used for longest goes first.
 */
export class PrefixCache {
  /** Two 32-bit hashes of a block and of all text before it: one finds it, the other proves it. */
  readonly #blocks: BoundedMap<number, number>;
  readonly #limit: () => number;

  constructor(limit: () => number) {
    this.#limit = limit;
    this.#blocks = new BoundedMap(limit);
  }

  /** Tokens of `prompt` that were known, in steps of 16; makes all of its whole blocks known. */
  account(model: string, prompt: string): number {
    if (this.#limit() === 0) return 0;
    let known = 0;
    let unbroken = true;
    let low = 0x9e3779b1;
    let high = mix(0x85ebca77, model.length);
    for (let i = 0; i < model.length; i += 1) {
      low = mix(low, model.charCodeAt(i));
      high = mix(high, low);
    }
    for (let end = BLOCK_CHARS; end <= prompt.length; end += BLOCK_CHARS) {
      for (let i = end - BLOCK_CHARS; i < end; i += 1) {
        const unit = prompt.charCodeAt(i);
        low = mix(low, unit);
        high = Math.imul(high ^ unit, 0x01000193);
      }
      unbroken = unbroken && this.#blocks.get(low) === high;
      if (unbroken) known += 1;
      else this.#blocks.set(low, high);
    }
    const wholeBlocksBeforeLastToken = Math.floor((estimateTokens(prompt) - 1) / BLOCK_TOKENS);
    return Math.max(0, Math.min(known, wholeBlocksBeforeLastToken)) * BLOCK_TOKENS;
  }

  clear(): void {
    this.#blocks.clear();
  }
}

/** One step of MurmurHash3's 32-bit body (Appleby), enough to tell blocks apart. */
function mix(hash: number, unit: number): number {
  const mixed = hash ^ Math.imul(unit, 0xcc9e2d51);
  return (Math.imul((mixed << 13) | (mixed >>> 19), 5) + 0xe6546b64) | 0;
}
