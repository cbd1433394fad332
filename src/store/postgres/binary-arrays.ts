/**
 * One-dimensional arrays in Postgres's binary format (array_recv in the server's arrayfuncs.c): dimension
 * count, null flag, element type, length, lower bound, then each element behind its length. pg sends a
 * Buffer as it is, so a batch of events is copied once; the text format would escape every quote of every
 * JSON text and parse it again in the server.
 */
const HEADER_BYTES = 20;
const NULL_LENGTH = -1;
const OID_BYTEA = 17;
const OID_INT8 = 20;
const OID_TEXT = 25;

export function textArray(items: readonly (string | null)[]): Buffer {
  let bytes = HEADER_BYTES;
  for (const item of items) bytes += 4 + (item === null ? 0 : Buffer.byteLength(item));
  const buffer = Buffer.allocUnsafe(bytes);
  let offset = writeHeader(buffer, OID_TEXT, items.length);
  for (const item of items) {
    if (item === null) {
      offset = buffer.writeInt32BE(NULL_LENGTH, offset);
      continue;
    }
    const written = buffer.write(item, offset + 4);
    buffer.writeInt32BE(written, offset);
    offset += 4 + written;
  }
  return buffer;
}

export function byteaArray(items: readonly Buffer[]): Buffer {
  const parts: Buffer[] = [Buffer.allocUnsafe(HEADER_BYTES)];
  writeHeader(parts[0] as Buffer, OID_BYTEA, items.length);
  for (const item of items) {
    const length = Buffer.allocUnsafe(4);
    length.writeInt32BE(item.length);
    parts.push(length, item);
  }
  return Buffer.concat(parts);
}

/** Safe integers as bigint[]. */
export function bigintArray(items: readonly number[]): Buffer {
  const buffer = Buffer.allocUnsafe(HEADER_BYTES + 12 * items.length);
  let offset = writeHeader(buffer, OID_INT8, items.length);
  for (const item of items) {
    offset = buffer.writeInt32BE(8, offset);
    offset = buffer.writeInt32BE(Math.floor(item / 0x1_0000_0000), offset);
    offset = buffer.writeUInt32BE(item >>> 0, offset);
  }
  return buffer;
}

function writeHeader(buffer: Buffer, elementType: number, length: number): number {
  let offset = buffer.writeInt32BE(1, 0);
  offset = buffer.writeInt32BE(1, offset);
  offset = buffer.writeInt32BE(elementType, offset);
  offset = buffer.writeInt32BE(length, offset);
  return buffer.writeInt32BE(1, offset);
}
