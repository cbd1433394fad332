/** A small made-up dataset, and a store that holds it in an array. */
import { legacyQuestionHash } from '../../../src/dialogue/question-key.ts';
import type { ConversationPayload, PayloadTurn } from '../../../src/dialogue/conversation-record.ts';
import { datasetId, epoch, runId } from '../../../src/kernel/ids.ts';
import type { ProjectedStore } from '../../../src/export/existing-lines.ts';
import { MemoryVerdicts } from '../../../src/store/memory-verdicts.ts';
import type { CommittedConversation } from '../../../src/ports/store.ts';

export const DATASET = datasetId('d'.repeat(32));
export const RUN = runId('harbour');
export const COMMITTED_AT = Date.UTC(2025, 0, 31, 12, 34, 56, 789);

export function sampleTurn(turn: number, over: Partial<PayloadTurn> = {}): PayloadTurn {
  return {
    turn,
    attempt: 0,
    mode: turn === 1 ? 'fresh' : 'followup',
    seedTopic: '',
    seedQuestion: '',
    question: {
      user_message: `How deep is basin ${turn}?`,
      intent: 'clarify',
      difficulty: 'medium',
      grounding_facts: [{ fact: 'Basin depth: nine metres.', source_descriptor: 'Harbour guide, Basins' }],
      coverage_target: `p${turn}`,
      notes_for_assistant: ['give the unit'],
    },
    answer: {
      assistant_message: `Nine metres in basin ${turn}.`,
      reasoning_trace: {
        question: `How deep is basin ${turn}?`,
        premises: [{ id: 'P1', text: 'depth is given', evidence_refs: ['E1', ' '], note: true }],
        thinking: 'read it off',
        confidence: 'high',
      },
      did_web_search: false,
    },
    verdict: { score: 8, reasons: [], notes: 'good', question_ok: true, answer_ok: true },
    toolRounds: [
      {
        content: 'Looking it up.',
        calls: [
          { id: 'a', name: 'vector_db_search', arguments: { query: 'depth', k: 2 }, result: { results: [] } },
        ],
      },
    ],
    answerSeqs: { question: [1], answer: [2, 3], judge: [4] },
    coverage: { passageId: `p${turn}`, source: 'guide.md' },
    ...over,
  };
}

export function samplePayload(index: number, over: Partial<ConversationPayload> = {}): ConversationPayload {
  return {
    version: 1,
    runId: RUN,
    conversationId: `harbour-en-${String(index).padStart(4, '0')}`,
    language: 'en',
    languageIndex: 0,
    index,
    targetTurns: 2,
    seedQuestion: '',
    personas: { user: 'Pilot | calm', assistant: 'Guide | exact', userId: 'pilot', assistantId: 'guide' },
    inputs: {
      question: '',
      target_languages: ['en'],
      question_seed: '',
      total_samples: 2,
      min_turns: 1,
      max_turns: 2,
      turn_count_distribution: 'poisson',
      turn_count_mean: 0,
      seed_topics_path: '',
      seed_topics_variant: '',
      seed_topics_probability: 0.35,
      seed_topics_enabled: false,
      retrieval_default_k: 4,
      judge_enabled: true,
      judge_granularity: 'turn',
      judge_reasons: ['vague', 'other'],
    },
    agents: { user: 'lab/asker', assistant: 'lab/answerer' },
    rehearsal: false,
    turns: [sampleTurn(1), sampleTurn(2)],
    conversationJudge: null,
    conversationJudgeAnswerSeq: null,
    ...over,
  };
}

export function committed(
  commitSeq: number,
  payload: ConversationPayload,
  status: 'committed' | 'dropped' = 'committed',
): CommittedConversation {
  return {
    commitSeq,
    runId: RUN,
    languageIndex: payload.languageIndex,
    index: payload.index,
    language: payload.language,
    conversationId: payload.conversationId,
    committedAtMs: COMMITTED_AT + commitSeq,
    epoch: epoch(1),
    status,
    reason: status === 'dropped' ? 'dedup_exhausted' : null,
    payload,
    ledger:
      status === 'dropped'
        ? []
        : payload.turns.map((turn) => {
            const question = `How deep is basin ${turn.turn}? (${payload.index})`;
            return {
              turn: turn.turn,
              passageId: turn.coverage.passageId,
              source: turn.coverage.source,
              question,
              questionHash: legacyQuestionHash(question),
              questionMode: turn.mode,
              seedTopic: '',
              seedQuestion: '',
              seedQuestionHash: '',
            };
          }),
  };
}

/** Conversations 1 … count; every seventh was dropped. */
export const sampleCommit = (seq: number): CommittedConversation =>
  committed(seq, samplePayload(seq - 1), seq % 7 === 0 ? 'dropped' : 'committed');

export interface ArrayStore extends ProjectedStore {
  count: number;
  adopted: string[];
}

/** Grows when `count` is raised. */
export function arrayStore(count: number, commit = sampleCommit): ArrayStore {
  const store: ArrayStore = {
    count,
    adopted: [],
    async *committed(_id, after, filter) {
      for (let seq = after + 1; seq <= store.count; seq += 1) {
        const conversation = commit(seq);
        if (filter?.runId === undefined || conversation.runId === filter.runId) yield conversation;
      }
    },
    async *adoptedLines() {
      yield* store.adopted;
    },
    verdicts: new MemoryVerdicts(
      () => undefined,
      () => [],
    ),
  };
  return store;
}

/** Response bodies as a server would give them: what differs between equal answers differs. */
export const sampleAnswers = async (
  _conversation: CommittedConversation,
  seqs: readonly number[],
): Promise<ReadonlyMap<number, unknown>> =>
  new Map(
    seqs.map((seq) => [
      seq,
      {
        id: `resp-${seq}`,
        created: seq,
        model: 'm',
        object: 'chat.completion',
        choices: [{ index: seq }],
        usage: {},
      },
    ]),
  );
