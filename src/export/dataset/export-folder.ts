/**
 * Owns an export folder while a new export is made: the new one is built beside it and swapped in whole.
 *
 * - X1 Nothing is removed but what stands in a folder that carries our marker, or in an empty one (fault A4).
 * - X2 The export that is there stays as it is until the new one is complete and on disk (fault A5).
 * - X3 A kill leaves the old or the new export whole: in its place, or for the moment between two renames
 *   beside it, from where the next start puts it back. What a kill left behind is cleaned up by the next start.
 * - X4 One builder at a time: a second one is refused while the first lives.
 */
import { lstat, mkdir, open, readdir, readFile, realpath, rename, rm, rmdir, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve, sep } from 'node:path';
import { z } from 'zod';
import { DlgforgeError } from '../../kernel/errors.ts';
import { syncFolder } from '../durable-file.ts';
import { codeOf, exportError, naming } from '../output-error.ts';

export const EXPORT_MARKER = '.dlgforge-export.json';
const MARKER_BESIDE = `${EXPORT_MARKER}.tmp`;

/** The process that builds. */
export interface Builder {
  readonly host: string;
  readonly pid: number;
  readonly processKey: string;
}

export interface ExportFolderOptions {
  /** Absolute; made when it is not there. */
  readonly target: string;
  /** Folders that the target must not be, hold or be inside of. */
  readonly never: readonly ForbiddenFolder[];
  readonly builder: Builder;
  readonly isAlive: (builder: Builder) => boolean;
  /** Awaited between the steps of a swap; tests end the process there. */
  readonly onStep?: (step: SwapStep) => Promise<void> | void;
}

export type SwapStep = 'built' | 'old_aside' | 'new_in' | 'old_removed';

export interface ForbiddenFolder {
  readonly path: string;
  /** For people: "the output folder". */
  readonly name: string;
  /** Also what is inside of it: a folder that others keep things in. */
  readonly inside: boolean;
}

/** What the marker of a finished export says; nothing of this machine, it may be published with the folder. */
export interface ExportFacts {
  readonly records: number;
  /** Whether any conversation comes from the rehearsal backend. */
  readonly rehearsal: boolean;
}

const markerSchema = z.discriminatedUnion('state', [
  z.object({
    format: z.literal(1),
    state: z.literal('building'),
    builder: z.object({ host: z.string(), pid: z.int(), processKey: z.string() }),
  }),
  z.object({
    format: z.literal(1),
    state: z.literal('complete'),
    records: z.int().nonnegative(),
    rehearsal: z.boolean(),
  }),
]);
type Marker = z.infer<typeof markerSchema>;

/** Where an export may be put, symbolic links followed. @throws DlgforgeError `output` when nowhere near. */
export async function checkedTarget(target: string, never: readonly ForbiddenFolder[]): Promise<string> {
  const real = await realTarget(target).catch((error: unknown) => {
    throw codeOf(error) === 'ENOTDIR' ? refused(target, 'a part of this path is a file') : error;
  });
  for (const { path, name, inside } of never) {
    const other = await realTarget(path);
    if (contains(real, other) || (inside && contains(other, real))) {
      throw refused(
        target,
        `it is ${real === other ? '' : contains(real, other) ? 'around ' : 'inside '}${name}`,
      );
    }
  }
  const marker = await readMarker(real);
  if (marker !== null || (await isFreePlace(real))) {
    if (await isLink(real)) throw refused(target, 'it is a link to a place that is not there');
    return real;
  }
  throw refused(target, 'it holds files that dlgforge did not put there');
}

const refused = (target: string, why: string): DlgforgeError =>
  new DlgforgeError(
    'output',
    `${target} cannot be the export folder: ${why}, and what is in an export folder is replaced. Choose a new folder (saving.hf_push.export_dir, --export-dir; for formats --output-dir), or move what is in it away.`,
  );

/** The folder or what is above it that exists, without symbolic links, and the rest. */
async function realTarget(path: string): Promise<string> {
  const absolute = resolve(path);
  try {
    return await realpath(absolute);
  } catch (error) {
    if (codeOf(error) !== 'ENOENT' || dirname(absolute) === absolute) throw error;
    return join(await realTarget(dirname(absolute)), basename(absolute));
  }
}

const contains = (outer: string, inner: string): boolean =>
  outer === inner || inner.startsWith(outer.endsWith(sep) ? outer : `${outer}${sep}`);

async function isLink(path: string): Promise<boolean> {
  const found = await lstat(path).catch(() => null);
  return found?.isSymbolicLink() === true;
}

async function isFreePlace(folder: string): Promise<boolean> {
  const names = await namesIn(folder).catch((error: unknown) => {
    if (codeOf(error) === 'ENOTDIR') return ['a file'];
    throw error;
  });
  return names === null || names.length === 0;
}

export interface Replaced<T> {
  /** Of the finished export. */
  readonly folder: string;
  readonly result: T;
}

/** Builds a new export; `fill` writes into the folder that it is given. */
export async function replaceExport<T extends ExportFacts>(
  options: ExportFolderOptions,
  fill: (folder: string) => Promise<T>,
): Promise<Replaced<T>> {
  try {
    return await replace(options, fill);
  } catch (error) {
    throw exportError(error);
  }
}

async function replace<T extends ExportFacts>(
  options: ExportFolderOptions,
  fill: (folder: string) => Promise<T>,
): Promise<Replaced<T>> {
  const target = await checkedTarget(options.target, options.never);
  const beside = besideOf(target);
  await naming(dirname(target), () => mkdir(dirname(target), { recursive: true }));
  await recover(target, options);
  await begin(beside.next, options.builder);
  let result: T;
  try {
    result = await fill(beside.next);
    await syncTree(beside.next);
    const { records, rehearsal } = result;
    await writeMarker(beside.next, { format: 1, state: 'complete', records, rehearsal });
    await syncFolder(beside.next);
  } catch (error) {
    await removeOwn(beside.next);
    throw error;
  }
  await swap(target, options.onStep ?? (() => undefined));
  return { folder: target, result };
}

/** What an export holds; null for a folder that is no whole export of ours. */
export async function readExportMarker(folder: string): Promise<ExportFacts | null> {
  const marker = await readMarker(folder);
  if (marker?.state !== 'complete') return null;
  return { records: marker.records, rehearsal: marker.rehearsal };
}

/** Puts back, or takes away, what a killed builder left. @throws DlgforgeError `held` while another one builds. */
async function recover(target: string, options: ExportFolderOptions): Promise<void> {
  const { next, old } = besideOf(target);
  const building = await readMarker(next);
  if (building?.state === 'building' && !isOver(building.builder, options)) {
    throw new DlgforgeError(
      'held',
      `another dlgforge (process ${building.builder.pid} on ${building.builder.host}) is writing the export ${target}. Wait until it has finished; if there is none any more, delete ${next}.`,
    );
  }
  if ((await readMarker(old)) !== null) {
    if (await isFreePlace(target)) await moveIn(old, target);
    else await removeOwn(old);
  }
  await removeOwn(next);
}

const isOver = (builder: Builder, { isAlive, builder: self }: ExportFolderOptions): boolean =>
  builder.host !== self.host ? false : !isAlive(builder) || builder.processKey === self.processKey;

const besideOf = (target: string): { readonly next: string; readonly old: string } => ({
  next: join(dirname(target), `.${basename(target)}.dlgforge-new`),
  old: join(dirname(target), `.${basename(target)}.dlgforge-old`),
});

async function begin(folder: string, builder: Builder): Promise<void> {
  await naming(folder, () => mkdir(folder));
  await writeMarker(folder, { format: 1, state: 'building', builder });
}

async function swap(target: string, onStep: NonNullable<ExportFolderOptions['onStep']>): Promise<void> {
  const { next, old } = besideOf(target);
  await onStep('built');
  const replaces = (await readMarker(target)) !== null;
  if (replaces) {
    await naming(old, () => rename(target, old));
    await onStep('old_aside');
  }
  await moveIn(next, target);
  await onStep('new_in');
  if (replaces) await removeOwn(old);
  await onStep('old_removed');
}

/** An empty folder may be in the place. */
async function moveIn(from: string, target: string): Promise<void> {
  await naming(target, async () => {
    await rmdir(target).catch((error: unknown) => {
      if (codeOf(error) !== 'ENOENT') throw error;
    });
    await rename(from, target);
  });
  await syncFolder(dirname(target));
}

/**
 * Removes a folder that carries our marker, or one with nothing else in it, the marker last: what a kill leaves
 * of it is still known to be ours.
 */
async function removeOwn(folder: string): Promise<void> {
  const names = await namesIn(folder);
  if (names === null) return;
  const others = names.filter((name) => name !== EXPORT_MARKER && name !== MARKER_BESIDE);
  if (others.length > 0 && (await readMarker(folder)) === null)
    throw refused(folder, 'it holds files that dlgforge did not put there');
  await naming(folder, async () => {
    for (const name of [...others, MARKER_BESIDE])
      await rm(join(folder, name), { recursive: true, force: true });
    await rm(join(folder, EXPORT_MARKER), { force: true });
    await rmdir(folder);
  });
}

/** Null when there is no such folder. */
async function namesIn(folder: string): Promise<readonly string[] | null> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return null;
    throw error;
  }
}

/** Null for a folder that is not there, and for one that is not ours. */
async function readMarker(folder: string): Promise<Marker | null> {
  let text: string;
  try {
    text = await readFile(join(folder, EXPORT_MARKER), 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return null;
    throw error;
  }
  try {
    const parsed = markerSchema.safeParse(JSON.parse(text));
    return parsed.success ? parsed.data : null;
  } catch {
    return null; // Not what we write, so not ours to remove.
  }
}

async function writeMarker(folder: string, marker: Marker): Promise<void> {
  const path = join(folder, EXPORT_MARKER);
  const beside = join(folder, MARKER_BESIDE);
  await naming(path, async () => {
    await using file = await open(beside, 'w');
    await file.writeFile(`${JSON.stringify(marker)}\n`);
    await file.sync();
    await rename(beside, path);
  });
}

async function syncTree(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    if ((await stat(path)).isDirectory()) {
      await syncTree(path);
    } else {
      await naming(path, async () => {
        await using file = await open(path, 'r');
        await file.sync();
      });
    }
  }
  await syncFolder(folder);
}
