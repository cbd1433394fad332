import { openStoreOfRuns, type StoreFlags } from '../../bootstrap/cluster/runs-store.ts';
import { conversationJson, showConversation } from '../../bootstrap/show-conversation.ts';
import { processEnvironment } from '../../config/environment.ts';
import { conversationLines } from '../conversation-lines.ts';
import { EXIT } from '../exit-codes.ts';
import { lineStyle, print, say } from '../terminal.ts';

interface Flags extends StoreFlags {
  readonly json?: boolean;
}

export async function show(id: string, config: string | undefined, flags: Flags): Promise<number> {
  const named = config === undefined ? flags : { ...flags, config };
  const opened = await openStoreOfRuns(named, processEnvironment(), say);
  try {
    const shown = await showConversation(opened, id);
    if (flags.json === true) print(conversationJson(shown));
    else print(conversationLines(shown, lineStyle()).join('\n'));
    return EXIT.done;
  } finally {
    await opened.close();
  }
}
