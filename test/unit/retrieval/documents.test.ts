import { chmod, mkdir, mkdtemp, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PDFDocument } from 'pdf-lib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { documentText } from '../../../src/retrieval/document-text.ts';
import { scanKnowledge } from '../../../src/retrieval/documents.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'dlgforge-documents-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

const bytes = (text: string, encoding: BufferEncoding = 'utf8'): Uint8Array =>
  new Uint8Array(Buffer.from(text, encoding));
const textOf = async (data: Uint8Array, name = 'a.txt'): Promise<string> => {
  const document = await documentText(name, data);
  return document.type === 'text' ? document.text : `unreadable: ${document.reason}`;
};

describe('finding documents', () => {
  it('finds .txt, .md and .pdf of any case, recursively, by relative path', async () => {
    await mkdir(join(folder, 'b', 'deep'), { recursive: true });
    for (const name of ['z.TXT', 'b/deep/a.Md', 'b/x.pdf', 'b/no.docx', 'README'])
      await writeFile(join(folder, name), 'x');
    expect((await scanKnowledge(folder)).files.map(({ source }) => source)).toEqual([
      'b/deep/a.Md',
      'b/x.pdf',
      'z.TXT',
    ]);
  });

  it('survives links in circles, follows links, and reports broken ones', async () => {
    await mkdir(join(folder, 'real'));
    await writeFile(join(folder, 'real', 'a.md'), 'x');
    await symlink(folder, join(folder, 'real', 'loop'));
    await symlink(join(folder, 'real'), join(folder, 'again'));
    await symlink(join(folder, 'real', 'a.md'), join(folder, 'linked.md'));
    await symlink(join(folder, 'gone.md'), join(folder, 'broken.md'));
    const found = await scanKnowledge(folder);
    expect(found.files.map(({ source }) => source)).toEqual(['linked.md', 'real/a.md']);
    expect(found.skipped).toEqual([{ source: 'broken.md', reason: 'the link leads nowhere' }]);
  });

  it('reports what is too large to hold in memory', async () => {
    await writeFile(join(folder, 'huge.txt'), '');
    await truncate(join(folder, 'huge.txt'), 65 * 1024 * 1024);
    expect((await scanKnowledge(folder)).skipped).toEqual([
      { source: 'huge.txt', reason: 'larger than 64 MiB; split it' },
    ]);
  });

  it('F8 refuses a missing folder, and one without documents, by name', async () => {
    await expect(scanKnowledge(join(folder, 'none'))).rejects.toMatchObject({
      code: 'knowledge',
      message: expect.stringMatching(`^Missing knowledge directory: ${join(folder, 'none')}`),
    });
    await writeFile(join(folder, 'a.docx'), 'x');
    await expect(scanKnowledge(folder)).rejects.toMatchObject({
      code: 'knowledge',
      message: expect.stringMatching('^No supported knowledge files found'),
    });
  });

  it.runIf(process.getuid?.() !== 0)('reports a folder that may not be entered', async () => {
    await mkdir(join(folder, 'closed'), { mode: 0 });
    await writeFile(join(folder, 'a.md'), 'x');
    expect((await scanKnowledge(folder)).skipped).toMatchObject([
      { source: 'closed', reason: expect.stringContaining('permission denied') },
    ]);
    await chmod(join(folder, 'closed'), 0o700);
  });
});

describe('reading documents', () => {
  it('decodes UTF-8, UTF-16 by its mark, and else Latin-1', async () => {
    expect(await textOf(bytes('\ufeffété'))).toBe('été');
    expect(await textOf(bytes('\ufeffété سوق', 'utf16le'))).toBe('été سوق');
    expect(await textOf(new Uint8Array([0xfe, 0xff, 0x00, 0xe9]))).toBe('é');
    expect(await textOf(bytes('été', 'latin1'))).toBe('été');
    expect(await textOf(bytes('a\r\nb\rc'))).toBe('a\nb\nc');
  });

  it('F8 says why a file gives no text', async () => {
    expect(await textOf(bytes(''))).toBe('unreadable: it is empty');
    expect(await textOf(bytes(' \n '))).toBe('unreadable: it holds nothing but white space');
    expect(await textOf(new Uint8Array([0x50, 0x4b, 3, 4, 0, 0, 1]))).toBe(
      'unreadable: it is binary data, not text',
    );
    expect(await textOf(bytes('%PDF-1.7 nonsense'), 'a.pdf')).toMatch(/^unreadable: the PDF is broken/);
    const blank = await PDFDocument.create();
    blank.addPage();
    expect(await textOf(await blank.save(), 'a.PDF')).toMatch(/^unreadable: the PDF holds no text/);
  });

  it('reads a PDF page by page, with paragraphs', async () => {
    const pdf = await PDFDocument.create();
    const page = pdf.addPage([400, 400]);
    page.drawText('The market opens at eight.', { x: 40, y: 350, size: 12 });
    page.drawText('It closes at noon.', { x: 40, y: 335, size: 12 });
    page.drawText('Fruit is sold by weight.', { x: 40, y: 290, size: 12 });
    pdf.addPage([400, 400]).drawText('Second page.', { x: 40, y: 350, size: 12 });
    expect(await textOf(await pdf.save(), 'a.pdf')).toBe(
      'The market opens at eight.\nIt closes at noon.\n\nFruit is sold by weight.\n\nSecond page.',
    );
  });
});
