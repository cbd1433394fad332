/**
 * Reads what the Hub's client uploads by its xet protocol: xorbs, which hold compressed chunks, and shards,
 * which say of which chunks a file is made. Independent of the client, so that tests compare bytes.
 */
import { createHash } from 'node:crypto';

/** The chunks of an uploaded xorb, unpacked. */
export function xorbChunks(xorb: Buffer): Buffer[] {
  const chunks: Buffer[] = [];
  for (let at = 0; at < xorb.length; ) {
    const packedLength = xorb.readUIntLE(at + 1, 3);
    const scheme = xorb[at + 4];
    const length = xorb.readUIntLE(at + 5, 3);
    const packed = xorb.subarray(at + 8, at + 8 + packedLength);
    if (xorb[at] !== 0 || packed.length !== packedLength) break; // the footer
    chunks.push(unpacked(packed, scheme ?? 0, length));
    at += 8 + packedLength;
  }
  return chunks;
}

function unpacked(packed: Buffer, scheme: number, length: number): Buffer {
  if (scheme === 0) return packed;
  const bytes = lz4Frame(packed, length);
  return scheme === 2 ? regrouped(bytes) : bytes;
}

/** Every fourth byte stands together: undo that. */
function regrouped(grouped: Buffer): Buffer {
  const bytes = Buffer.alloc(grouped.length);
  let from = 0;
  for (let group = 0; group < 4; group += 1) {
    for (let to = group; to < bytes.length; to += 4) bytes[to] = grouped[from++] ?? 0;
  }
  return bytes;
}

/** An LZ4 frame: magic, descriptor, blocks; checksums are left to the digest of the whole file. */
function lz4Frame(frame: Buffer, length: number): Buffer {
  const flags = frame[4] ?? 0;
  let at = 4 + 2 + ((flags & 0x08) === 0 ? 0 : 8) + ((flags & 0x01) === 0 ? 0 : 4) + 1;
  const out = Buffer.alloc(length);
  let written = 0;
  for (;;) {
    const size = frame.readUInt32LE(at);
    at += 4;
    if (size === 0) return out.subarray(0, written);
    const blockLength = size & 0x7f_ff_ff_ff;
    const block = frame.subarray(at, at + blockLength);
    if (size >>> 31 === 1) written += block.copy(out, written);
    else written = lz4Block(block, out, written);
    at += blockLength + ((flags & 0x10) === 0 ? 0 : 4);
  }
}

function lz4Block(block: Buffer, out: Buffer, start: number): number {
  let [at, to] = [0, start];
  const extended = (length: number): number => {
    let total = length;
    if (length !== 15) return total;
    for (let byte = 255; byte === 255; ) {
      byte = block[at++] ?? 0;
      total += byte;
    }
    return total;
  };
  while (at < block.length) {
    const token = block[at++] ?? 0;
    const literals = extended(token >>> 4);
    to += block.copy(out, to, at, at + literals);
    at += literals;
    if (at >= block.length) break;
    const offset = block.readUInt16LE(at);
    at += 2;
    const end = to + extended(token & 15) + 4;
    for (; to < end; to += 1) out[to] = out[to - offset] ?? 0;
  }
  return to;
}

const HEADER_BYTES = 48;
const ENTRY_BYTES = 48;
const IS_END = Buffer.alloc(32, 0xff);

/** Hashes are written as four numbers of eight bytes, lowest byte first. */
function hashText(bytes: Buffer): string {
  return [0, 8, 16, 24]
    .map((at) =>
      Buffer.from(bytes.subarray(at, at + 8))
        .reverse()
        .toString('hex'),
    )
    .join('');
}

/** The files that a shard registers, put together from the xorbs, by their SHA-256 as the shard says it. */
export function shardFiles(shard: Buffer, xorbs: ReadonlyMap<string, Buffer[]>): Map<string, Buffer> {
  const files = new Map<string, Buffer>();
  for (let at = HEADER_BYTES; !shard.subarray(at, at + 32).equals(IS_END); ) {
    const flags = shard.readUInt32LE(at + 32);
    const parts = shard.readUInt32LE(at + 36);
    at += ENTRY_BYTES;
    const pieces: Buffer[] = [];
    for (let part = 0; part < parts; part += 1, at += ENTRY_BYTES) {
      const chunks = xorbs.get(hashText(shard.subarray(at, at + 32)));
      if (chunks === undefined) throw new Error('a shard names a xorb that was not uploaded');
      pieces.push(...chunks.slice(shard.readUInt32LE(at + 40), shard.readUInt32LE(at + 44)));
    }
    if ((flags & 0x80_00_00_00) !== 0) at += parts * ENTRY_BYTES;
    const bytes = Buffer.concat(pieces);
    const sha256 = (flags & 0x40_00_00_00) === 0 ? null : hashText(shard.subarray(at, at + 32));
    if (sha256 !== null) at += ENTRY_BYTES;
    const real = createHash('sha256').update(bytes).digest('hex');
    if (sha256 !== null && sha256 !== real) throw new Error(`a shard says ${sha256} of the file ${real}`);
    files.set(real, bytes);
  }
  return files;
}
