/**
 * An index in an object store, which every node opens in place. There is no rename there that would put a
 * manifest in its place, so each index is described by a table of its own: `index-<fingerprint>`, with one row,
 * made in one step when the table of its passages is complete. Of two nodes that make it at once LanceDB may
 * let both, the second as a second version: the first version is the one that counts. Nothing is ever changed
 * or taken away: what nobody needs any more is deleted with the store's own tools.
 */
import { connect, type Connection } from '@lancedb/lancedb';
import { DlgforgeError, messageOf } from '../kernel/errors.ts';
import { freshHexId } from '../kernel/ids.ts';
import type { Logger } from '../kernel/logger.ts';
import { type Manifest, parseManifest, readManifest } from './index-manifest.ts';
import { type LancedbRetriever, type OpenOptions, openDescribed } from './lancedb-retriever.ts';
import { PassageTables } from './passage-table.ts';

type StorageOptions = Readonly<Record<string, string>>;

export interface SharedPlace {
  /** Of the folder in the object store, for example `s3://bucket/index`. */
  readonly uri: string;
  /** Credentials, in LanceDB's words. */
  readonly storageOptions: StorageOptions;
  readonly fingerprint: string;
}

const FIRST_VERSION = 1;
const descriptionOf = (fingerprint: string): string => `index-${fingerprint}`;

async function connected<T>(
  { uri, storageOptions }: SharedPlace,
  work: (c: Connection) => Promise<T>,
): Promise<T> {
  let connection: Connection | null = null;
  try {
    connection = await connect(uri, { storageOptions: { ...storageOptions } });
    return await work(connection);
  } catch (error) {
    if (error instanceof DlgforgeError) throw error;
    throw new DlgforgeError(
      'retrieval',
      `The knowledge index at ${uri} cannot be used: ${messageOf(error)}. Check the address, and this node's credentials for it (AWS_…, GOOGLE_…).`,
      { cause: error, retryable: true },
    );
  } finally {
    connection?.close();
  }
}

function described(place: SharedPlace): Promise<Manifest | null> {
  return connected(place, async (connection) => {
    const name = descriptionOf(place.fingerprint);
    if (!(await connection.tableNames({ limit: 100_000 })).includes(name)) return null;
    const table = await connection.openTable(name);
    await table.checkout(FIRST_VERSION);
    const [row] = (await table.query().limit(1).toArray()) as { readonly manifest: string }[];
    table.close();
    const state = parseManifest(row?.manifest ?? '');
    if (state.type === 'present' && state.manifest.fingerprint === place.fingerprint) return state.manifest;
    throw new DlgforgeError(
      'retrieval',
      `The description of the knowledge index at ${place.uri} is damaged.`,
    );
  });
}

/** @throws DlgforgeError `retrieval` when it is not there, cannot be reached, or needs another embedder. */
export async function openShared(
  options: SharedPlace & Omit<OpenOptions, 'persistDir'>,
): Promise<LancedbRetriever> {
  const manifest = await described(options);
  if (manifest === null) {
    throw new DlgforgeError('retrieval', `There is no index ${options.fingerprint} at ${options.uri}.`, {
      retryable: true,
    });
  }
  const connect = (): Promise<PassageTables> => PassageTables.connect(options.uri, options.storageOptions);
  return openDescribed({ ...options, persistDir: options.uri }, manifest, connect);
}

export interface ShareOptions extends SharedPlace {
  /** The index folder on this machine. */
  readonly persistDir: string;
  readonly logger: Logger;
}

/** Copies the index of a folder to the object store unless it is there. */
export async function shareIndex(options: ShareOptions): Promise<void> {
  const { uri, storageOptions, persistDir, fingerprint, logger } = options;
  if ((await described(options)) !== null) return;
  const state = await readManifest(persistDir);
  if (state.type !== 'present' || state.manifest.fingerprint !== fingerprint) {
    throw new DlgforgeError(
      'retrieval',
      `The knowledge index in ${persistDir} is not the one that the run uses any more, so it cannot be copied to ${uri}.`,
    );
  }
  const table = PassageTables.freshName(freshHexId());
  const manifest: Manifest = { ...state.manifest, table };
  const tables = await PassageTables.connect(uri, storageOptions);
  try {
    await copyPassages(persistDir, state.manifest, tables, table);
    await connected(options, async (connection) => {
      const row = { manifest: JSON.stringify(manifest) };
      (await connection.createTable(descriptionOf(fingerprint), [row])).close();
    });
    if ((await described(options))?.table !== table) return await tables.drop(table);
    logger.log('info', 'retrieval', `[retrieval] copied the knowledge index to ${uri}`, { fingerprint });
  } catch (error) {
    await tables.drop(table);
    // Another node may have been faster; then everything is as it should be.
    if ((await described(options)) === null) throw error;
  } finally {
    tables.close();
  }
}

async function copyPassages(
  persistDir: string,
  { table: name, identity, passages }: Manifest,
  target: PassageTables,
  targetName: string,
): Promise<void> {
  const dimension = identity.embedder?.dimension ?? null;
  const source = await PassageTables.connect(persistDir);
  try {
    const from = await source.open(name, dimension);
    const to = await target.create(targetName, dimension);
    for await (const rows of from.copy(0, passages)) await to.append(rows);
    await to.finish();
    from.close();
    to.close();
  } finally {
    source.close();
  }
}
