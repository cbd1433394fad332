/** The lines of a result file: one request's answer or error each. Nothing in them is trusted. */
import { z } from 'zod';

const lineSchema = z.object({
  custom_id: z.string().min(1),
  response: z.object({ status_code: z.number().int(), body: z.unknown() }).nullish(),
  error: z.object({ code: z.string().nullish(), message: z.string().nullish() }).nullish().catch(null),
});

export type ResultLine = z.output<typeof lineSchema>;

/** A longer line is passed over: no answer of a judge has this length. */
const LINE_BYTES_MAX = 16 * 1024 * 1024;
const LINE_END = 10;

/** Null for a line that is none of a result file. Empty lines are left out. */
export async function* resultLines(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<ResultLine | null> {
  for await (const line of linesOf(chunks)) {
    if (line === null) yield null;
    else if (line.trim() !== '') yield lineSchema.safeParse(parseJson(line)).data ?? null;
  }
}

/** Null for a line beyond the limit, of which nothing is kept. */
async function* linesOf(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string | null> {
  let parts: Uint8Array[] = [];
  let size = 0;
  const add = (bytes: Uint8Array): void => {
    size += bytes.length;
    if (size <= LINE_BYTES_MAX) parts.push(bytes);
    else parts = [];
  };
  const take = (): string | null => {
    const line = size > LINE_BYTES_MAX ? null : Buffer.concat(parts).toString('utf8');
    parts = [];
    size = 0;
    return line;
  };
  for await (const chunk of chunks) {
    let start = 0;
    for (let end = chunk.indexOf(LINE_END); end !== -1; end = chunk.indexOf(LINE_END, start)) {
      add(chunk.subarray(start, end));
      start = end + 1;
      yield take();
    }
    add(chunk.subarray(start));
  }
  if (size > 0) yield take();
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // A broken line is an expected outcome: it is counted, and its request counts as not answered.
    return undefined;
  }
}
