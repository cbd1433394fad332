/** A temporary knowledge folder with its index, and what tests of both need. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Logger } from '../../../src/kernel/logger.ts';
import type { Embedder } from '../../../src/ports/retriever.ts';
import { buildIndex, type IndexOptions, type IndexReport } from '../../../src/retrieval/index-builder.ts';
import {
  type LancedbRetriever,
  type OpenOptions,
  openIndex,
} from '../../../src/retrieval/lancedb-retriever.ts';

export interface LogLine {
  readonly level: string;
  readonly message: string;
}

export class Knowledge implements AsyncDisposable {
  readonly root: string;
  readonly lines: LogLine[] = [];
  readonly logger: Logger = { log: (level, _category, message) => void this.lines.push({ level, message }) };
  readonly #open: LancedbRetriever[] = [];

  private constructor(root: string) {
    this.root = root;
  }

  static async create(files: Readonly<Record<string, string | Uint8Array>>): Promise<Knowledge> {
    const knowledge = new Knowledge(await mkdtemp(join(tmpdir(), 'dlgforge-knowledge-')));
    await mkdir(knowledge.folder);
    for (const [name, content] of Object.entries(files)) await knowledge.write(name, content);
    return knowledge;
  }

  get folder(): string {
    return join(this.root, 'knowledge');
  }

  get persistDir(): string {
    return join(this.root, 'knowledge_index');
  }

  async write(name: string, content: string | Uint8Array): Promise<void> {
    await mkdir(dirname(join(this.folder, name)), { recursive: true });
    await writeFile(join(this.folder, name), content);
  }

  async remove(name: string): Promise<void> {
    await rm(join(this.folder, name));
  }

  options(changes: Partial<IndexOptions> = {}): IndexOptions {
    return {
      knowledgeDir: this.folder,
      persistDir: this.persistDir,
      chunkSize: 300,
      chunkOverlap: 50,
      rebuild: false,
      skipIfUnchanged: true,
      embedder: null,
      logger: this.logger,
      ...changes,
    };
  }

  build(changes: Partial<IndexOptions> = {}): Promise<IndexReport> {
    return buildIndex(this.options(changes));
  }

  async open(changes: Partial<OpenOptions> = {}): Promise<LancedbRetriever> {
    const retriever = await openIndex({
      persistDir: this.persistDir,
      embedder: null,
      reranker: null,
      logger: this.logger,
      ...changes,
    });
    this.#open.push(retriever);
    return retriever;
  }

  async buildAndOpen(embedder: Embedder | null = null): Promise<LancedbRetriever> {
    await this.build({ embedder });
    return this.open({ embedder });
  }

  /** The live table's name. */
  async liveTable(): Promise<string> {
    return (JSON.parse(await readFile(join(this.persistDir, 'manifest.json'), 'utf8')) as { table: string })
      .table;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#open.map((retriever) => retriever.close()));
    await rm(this.root, { recursive: true });
  }
}

/** Documents on one subject, in several languages, long enough for several passages each. */
export const MARKET: Readonly<Record<string, string>> = {
  'market-rules.md': `# Market Rules\n\n## Opening hours\n\nThe market opens at eight in the morning and closes at noon.\n${'Stalls are set up one hour before and taken down one hour after. '.repeat(6)}\n\n## Prices\n\nFruit is sold by weight, herbs by the bunch. ${'Every price is written on a board. '.repeat(8)}\n`,
  'sub/arabic.txt': 'يفتح السوق في الثامنة صباحا كل يوم. تباع الفواكه بالوزن.',
  'sub/marche.txt': "Le marché ouvre à huit heures. L'été, les pêches coûtent moins cher.",
  'sub/ichiba.txt': '市場は午前八時に開きます。果物は量り売りです。',
};

/** `count` documents of invented words, seeded, so that scores differ and repeat. */
export function wordDocuments(count: number, words: number, seed = 1): Record<string, string> {
  let state = seed;
  const next = (): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return state / 2 ** 32;
  };
  const word = (): string => `w${Math.floor(next() ** 3 * 800).toString(36)}`;
  return Object.fromEntries(
    Array.from({ length: count }, (_, i) => [
      `doc-${String(i).padStart(3, '0')}.txt`,
      Array.from({ length: words }, word).join(' '),
    ]),
  );
}
