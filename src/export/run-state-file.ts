/**
 * `run_state/<run_id>.json` and `last_run_id.txt`: for people and for tools that knew 0.1.0. dlgforge
 * itself resumes from the store. Written whole at the start, the stop and the end of a run, streamed.
 */
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { pythonJsonIndented } from '../dialogue/python-json.ts';
import { type RunStateFacts, runStateHead, runStateSlot } from '../dialogue/records.ts';
import { DlgforgeError } from '../kernel/errors.ts';
import type { CommittedConversation } from '../ports/store.ts';
import { payloadOf, RUN_STATE_FOLDER } from './dataset-rows.ts';
import { besideOf, replaceFile, syncFolder } from './durable-file.ts';
import { naming } from './output-error.ts';

export interface RunStateOptions extends Omit<RunStateFacts, 'turnsMax' | 'slotCount'> {
  readonly outputDir: string;
  /** Committed and dropped conversations of the run, in rank order. */
  readonly conversations: AsyncIterable<CommittedConversation>;
}

/** The path of a run's state. @throws DlgforgeError `usage` for an id that could name a file elsewhere. */
export function runStatePath(outputDir: string, runId: string): string {
  if (!/^(?!\.)[^/\\\0]{1,200}$/.test(runId)) {
    throw new DlgforgeError(
      'usage',
      `the run id ${JSON.stringify(runId)} cannot be a file name. Use letters, digits, dots, dashes and underscores.`,
    );
  }
  return join(outputDir, RUN_STATE_FOLDER, `${runId}.json`);
}

export async function writeRunState(options: RunStateOptions): Promise<void> {
  const path = runStatePath(options.outputDir, options.runId);
  const slotsPath = `${path}.slots`;
  const beside = besideOf(path);
  try {
    // The head counts the slots, so they are written to a file of their own first: one pass over the store.
    const slots = await writeSlots(slotsPath, options.conversations);
    await assemble(beside, runStateHead({ ...options, ...slots }), slots.slotCount, slotsPath);
    await naming(path, () => rename(beside, path));
  } finally {
    await rm(slotsPath, { force: true });
  }
  const folder = join(options.outputDir, RUN_STATE_FOLDER);
  await replaceFile(join(folder, 'last_run_id.txt'), options.runId);
  await syncFolder(folder);
}

type SlotTotals = Pick<RunStateFacts, 'turnsMax' | 'slotCount'>;

async function writeSlots(
  path: string,
  conversations: AsyncIterable<CommittedConversation>,
): Promise<SlotTotals> {
  return await naming(path, async () => {
    await using file = await open(path, 'w');
    let turnsMax = 0;
    let slotCount = 0;
    for await (const conversation of conversations) {
      const { slot, turns } = slotOf(conversation);
      await file.write(`${slotCount === 0 ? '' : ',\n'}${slotText(slot)}`);
      turnsMax = Math.max(turnsMax, turns);
      slotCount += 1;
    }
    return { turnsMax, slotCount };
  });
}

function slotText(slot: object): string {
  // Not a regular expression with the flag `m`: to that, U+2028 in a text is the end of a line too.
  return pythonJsonIndented(slot)
    .split('\n')
    .map((line) => `    ${line}`)
    .join('\n');
}

function slotOf(conversation: CommittedConversation): { readonly slot: object; readonly turns: number } {
  const { status, index, conversationId, reason } = conversation;
  // A conversation that never got anywhere may have been dropped without a payload.
  const payload = status === 'dropped' && conversation.payload === null ? null : payloadOf(conversation);
  const shown = status === 'dropped' ? 'dropped' : 'completed';
  return {
    slot: runStateSlot(payload ?? { index, conversationId }, shown, reason ?? ''),
    turns: payload?.targetTurns ?? 0,
  };
}

async function assemble(path: string, head: object, slotCount: number, slotsPath: string): Promise<void> {
  const opened = pythonJsonIndented(head).slice(0, -'\n}'.length);
  await naming(path, async () => {
    await using file = await open(path, 'w');
    await file.write(`${opened},\n  "conversations": [`);
    if (slotCount > 0) {
      await file.write('\n');
      await copyInto(file, slotsPath);
      await file.write('\n  ');
    }
    await file.write(']\n}');
    await file.sync();
  });
}

async function copyInto(target: FileHandle, path: string): Promise<void> {
  await using source = await open(path, 'r');
  for await (const chunk of source.createReadStream({ autoClose: false }) as AsyncIterable<Buffer>) {
    await target.writeFile(chunk);
  }
}
