import { readFile, writeFile } from 'node:fs/promises';
import type { BlobStore } from '../../src/ports/blob-store.ts';

export interface MemoryBlobStore extends BlobStore {
  readonly blobs: Map<string, Uint8Array>;
  /** How often something was put or fetched. */
  readonly puts: string[];
  readonly gets: string[];
}

export function memoryBlobStore(): MemoryBlobStore {
  const blobs = new Map<string, Uint8Array>();
  const puts: string[] = [];
  const gets: string[] = [];
  return {
    blobs,
    puts,
    gets,
    has: async (name) => blobs.has(name),
    async put(name, path) {
      puts.push(name);
      if (!blobs.has(name)) blobs.set(name, await readFile(path));
    },
    async get(name, path) {
      const blob = blobs.get(name);
      if (blob === undefined) return false;
      gets.push(name);
      await writeFile(path, blob);
      return true;
    },
    delete: async (name) => void blobs.delete(name),
  };
}
