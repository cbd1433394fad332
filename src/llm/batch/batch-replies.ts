/** What a provider says of files and batches, checked when it is read. */
import { z } from 'zod';
import type { BatchState } from '../../ports/batch.ts';

export const fileReply = z.object({ id: z.string().min(1) });

const seconds = z.number().nullish().catch(null);

export const batchReply = z.object({
  id: z.string().min(1),
  status: z.string(),
  input_file_id: z.string().nullish(),
  output_file_id: z.string().nullish(),
  error_file_id: z.string().nullish(),
  errors: z
    .object({
      data: z
        .array(
          z.object({
            code: z.string().nullish(),
            message: z.string().nullish(),
            line: z.number().nullish(),
          }),
        )
        .nullish(),
    })
    .nullish()
    .catch(null),
  metadata: z.record(z.string(), z.unknown()).nullish().catch(null),
  request_counts: z
    .object({ total: z.number(), completed: z.number(), failed: z.number() })
    .nullish()
    .catch(null),
  created_at: seconds,
  completed_at: seconds,
  expired_at: seconds,
  cancelled_at: seconds,
});
export type BatchReply = z.output<typeof batchReply>;

export const batchListReply = z.object({
  data: z.array(batchReply),
  has_more: z.boolean().nullish().catch(null),
});

const ENDS: Readonly<Record<string, BatchState['status']>> = {
  completed: 'completed',
  failed: 'failed',
  expired: 'expired',
  cancelled: 'cancelled',
};
const ERRORS_SHOWN = 3;

export function batchState(reply: BatchReply): BatchState {
  const { request_counts: counts, created_at: createdAt } = reply;
  const endedAt = reply.completed_at ?? reply.expired_at ?? reply.cancelled_at ?? null;
  return {
    id: reply.id,
    status: ENDS[reply.status.toLowerCase()] ?? 'open',
    total: counts?.total ?? 0,
    done: (counts?.completed ?? 0) + (counts?.failed ?? 0),
    resultFiles: [reply.output_file_id, reply.error_file_id].filter(
      (id) => id != null && id !== '',
    ) as string[],
    errors: errorsText(reply),
    createdAtMs: createdAt == null ? null : createdAt * 1000,
    tookMs: createdAt == null || endedAt === null ? 0 : Math.max(0, Math.round((endedAt - createdAt) * 1000)),
  };
}

function errorsText({ errors }: BatchReply): string {
  const all = errors?.data ?? [];
  const shown = all
    .slice(0, ERRORS_SHOWN)
    .map(({ code, message, line }) =>
      [line == null ? '' : `line ${line}`, message ?? code ?? ''].filter((part) => part !== '').join(': '),
    );
  return [...shown, ...(all.length > ERRORS_SHOWN ? [`and ${all.length - ERRORS_SHOWN} more`] : [])]
    .join('; ')
    .slice(0, 1_000);
}
