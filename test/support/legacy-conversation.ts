import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type LegacyConversation, readRunState } from '../../src/export/legacy-run-state.ts';
import { batchedState, type OldSlot } from './legacy-files.ts';

/** A conversation as it is read from a run state with this one slot. */
export async function conversationOf(slot: OldSlot): Promise<LegacyConversation> {
  const folder = await mkdtemp(join(tmpdir(), 'dlgforge-state-'));
  try {
    const path = join(folder, 'R.json');
    await writeFile(path, JSON.stringify(batchedState('R', 'english', [slot])));
    const [conversation] = (await readRunState(path))?.conversations ?? [];
    if (conversation === undefined) throw new Error('a state with one slot has one conversation');
    return conversation;
  } finally {
    await rm(folder, { recursive: true });
  }
}
