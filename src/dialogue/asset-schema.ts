import type { z } from 'zod';
import { DlgforgeError } from '../kernel/errors.ts';

const SHOWN_ISSUES_MAX = 20;

/** Checks a parsed asset file. @throws DlgforgeError `config` listing every fault with file and key. */
export function parseAsset<T>(
  schema: z.ZodType<T>,
  file: { readonly file: string; readonly value: unknown },
): T {
  const result = schema.safeParse(file.value);
  if (result.success) return result.data;
  const { issues } = result.error;
  const lines = issues.slice(0, SHOWN_ISSUES_MAX).map((issue) => {
    const key = keyPath(issue.path);
    return `${file.file}: ${key === '' ? '' : `${key}: `}${issue.message}`;
  });
  if (issues.length > SHOWN_ISSUES_MAX)
    lines.push(`${file.file}: and ${issues.length - SHOWN_ISSUES_MAX} more`);
  throw new DlgforgeError('config', lines.join('\n'), {
    details: { file: file.file, issues: issues.length },
  });
}

/** `personas.user[3].traits` */
function keyPath(path: readonly PropertyKey[]): string {
  return path
    .map((part, at) => (typeof part === 'number' ? `[${part}]` : `${at === 0 ? '' : '.'}${String(part)}`))
    .join('');
}
