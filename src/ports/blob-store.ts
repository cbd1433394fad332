/** Large immutable things that nodes hand to each other, named by what is in them. A cache: it may lose all of it. */
export interface BlobStore {
  /** True when it is there, whole. */
  has(name: string): Promise<boolean>;
  /** Stores the file at `path` under `name`; a name that is there already is left as it is. @throws DlgforgeError `transport`. */
  put(name: string, path: string): Promise<void>;
  /** Writes it to `path`, checked against its digest; false when it is not there. @throws DlgforgeError `transport`. */
  get(name: string, path: string): Promise<boolean>;
  delete(name: string): Promise<void>;
}
