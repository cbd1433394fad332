/** The conversations that there are to judge: those of the store, and files of 0.1.0 in the output folder. */
import { conversationPersistenceId } from '../../actors/conversation.ts';
import type { ConversationPayload } from '../../dialogue/conversation-record.ts';
import { initialConversation } from '../../dialogue/conversation-state.ts';
import { evolve } from '../../dialogue/evolve-conversation.ts';
import {
  type JudgedConversation,
  judgedFromJournal,
  judgedFromRecord,
} from '../../dialogue/judge-requests.ts';
import { payloadOf } from '../../export/dataset-rows.ts';
import { conversationFileName, conversationFileNames, readLegacyRecord } from '../../export/legacy-record.ts';
import type { DatasetId } from '../../kernel/ids.ts';
import type { CommittedConversation, Store } from '../../ports/store.ts';
import { decodeConversationEvent, decodeConversationSnapshot } from '../../protocol/stored-events.ts';

export interface Candidate {
  readonly payload: ConversationPayload;
  /** With what the judge is to see. */
  load(): Promise<JudgedConversation>;
}

export interface CandidateSource {
  readonly store: Pick<Store, 'committed' | 'journal'>;
  /** Null for a folder that no dataset is known of. */
  readonly datasetId: DatasetId | null;
  readonly outputDir: string;
  /** Told of files that cannot be judged. */
  readonly onSkipped: (fileName: string, reason: string) => void;
}

/** In the order of their commits; files of 0.1.0 after them, by name. */
export async function* candidates(source: CandidateSource): AsyncGenerator<Candidate> {
  const { store, datasetId, outputDir } = source;
  const fileNames = new Set(await conversationFileNames(outputDir));
  if (datasetId !== null) {
    for await (const conversation of store.committed(datasetId, 0)) {
      fileNames.delete(conversationFileName(conversation.conversationId));
      if (conversation.status === 'committed') yield ofStore(conversation, store);
    }
  }
  yield* ofFiles(source, fileNames);
}

function ofStore(conversation: CommittedConversation, { journal }: Pick<Store, 'journal'>): Candidate {
  const payload = payloadOf(conversation);
  const { runId, languageIndex, index } = conversation;
  return {
    payload,
    async load() {
      const { snapshot, events } = await journal.peek(conversationPersistenceId(runId, languageIndex, index));
      const kept = snapshot === null ? null : decodeConversationSnapshot(snapshot.state);
      const key = { runId, languageIndex, index };
      // A snapshot of another shape is passed over, as the conversation itself does.
      const all =
        snapshot !== null && kept === null
          ? await journal.read(conversationPersistenceId(runId, languageIndex, index))
          : events;
      const state = all
        .map(({ event }) => decodeConversationEvent(event))
        .reduce(evolve, kept ?? initialConversation(key));
      return judgedFromJournal(payload, state);
    },
  };
}

async function* ofFiles(
  { outputDir, onSkipped }: CandidateSource,
  names: Iterable<string>,
): AsyncGenerator<Candidate> {
  const seen = new Set<string>();
  for (const name of names) {
    const record = await readLegacyRecord(outputDir, name);
    if (record.type === 'unusable') {
      onSkipped(name, record.reason);
      continue;
    }
    const { payload } = record;
    if (seen.has(payload.conversationId)) {
      onSkipped(name, `it has the conversation_id of another file, ${payload.conversationId}`);
      continue;
    }
    seen.add(payload.conversationId);
    yield { payload, load: async () => judgedFromRecord(payload) };
  }
}
