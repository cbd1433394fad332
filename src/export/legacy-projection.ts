/**
 * What 0.1.0 left in an output folder, under the verdicts of a pass: its conversation files, and the lines that
 * stand in front of ours. Computed from themselves and the store; doing it twice gives the same bytes (I6).
 *
 * Lines that are about nothing that is known, or are no JSON, stay as they are.
 */
import { readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { pythonJson, parsePythonJson } from '../dialogue/python-json.ts';
import type { RecordSource } from '../dialogue/record-parts.ts';
import { turnRows } from '../dialogue/records.ts';
import { judgeColumn, type OutputColumns, sharegptRow } from '../dialogue/sharegpt-record.ts';
import { underPass } from '../dialogue/verdict-overlay.ts';
import { CONVERSATIONS_FOLDER, type LineFile } from './dataset-rows.ts';
import { besideOf, syncFolder, writeBeside } from './durable-file.ts';
import { conversationIdIn } from './existing-lines.ts';
import {
  asBytes,
  editedRecord,
  editedShareGpt,
  editedTurnLine,
  fromBytes,
  type PassWords,
} from './legacy-edits.ts';
import {
  conversationFileName,
  idOfFileName,
  legacyRecord,
  type LegacyRecord,
  readLegacyRecord,
  syntheticRow,
} from './legacy-record.ts';
import type { LineSizes } from './line-files.ts';
import { type FileLine, fileLines } from './lines.ts';
import { naming } from './output-error.ts';
import type { ShownVerdicts } from './shown-verdicts.ts';
import type { StepHook } from './write-conversations.ts';

export interface LegacyFolder {
  readonly outputDir: string;
  readonly columns: OutputColumns;
  readonly verdicts: ShownVerdicts;
  /** Conversation files that are not ours (`legacyFileNames`). */
  readonly fileNames: readonly string[];
  /** How much of each line file stands in front of our lines. */
  readonly prefix: LineSizes;
  readonly onStep: StepHook;
}

/** A conversation that the pass has judged. */
interface Judged {
  readonly words: PassWords;
  readonly record: Extract<LegacyRecord, { type: 'conversation' }>;
  readonly source: RecordSource;
  /** Of its ShareGPT line. */
  readonly column: object;
}

export class LegacyProjection {
  readonly #folder: LegacyFolder;
  readonly #fileNames: ReadonlySet<string>;
  /** Lines about one conversation mostly stand together. */
  #latest: { readonly id: string; readonly words: PassWords } | null = null;

  constructor(folder: LegacyFolder) {
    this.#folder = folder;
    this.#fileNames = new Set(folder.fileNames);
  }

  /** The lines in front of ours, as they are to be; null for a file in which verdicts have no place. */
  prefixOf(name: LineFile): AsyncIterable<Uint8Array> | null {
    switch (name) {
      case 'synthetic_qa.jsonl':
        return this.#editedLines(name, editedRecord, ({ record }) => [syntheticRow(record)]);
      case 'turns.jsonl':
        return this.#editedLines(name, editedTurnLine, ({ source, record: { timestamp } }) =>
          turnRows(source).map((row) => ({ ...row, timestamp })),
        );
      case 'conversations_sharegpt_judged.jsonl':
        return this.#judgedLines();
      default:
        return null;
    }
  }

  /** Readers of a conversation file see the old one or the new one. */
  async editFiles(): Promise<void> {
    const { outputDir, fileNames, onStep } = this.#folder;
    const seen = new Set<string>();
    for (const name of fileNames) {
      const path = join(outputDir, CONVERSATIONS_FOLDER, name);
      const bytes = await naming(path, () => readFile(path));
      const record = legacyRecord(bytes.toString('utf8'), idOfFileName(name));
      // The first file of an id is the one that was judged.
      if (record.type === 'unusable' || seen.has(record.payload.conversationId)) continue;
      seen.add(record.payload.conversationId);
      const edited = editedFile(bytes, await this.#wordsOn(record.payload.conversationId));
      if (edited.equals(bytes)) continue;
      onStep(`edit ${CONVERSATIONS_FOLDER}`);
      await writeBeside(path, edited);
      await naming(path, () => rename(besideOf(path), path));
    }
    if (fileNames.length > 0) await syncFolder(join(outputDir, CONVERSATIONS_FOLDER));
  }

  /** What is in the file; then what was judged and has no line there, from its conversation file. */
  async *#editedLines(
    name: LineFile,
    edit: (line: string, words: PassWords) => string,
    rowsOf: (judged: Judged) => readonly object[],
  ): AsyncGenerator<Uint8Array> {
    const written = new Set<string>();
    for await (const { bytes, id } of this.#lines(name)) {
      if (id !== null) written.add(id);
      yield id === null ? bytes : asBytes(edit(fromBytes(bytes), await this.#wordsOn(id)));
      yield LINE_END;
    }
    yield* this.#missingLines(written, rowsOf);
  }

  /**
   * The ShareGPT lines of what the pass has judged; then what was in the file besides, so that no line of it is
   * lost; then what is in no line file, from its conversation file.
   */
  async *#judgedLines(): AsyncGenerator<Uint8Array> {
    const written = new Set<string>();
    for await (const { bytes, id } of this.#lines('conversations_sharegpt.jsonl')) {
      const judged = id === null || written.has(id) ? null : await this.#judged(id);
      if (id === null || judged === null) continue;
      written.add(id);
      yield this.#withColumn(bytes, judged.words, judged.column);
      yield LINE_END;
    }
    for await (const { bytes, id } of this.#lines('conversations_sharegpt_judged.jsonl')) {
      if (id !== null && written.has(id)) continue;
      if (id === null) yield bytes;
      else {
        const judged = await this.#judged(id);
        if (judged !== null) written.add(id);
        const words = judged?.words ?? (await this.#wordsOn(id));
        yield this.#withColumn(bytes, words, judged?.column ?? NOT_JUDGED);
      }
      yield LINE_END;
    }
    yield* this.#missingLines(written, (judged) => [this.#row(judged)]);
  }

  async *#missingLines(
    written: Set<string>,
    rowsOf: (judged: Judged) => readonly object[],
  ): AsyncGenerator<Uint8Array> {
    for (const name of this.#folder.fileNames) {
      // Nearly always the id; then the file need not be read.
      if (written.has(idOfFileName(name))) continue;
      const record = await readLegacyRecord(this.#folder.outputDir, name);
      if (record.type === 'unusable' || written.has(record.payload.conversationId)) continue;
      const judged = await this.#judged(record.payload.conversationId, record);
      if (judged === null) continue;
      written.add(record.payload.conversationId);
      for (const row of rowsOf(judged)) {
        yield Buffer.from(pythonJson(row));
        yield LINE_END;
      }
    }
  }

  #withColumn(bytes: Buffer, words: PassWords, column: object): Uint8Array {
    return asBytes(editedShareGpt(fromBytes(bytes), words, column, this.#folder.columns));
  }

  #row({ source, record, column }: Judged): object {
    const { columns } = this.#folder;
    const row = sharegptRow(source, columns) as Record<string, object>;
    return {
      ...row,
      [columns.metadata]: { ...row[columns.metadata], timestamp: record.timestamp },
      [columns.judge]: column,
    };
  }

  /** Null for a conversation that the pass has not judged. */
  async #judged(id: string, known?: LegacyRecord): Promise<Judged | null> {
    const words = await this.#wordsOn(id);
    if (words.verdicts.length === 0) return null;
    const record = known ?? (await this.#recordOf(id));
    if (record === null || record.type === 'unusable') return null;
    const { payload, responses } = underPass(record.payload, words.pass, words.verdicts);
    const source = { payload, committedAtMs: 0, rawResponses: responses };
    return { words, record, source, column: judgeColumn(source) ?? NOT_JUDGED };
  }

  async #recordOf(id: string): Promise<LegacyRecord | null> {
    const name = conversationFileName(id);
    return this.#fileNames.has(name) ? await readLegacyRecord(this.#folder.outputDir, name) : null;
  }

  async #wordsOn(id: string): Promise<PassWords> {
    if (this.#latest?.id === id) return this.#latest.words;
    const { verdicts } = this.#folder;
    const words = { pass: verdicts.pass, verdicts: await verdicts.of(id) };
    this.#latest = { id, words };
    return words;
  }

  async *#lines(name: LineFile): AsyncGenerator<{ readonly bytes: Buffer; readonly id: string | null }> {
    const { outputDir, prefix } = this.#folder;
    if (prefix[name] === 0) return;
    for await (const line of fileLines(join(outputDir, name))) {
      if (line.start >= prefix[name]) return;
      yield { bytes: line.bytes, id: idOfLine(line) };
    }
  }
}

/** The judge column of a line that was judged, but not in the pass that is shown. */
const NOT_JUDGED = { per_turn: [], avg_score: null, conversation: {} };
const LINE_END = Buffer.from('\n');
const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf]);

function idOfLine({ text }: FileLine): string | null {
  try {
    const id = conversationIdIn(parsePythonJson(text));
    return typeof id === 'string' ? id : null;
  } catch {
    // Not a line that anybody wrote whole: it stays as it is.
    return null;
  }
}

function editedFile(bytes: Buffer, words: PassWords): Buffer {
  const mark = bytes.subarray(0, 3).equals(BYTE_ORDER_MARK) ? 3 : 0;
  const edited = asBytes(editedRecord(fromBytes(bytes.subarray(mark)), words));
  return Buffer.concat([bytes.subarray(0, mark), edited]);
}
