/** The names that a namespace has on the server: subjects, the stream, the bucket. */
import { sha256 } from '../../kernel/hash.ts';

const ROOT = 'dlgforge';

/** Any text as one word of a subject: no dot, wildcard or white space is left in it. */
export function subjectWord(text: string): string {
  const encoded = encodeURIComponent(text.toWellFormed());
  return encoded.replace(/[.*]/g, (char) => (char === '.' ? '%2E' : '%2A'));
}

/** The text of `subjectWord`, or null when it is none. */
export function wordText(word: string): string | null {
  try {
    return decodeURIComponent(word);
  } catch {
    return null;
  }
}

export interface Subjects {
  /** What everybody hears. */
  readonly all: string;
  /** Said when the work stream had to be made anew. */
  readonly workLost: string;
  /** Everything in the work queue. */
  readonly work: string;
  readonly workStream: string;
  readonly bucket: string;
  mailbox(node: string): string;
  probe(node: string): string;
  /**
   * The reply subject of a batch. Nobody answers it; the server says there that nobody received the batch.
   * It also tells the receiver who sent it.
   */
  back(from: string, to: string): string;
  /** Every `back` of one sender. */
  allBack(from: string): string;
  workOf(runId: string): string;
  workItem(runId: string, languageIndex: number, index: number): string;
  /** The durable consumer of a run. */
  workConsumer(runId: string): string;
}

export function subjectsOf(namespace: string): Subjects {
  const word = subjectWord(namespace);
  const root = `${ROOT}.${word}`;
  // Names of streams and buckets have a smaller alphabet than subjects.
  const name = /^[A-Za-z0-9_-]{1,64}$/.test(namespace) ? namespace : sha256(namespace).slice(0, 24);
  const workOf = (runId: string): string => `${root}.work.${subjectWord(runId)}`;
  return {
    all: `${root}.all`,
    workLost: `${root}.lost`,
    work: `${root}.work.>`,
    workStream: `DLGFORGE_${name}_WORK`,
    bucket: `dlgforge_${name}`,
    mailbox: (node) => `${root}.node.${subjectWord(node)}`,
    probe: (node) => `${root}.probe.${subjectWord(node)}`,
    back: (from, to) => `${root}.back.${subjectWord(from)}.${subjectWord(to)}`,
    allBack: (from) => `${root}.back.${subjectWord(from)}.*`,
    workOf: (runId) => `${workOf(runId)}.>`,
    workItem: (runId, languageIndex, index) => `${workOf(runId)}.${languageIndex}.${index}`,
    workConsumer: (runId) => `run_${sha256(runId).slice(0, 32)}`,
  };
}

/** Sender and destination of a `back` subject, or null when it is none. */
export function readBack(subject: string): { readonly from: string; readonly to: string } | null {
  const words = subject.split('.');
  if (words.length !== 5 || words[0] !== ROOT || words[2] !== 'back') return null;
  const from = wordText(words[3] ?? '');
  const to = wordText(words[4] ?? '');
  return from === null || to === null ? null : { from, to };
}
