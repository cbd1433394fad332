/**
 * Makes the PDF of the quick start's knowledge folder from `quickstart-pdf.txt`; the same bytes every
 * time. Run it after changing the text: `node scripts/make-quickstart-pdf.ts`.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { PDFDocument, type PDFFont, type PDFPage, StandardFonts } from 'pdf-lib';

const SOURCE = new URL('quickstart-pdf.txt', import.meta.url);
const TARGET = new URL('../examples/quickstart/knowledge/history-of-tide-prediction.pdf', import.meta.url);

/** A4 in points. */
const PAGE = { width: 595, height: 842, margin: 72 };
/** No clock in the file: equal text, equal bytes. */
const DATED = new Date('2025-01-01T00:00:00Z');

interface Style {
  readonly font: PDFFont;
  readonly size: number;
  readonly spaceBefore: number;
}

function wrap(text: string, { font, size }: Style): string[] {
  const width = PAGE.width - 2 * PAGE.margin;
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const longer = lines.length === 0 ? word : `${lines.at(-1)} ${word}`;
    if (lines.length > 0 && font.widthOfTextAtSize(longer, size) <= width) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines;
}

async function render(text: string): Promise<Uint8Array> {
  const document = await PDFDocument.create();
  const plain = await document.embedFont(StandardFonts.TimesRoman);
  const bold = await document.embedFont(StandardFonts.HelveticaBold);
  const styles = {
    title: { font: bold, size: 18, spaceBefore: 0 },
    heading: { font: bold, size: 13, spaceBefore: 16 },
    body: { font: plain, size: 11.5, spaceBefore: 7 },
  };
  const paragraphs = text.trim().split(/\n\s*\n/);
  document.setTitle((paragraphs[0] ?? '').replace(/^# /, ''));
  document.setCreationDate(DATED);
  document.setModificationDate(DATED);

  let page: PDFPage | null = null;
  let y = 0;
  for (const paragraph of paragraphs) {
    const style = paragraph.startsWith('## ')
      ? styles.heading
      : paragraph.startsWith('# ')
        ? styles.title
        : styles.body;
    const lineHeight = style.size * 1.35;
    y -= style.spaceBefore;
    for (const line of wrap(paragraph.replace(/^#+ /, ''), style)) {
      if (page === null || y - lineHeight < PAGE.margin) {
        page = document.addPage([PAGE.width, PAGE.height]);
        y = PAGE.height - PAGE.margin;
      }
      y -= lineHeight;
      page.drawText(line, { x: PAGE.margin, y, font: style.font, size: style.size });
    }
  }
  return document.save();
}

writeFileSync(TARGET, await render(readFileSync(SOURCE, 'utf8')));
