/** Bytes to text. Runs in a worker thread: parsing a PDF takes the processor for long. */
import { messageOf } from '../kernel/errors.ts';

/** The expected outcome that a file holds no text we can use; `reason` is for the user. */
export type DocumentText =
  | { readonly type: 'text'; readonly text: string }
  | { readonly type: 'unreadable'; readonly reason: string };

const unreadable = (reason: string): DocumentText => ({ type: 'unreadable', reason });

/** More control characters than this share, and the bytes are not text in any encoding we read. */
const CONTROL_SHARE_MAX = 0.02;
const SAMPLE_LENGTH = 65_536;
/** A gap between lines that is larger than this many line heights separates paragraphs. */
const PARAGRAPH_GAP = 1.6;

const startsWith = (bytes: Uint8Array, ...prefix: readonly number[]): boolean =>
  prefix.every((byte, i) => bytes[i] === byte);

/** UTF-8, UTF-16 by its byte order mark, else Latin-1 (as browsers read it, which is Windows-1252). */
function decode(bytes: Uint8Array): string {
  if (startsWith(bytes, 0xff, 0xfe)) return new TextDecoder('utf-16le').decode(bytes);
  if (startsWith(bytes, 0xfe, 0xff)) return new TextDecoder('utf-16be').decode(bytes);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return new TextDecoder('windows-1252').decode(bytes);
  }
}

/** Tab, line feed, vertical tab, form feed, carriage return and escape occur in text. */
const isControl = (code: number): boolean =>
  code === 0x7f || (code < 0x20 && !(code >= 0x09 && code <= 0x0d) && code !== 0x1b);

function looksBinary(text: string): boolean {
  const sample = text.slice(0, SAMPLE_LENGTH);
  if (sample.includes('\0')) return true;
  let controls = 0;
  for (let i = 0; i < sample.length; i += 1) if (isControl(sample.charCodeAt(i))) controls += 1;
  return controls > sample.length * CONTROL_SHARE_MAX;
}

/** The text that offsets count in: line feeds only, no half characters, no NULs. */
function normalised(text: string): string {
  return text.replace(/\r\n?/g, '\n').replaceAll('\0', '').toWellFormed();
}

function plainText(bytes: Uint8Array): DocumentText {
  const text = decode(bytes);
  if (looksBinary(text)) return unreadable('it is binary data, not text');
  const clean = normalised(text);
  return clean.trim() === '' ? unreadable('it holds nothing but white space') : { type: 'text', text: clean };
}

interface TextItem {
  readonly str: string;
  readonly hasEOL: boolean;
  readonly height: number;
  readonly transform: readonly number[];
}

const isTextItem = (item: object): item is TextItem => 'str' in item && 'transform' in item;

/** Joins the runs of a page; a wide gap between two lines becomes an empty line. */
export function pageText(items: readonly object[]): string {
  let text = '';
  let lastLine: { readonly y: number; readonly height: number } | null = null;
  let atLineStart = true;
  for (const item of items) {
    if (!isTextItem(item)) continue;
    const y = item.transform[5] ?? 0;
    if (item.str.trim() !== '' && atLineStart) {
      if (lastLine && Math.abs(lastLine.y - y) > PARAGRAPH_GAP * Math.max(lastLine.height, item.height))
        text += '\n';
      lastLine = { y, height: item.height };
      atLineStart = false;
    }
    text += item.str;
    if (item.hasEOL) {
      text = `${text.trimEnd()}\n`;
      atLineStart = true;
    }
  }
  return text.trim();
}

async function pdfText(bytes: Uint8Array): Promise<DocumentText> {
  const { getDocumentProxy } = await import('unpdf');
  const document = await getDocumentProxy(bytes, { verbosity: 0 });
  try {
    const pages: string[] = [];
    for (let number = 1; number <= document.numPages; number += 1) {
      const page = await document.getPage(number);
      pages.push(pageText((await page.getTextContent()).items));
      page.cleanup();
    }
    const text = normalised(pages.filter((page) => page !== '').join('\n\n')).normalize('NFC');
    return text.trim() === ''
      ? unreadable('the PDF holds no text; scanned pages need character recognition first')
      : { type: 'text', text };
  } finally {
    await document.loadingTask.destroy();
  }
}

function pdfFailure(error: unknown): DocumentText {
  if (error instanceof Error && error.name === 'PasswordException')
    return unreadable('the PDF is encrypted; save it without a password');
  return unreadable(`the PDF is broken (${messageOf(error)})`);
}

export async function documentText(source: string, bytes: Uint8Array): Promise<DocumentText> {
  if (bytes.length === 0) return unreadable('it is empty');
  return /\.pdf$/i.test(source) ? pdfText(bytes).catch(pdfFailure) : plainText(bytes);
}
