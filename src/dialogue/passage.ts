/** One chunk of a knowledge document. */
export interface Passage {
  /** A function of the file's relative path, its position and its text; moving the project keeps it. */
  readonly id: string;
  /** Path relative to the knowledge folder, `/` separated. Never shown to a model. */
  readonly source: string;
  /** A readable name of the place, for prompts and tool results: title and section, no path. */
  readonly descriptor: string;
  /** Position among the chunks of its document, from 0. */
  readonly index: number;
  readonly text: string;
  /** Offsets into the document's text, in UTF-16 code units, end exclusive. */
  readonly charStart: number;
  readonly charEnd: number;
}

/** A document and its passages in reading order, without their texts. */
export interface DocumentEntry {
  readonly source: string;
  readonly passageIds: readonly string[];
}
