/**
 * What is kept in memory of an index: the documents with their passage ids; the passages themselves
 * while their text is small enough, and their terms while it is smaller still. Larger indexes read
 * passages by row and keep the latest ones, and have their terms searched by LanceDB.
 */
import type { DocumentEntry, Passage } from '../dialogue/passage.ts';
import type { PassageTable } from './passage-table.ts';
import { RecentCache } from './recent-cache.ts';
import { SEARCHED_IN_MEMORY_MAX, TermIndex } from './term-index.ts';

/** In characters; in memory one or two bytes each. */
export const RESIDENT_TEXT_MAX = 64 * 1024 * 1024;
const RECENT_PASSAGES = 10_000;

export class Inventory {
  readonly documents: readonly DocumentEntry[];
  /** Null when the index is searched on disk. */
  readonly terms: TermIndex | null;
  readonly #ids: readonly string[];
  readonly #rowOf: ReadonlyMap<string, number>;
  readonly #resident: readonly Passage[] | null;
  readonly #recent = new RecentCache<number, Passage>(RECENT_PASSAGES);
  readonly #table: PassageTable;

  private constructor(
    table: PassageTable,
    documents: readonly DocumentEntry[],
    ids: readonly string[],
    resident: readonly Passage[] | null,
    terms: TermIndex | null,
  ) {
    this.#table = table;
    this.terms = terms;
    this.documents = documents;
    this.#ids = ids;
    this.#rowOf = new Map(ids.map((id, row) => [id, row]));
    this.#resident = resident;
  }

  static async load(
    table: PassageTable,
    textLength: number,
    residentTextMax = RESIDENT_TEXT_MAX,
  ): Promise<Inventory> {
    const keep = textLength <= residentTextMax;
    const terms = textLength <= Math.min(residentTextMax, SEARCHED_IN_MEMORY_MAX) ? new TermIndex() : null;
    const resident: Passage[] = [];
    const ids: string[] = [];
    const documents: { source: string; passageIds: string[] }[] = [];
    for await (const { passage, terms: words } of table.passages(terms !== null)) {
      ids.push(passage.id);
      terms?.add(words);
      if (keep) resident.push(passage);
      const last = documents.at(-1);
      if (last?.source === passage.source) last.passageIds.push(passage.id);
      else documents.push({ source: passage.source, passageIds: [passage.id] });
    }
    return new Inventory(table, documents, ids, keep ? resident : null, terms);
  }

  get size(): number {
    return this.#ids.length;
  }

  idAt(row: number): string {
    return this.#ids[row] ?? '';
  }

  /** Rows of the known ones among these ids, in the order asked for. */
  rowsOf(ids: readonly string[]): number[] {
    return ids.flatMap((id) => this.#rowOf.get(id) ?? []);
  }

  async passages(rows: readonly number[]): Promise<Passage[]> {
    const resident = this.#resident;
    if (resident !== null) return rows.flatMap((row) => resident[row] ?? []);
    const found = new Map<number, Passage>();
    for (const row of rows) {
      const passage = this.#recent.get(row);
      if (passage) found.set(row, passage);
    }
    const absent = [...new Set(rows)].filter((row) => !found.has(row));
    if (absent.length > 0) {
      for (const [row, passage] of await this.#table.passagesAt(absent)) {
        found.set(row, passage);
        this.#recent.set(row, passage);
      }
    }
    return rows.flatMap((row) => found.get(row) ?? []);
  }
}
