/**
 * The files under `saving.output_dir` as a projection of the store (I6).
 *
 * Owns the line files, the conversation files and the marker of one folder; its caller holds the lease
 * that makes it the only writer there. Does not own the run states (`run-state-file.ts`).
 *
 * - P1 The marker never runs ahead: it is moved after everything it speaks of is on disk.
 * - P2 What is in a file beyond the marker is a torn write: it is cut off at the next start and written again.
 * - P3 A folder whose files are shorter than its marker says is rebuilt from the store.
 * - P4 A rebuild is announced in the marker before it touches a file, so one that is cut short starts again.
 * - P5 Lines that were there before dlgforge are never lost by it.
 * - P6 A writer that finds a marker which it did not write stops before it writes anything.
 * - P7 Files show the verdicts of one pass, the one that the store says. When that changes they are rebuilt.
 * - P8 Line files change together: whole new ones are announced in the marker, and then put in place.
 */
import { mkdir, open, opendir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { DlgforgeError, invariant } from '../kernel/errors.ts';
import { type Logger, silentLogger } from '../kernel/logger.ts';
import {
  CONVERSATIONS_FOLDER,
  LEDGER_FILE,
  LINE_FILES,
  type LineFile,
  RUN_STATE_FOLDER,
} from './dataset-rows.ts';
import { syncFolder } from './durable-file.ts';
import { restoreLedger, sizeOf } from './existing-lines.ts';
import { LegacyProjection } from './legacy-projection.ts';
import { legacyFileNames } from './legacy-record.ts';
import { LineFiles, type LineSizes, sizesOf } from './line-files.ts';
import { type JudgedMark, type Marker, markerPath, readMarker, writeMarker } from './marker.ts';
import { codeOf, naming, outputError } from './output-error.ts';
import { type ShownVerdicts, shownVerdicts } from './shown-verdicts.ts';
import { type ProjectionOptions, requireCommit, startingMarker } from './starting-marker.ts';
import { type StepHook, writeConversations } from './write-conversations.ts';

export type { ProjectionOptions } from './starting-marker.ts';

export interface Projection {
  /** The last commit that is in the files. */
  readonly commitSeq: number;
  /** Writes what was committed since. Calls are run one after another; those that wait are one. */
  catchUp(): Promise<void>;
  /** Makes every file anew from the store. Readers see the old file or the new one. */
  rebuild(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Makes the folder's layout and repairs what a crash left behind. Does not catch up.
 * @throws DlgforgeError `output` when the folder cannot be used, or belongs to another dataset or store.
 */
export async function openProjection(options: ProjectionOptions): Promise<Projection> {
  await makeLayout(options.outputDir);
  const projection = new OpenProjection(options, await startingMarker(options));
  await projection.repair();
  return projection;
}

async function makeLayout(outputDir: string): Promise<void> {
  for (const folder of [
    outputDir,
    join(outputDir, CONVERSATIONS_FOLDER),
    join(outputDir, RUN_STATE_FOLDER),
  ]) {
    await naming(folder, () => mkdir(folder, { recursive: true }));
  }
}

class OpenProjection implements Projection {
  readonly #options: ProjectionOptions;
  readonly #logger: Logger;
  readonly #onStep: StepHook;
  #marker: Marker;
  #files: LineFiles | null = null;
  /** True while the files may hold more than the marker says. */
  #torn = false;
  #closed = false;
  #busy: Promise<void> = Promise.resolve();
  #waiting: Promise<void> | null = null;

  constructor(options: ProjectionOptions, marker: Marker) {
    this.#options = options;
    this.#logger = options.logger ?? silentLogger;
    this.#onStep = options.onStep ?? (() => undefined);
    this.#marker = marker;
  }

  get commitSeq(): number {
    return this.#marker.commitSeq;
  }

  /** P2, P3, P4, P8. */
  async repair(): Promise<void> {
    if (this.#marker.state === 'replacing') await this.#putInPlace();
    const reason = await this.#reasonToRebuild();
    if (reason !== null) {
      this.#logger.log('warn', 'export', `[export] rebuilding ${this.#options.outputDir}: ${reason}`);
      await this.#rebuild();
      return;
    }
    const files = await this.#openFiles();
    const cut = await files.cutBack(recordedSizes(this.#marker));
    if (cut > 0) this.#logger.log('warn', 'export', `[export] cut ${cut} bytes of unfinished writes`);
  }

  catchUp(): Promise<void> {
    this.#waiting ??= this.#exclusively(async () => {
      this.#waiting = null;
      await this.#catchUp();
    });
    return this.#waiting;
  }

  rebuild(): Promise<void> {
    return this.#exclusively(async () => {
      await requireCommit(this.#options, this.#marker.commitSeq);
      await this.#rebuild();
    });
  }

  close(): Promise<void> {
    return this.#exclusively(async () => {
      this.#closed = true;
      await this.#closeFiles();
    });
  }

  #exclusively(work: () => Promise<void>): Promise<void> {
    const result = this.#busy.then(work);
    // Whoever asked hears of the failure; the next one in line does not.
    this.#busy = result.catch(() => undefined);
    return result;
  }

  async #reasonToRebuild(): Promise<string | null> {
    if (this.#marker.state === 'rebuilding')
      return 'an earlier rebuild did not finish, or the marker was deleted';
    for (const name of LINE_FILES) {
      const size = await sizeOf(this.#path(name));
      if (size < (this.#marker.bytes[name] ?? 0)) return `${name} is missing lines`;
    }
    const empty =
      this.#marker.conversations > 0 && (await isEmpty(join(this.#options.outputDir, CONVERSATIONS_FOLDER)));
    return empty ? `${CONVERSATIONS_FOLDER}/ is empty` : null;
  }

  async #catchUp(): Promise<void> {
    invariant(!this.#closed, 'a closed projection is not asked for anything');
    await this.#requireSoleWriter();
    if (this.#marker.state === 'replacing') await this.#putInPlace();
    const verdicts = await this.#verdicts();
    const isOutdated = !isDeepStrictEqual(this.#marker.judged, markOf(verdicts)); // P7
    if (this.#marker.state === 'rebuilding' || isOutdated) return await this.#rebuild();
    const { store, datasetId } = this.#options;
    const files = await this.#openFiles();
    if (this.#torn) await files.cutBack(recordedSizes(this.#marker));
    this.#torn = true;
    const news = store.committed(datasetId, this.#marker.commitSeq);
    const settings = { ...this.#options, verdicts };
    for await (const batch of writeConversations(news, settings, files, this.#onStep)) {
      await this.#mark({
        ...this.#marker,
        commitSeq: batch.commitSeq,
        conversations: this.#marker.conversations + batch.conversations,
        bytes: files.sizes,
      });
    }
    this.#torn = false;
  }

  /** P6. The lease comes first; this is the fence behind it. */
  async #requireSoleWriter(): Promise<void> {
    const found = await readMarker(this.#options.outputDir);
    if (found !== null && isDeepStrictEqual(found, this.#marker)) return;
    throw new DlgforgeError(
      'output',
      `${markerPath(this.#options.outputDir)} was ${found === null ? 'deleted' : 'written by another process'} while this one ` +
        'was writing to the folder. Nothing is lost; let one process write there, then `dlgforge export <config>` completes the files.',
    );
  }

  async #mark(marker: Marker): Promise<void> {
    this.#onStep('mark');
    await writeMarker(this.#options.outputDir, marker); // P1
    this.#marker = marker;
  }

  async #rebuild(): Promise<void> {
    await this.#closeFiles();
    await makeLayout(this.#options.outputDir);
    const prefix = await this.#prefixesThatAreLeft();
    await this.#mark({ ...this.#marker, state: 'rebuilding', prefix }); // P4
    const beside = await this.#writeAllBeside(prefix, await this.#verdicts());
    await this.#mark({ ...this.#marker, state: 'replacing', ...beside }); // P8
    await this.#putInPlace();
    await this.#openFiles();
  }

  /** Some may be there already: this is gone through again when it was cut short. */
  async #putInPlace(): Promise<void> {
    for (const name of LINE_FILES) {
      const path = this.#path(name);
      this.#onStep(`replace ${name}`);
      await rename(besideOf(path), path).catch((error: unknown) => {
        if (codeOf(error) !== 'ENOENT') throw outputError(path, error);
      });
    }
    await syncFolder(this.#options.outputDir);
    await this.#mark({ ...this.#marker, state: 'ready' });
  }

  async #writeAllBeside(
    left: LineSizes,
    verdicts: ShownVerdicts | null,
  ): Promise<Pick<Marker, 'commitSeq' | 'conversations' | 'bytes' | 'prefix' | 'judged'>> {
    const { store, datasetId } = this.#options;
    const prefix = await this.#writePrefixes(left, verdicts);
    await using files = await LineFiles.open((name) => besideOf(this.#path(name)), prefix);
    let commitSeq = 0;
    let conversations = 0;
    const all = store.committed(datasetId, 0);
    const settings = { ...this.#options, verdicts };
    for await (const batch of writeConversations(all, settings, files, this.#onStep)) {
      commitSeq = batch.commitSeq;
      conversations += batch.conversations;
    }
    return { commitSeq, conversations, bytes: files.sizes, prefix, judged: markOf(verdicts) };
  }

  /** What stood in the files before; under the verdicts of a pass that is not quite what it was. */
  async #writePrefixes(left: LineSizes, verdicts: ShownVerdicts | null): Promise<LineSizes> {
    const legacy = verdicts === null ? null : await this.#legacy(left, verdicts);
    await legacy?.editFiles();
    const written: Partial<Record<LineFile, number>> = {};
    for (const name of LINE_FILES) {
      const lines = legacy?.prefixOf(name) ?? this.#originalPrefix(name, left[name]);
      written[name] = await this.#writeBeside(name, lines);
    }
    return sizesOf((name) => written[name] ?? 0);
  }

  async #legacy(prefix: LineSizes, verdicts: ShownVerdicts): Promise<LegacyProjection> {
    const { outputDir, columns, store, datasetId } = this.#options;
    const fileNames = await legacyFileNames(outputDir, store, datasetId);
    return new LegacyProjection({ outputDir, columns, verdicts, fileNames, prefix, onStep: this.#onStep });
  }

  async *#originalPrefix(name: LineFile, length: number): AsyncGenerator<Uint8Array> {
    if (length === 0) return;
    const path = this.#path(name);
    await using original = await naming(path, () => open(path, 'r'));
    const bytes = original.createReadStream({ start: 0, end: length - 1, autoClose: false });
    for await (const chunk of bytes as AsyncIterable<Buffer>) yield chunk;
  }

  /** Gives the number of bytes. */
  async #writeBeside(name: LineFile, pieces: AsyncIterable<Uint8Array>): Promise<number> {
    const path = besideOf(this.#path(name));
    this.#onStep(`prefix ${name}`);
    return await naming(path, async () => {
      await using target = await open(path, 'w');
      let length = 0;
      for await (const piece of pieces) {
        await target.writeFile(piece);
        length += piece.length;
      }
      await target.sync();
      return length;
    });
  }

  #verdicts(): Promise<ShownVerdicts | null> {
    return shownVerdicts(this.#options.store, this.#options.datasetId);
  }

  /** P5: a deleted ledger gets its adopted lines back; what 0.1.0 wrote elsewhere is only in the file itself. */
  async #prefixesThatAreLeft(): Promise<LineSizes> {
    const { outputDir, store, datasetId } = this.#options;
    const left: Partial<Record<LineFile, number>> = {};
    for (const name of LINE_FILES) {
      const wanted = this.#marker.prefix[name] ?? 0;
      const size = await sizeOf(this.#path(name));
      if (size >= wanted) left[name] = wanted;
      else if (name === LEDGER_FILE) left[name] = await restoreLedger(outputDir, store, datasetId);
      else left[name] = this.#withoutPrefix(name, wanted);
    }
    return sizesOf((name) => left[name] ?? 0);
  }

  #withoutPrefix(name: LineFile, wanted: number): number {
    const loss = `${name} had ${wanted} bytes from before dlgforge managed this folder`;
    this.#logger.log(
      'warn',
      'export',
      `[export] ${loss}; they were deleted with it and are not in the store`,
    );
    return 0;
  }

  async #openFiles(): Promise<LineFiles> {
    this.#files ??= await LineFiles.open((name) => this.#path(name), recordedSizes(this.#marker));
    return this.#files;
  }

  async #closeFiles(): Promise<void> {
    const files = this.#files;
    this.#files = null;
    await files?.close();
  }

  #path(name: LineFile): string {
    return join(this.#options.outputDir, name);
  }
}

async function isEmpty(folder: string): Promise<boolean> {
  const entries = await naming(folder, () => opendir(folder));
  for await (const _entry of entries) return false;
  return true;
}

const markOf = (verdicts: ShownVerdicts | null): JudgedMark | null =>
  verdicts === null ? null : { pass: verdicts.pass.id, revision: verdicts.revision };

const recordedSizes = (marker: Marker): LineSizes => sizesOf((name) => marker.bytes[name] ?? 0);

/** Where a rebuilt file waits; not the name that single replaced files use, so that the two never meet. */
const besideOf = (path: string): string => `${path}.rebuild`;
