/** Reads a knowledge folder as indexing would, and keeps nothing: for finding out beforehand what it is worth. */
import { DocumentPool } from './document-pool.ts';
import { scanKnowledge, type SkippedFile } from './documents.ts';
import type { ChunkingParameters } from './chunking.ts';

export interface KnowledgeSurvey {
  readonly documents: number;
  readonly passages: number;
  /** By relative path. */
  readonly skipped: readonly SkippedFile[];
  /** Files beyond the limit, not looked at. */
  readonly notRead: number;
}

/** @throws DlgforgeError `knowledge` when the folder is missing or has no supported file in it. */
export async function surveyKnowledge(
  folder: string,
  chunking: ChunkingParameters,
  filesMax: number,
): Promise<KnowledgeSurvey> {
  const { files, skipped } = await scanKnowledge(folder);
  const read = files.slice(0, filesMax);
  const pool = new DocumentPool();
  try {
    const outcomes = await Promise.all(read.map(({ source, path }) => pool.read({ source, path, chunking })));
    const passages = outcomes.map((outcome) => (outcome.type === 'passages' ? outcome.passages.length : 0));
    const unreadable = outcomes.flatMap((outcome, at): SkippedFile[] =>
      outcome.type === 'unreadable' ? [{ source: read[at]?.source ?? '', reason: outcome.reason }] : [],
    );
    return {
      documents: read.length - unreadable.length,
      passages: passages.reduce((sum, count) => sum + count, 0),
      skipped: [...skipped, ...unreadable],
      notRead: files.length - read.length,
    };
  } finally {
    await pool.close();
  }
}
