/** What is stored of the batches of a pass: names and shapes, checked when it is read. */
import { z } from 'zod';
import { DlgforgeError } from '../kernel/errors.ts';

const formSchema = z.object({
  url: z.string(),
  format: z.enum(['json_schema', 'json_object', 'text']),
  maxTokensField: z.enum(['max_tokens', 'max_completion_tokens']),
  model: z.string(),
});

/** One request of a part: whose it is, and the hash of what was sent. */
const entrySchema = z.object({ unit: z.string(), requestKey: z.string(), bodyHash: z.string() });
export type BatchEntry = z.output<typeof entrySchema>;

const partEventSchema = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('BatchUploaded'),
    part: z.string(),
    endpoint: z.string(),
    fileId: z.string(),
    requests: z.number().int(),
    form: formSchema,
  }),
  z.object({ type: z.literal('BatchCreated'), part: z.string(), batchId: z.string() }),
  /** Everything that it gave is journalled; nothing is to be expected of it any more. */
  z.object({ type: z.literal('BatchSettled'), part: z.string(), end: z.string() }),
]);
export type BatchEvent = z.output<typeof partEventSchema>;

const entriesSchema = z.object({ type: z.literal('BatchEntriesNoted'), entries: z.array(entrySchema) });
export type BatchEntriesNoted = z.output<typeof entriesSchema>;

export const decodeBatchEvent = (stored: unknown): BatchEvent => decoded(partEventSchema, stored);
export const decodeBatchEntries = (stored: unknown): BatchEntriesNoted => decoded(entriesSchema, stored);

function decoded<T>(schema: z.ZodType<T>, stored: unknown): T {
  const read = schema.safeParse(stored);
  if (read.success) return read.data;
  throw new DlgforgeError(
    'store',
    'The record of batches holds an event that this release does not know. Go on with the release of dlgforge that wrote it.',
  );
}
