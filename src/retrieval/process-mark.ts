/** Names a process in a file, so that another one can tell whether it still lives. */
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { z } from 'zod';

const markSchema = z.object({ host: z.string(), pid: z.number().int().positive(), startedAt: z.string() });
export type ProcessMark = z.infer<typeof markSchema>;

/** Start time in clock ticks since boot (proc(5), field 22): a pid that was given again has another. */
function startOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  } catch {
    // No /proc on this system, or no such process: `isAlive` then goes by the signal alone.
    return null;
  }
}

export const ownMark = (): ProcessMark => ({
  host: hostname(),
  pid: process.pid,
  startedAt: startOf(process.pid) ?? '',
});

export function parseMark(text: string): ProcessMark | null {
  try {
    return markSchema.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    // Not JSON: written by nobody who follows these rules, so it marks no living process.
    return null;
  }
}

/** `unknown` for a process of another machine. */
export function isAlive(mark: ProcessMark): boolean | 'unknown' {
  if (mark.host !== hostname()) return 'unknown';
  try {
    process.kill(mark.pid, 0);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EPERM')) return false;
  }
  const start = startOf(mark.pid);
  return start === null || mark.startedAt === '' || start === mark.startedAt;
}
