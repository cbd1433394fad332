/** Object stores as a place for the index: their addresses, and the credentials for them (I8). */
import type { Environment } from './environment.ts';

export const isObjectStore = (path: string): boolean => /^(?:s3|gs|az):\/\//.test(path.trim());

const CREDENTIALS = /^(?:AWS|GOOGLE|AZURE)_[A-Z\d_]+$/;

/** What the environment says of object stores, under the names that LanceDB gives its options. */
export function storageOptionsOf(environment: Environment): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(environment).flatMap(([name, value]) =>
      CREDENTIALS.test(name) && value !== undefined && value !== '' ? [[name.toLowerCase(), value]] : [],
    ),
  );
}
