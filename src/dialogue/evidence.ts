/** Which passages ground a question (as in 0.1.0, without its faults C1, C8 and C14). */
import type { Attempt, ConversationState, Stage } from './conversation-state.ts';
import { openAttempt } from './conversation-state.ts';
import type { Passage } from './passage.ts';
import { EVIDENCE_HITS, OFFERED_PASSAGES } from './settings.ts';

export interface EvidenceRequest {
  /** Offered first, whatever the search says. */
  readonly focus: readonly string[];
  /** Null: no search. */
  readonly query: string | null;
  readonly hits: number;
  /** The hit that is offered first; the ones before it come last. 0 takes them as they are. */
  readonly firstHit: number;
  /** Not offered, even when found. */
  readonly exclude: readonly string[];
  /** Fill the offer up when the search gives too little. */
  readonly fill: readonly string[];
  readonly limit: number;
}

export function evidenceFor(
  state: ConversationState,
  stage: Extract<Stage, { type: 'gathering' }>,
): EvidenceRequest {
  const { plan } = openAttempt(stage);
  const last = state.turns.at(-1);
  const discussed =
    last === undefined ? [] : [coverageOf(last.attempts.at(-1))?.id].filter((id) => id !== undefined);
  const lastAnswer = last?.answer.assistant_message ?? '';
  const base = { hits: EVIDENCE_HITS, firstHit: 0, exclude: [], fill: plan.fill, limit: OFFERED_PASSAGES };
  switch (plan.mode) {
    case 'seeded': {
      // The configured question opens every conversation; each begins at another of its hits (C9).
      const isShared = plan.seed?.topic === '';
      const firstHit = isShared ? state.key.index + state.key.languageIndex : 0;
      return { ...base, focus: [], query: plan.seed?.question ?? null, firstHit };
    }
    case 'followup':
      return { ...base, focus: discussed, query: lastAnswer };
    case 'adjacent':
      return { ...base, focus: [], query: lastAnswer, exclude: discussed };
    case 'fresh':
    case 'off_topic':
      return { ...base, focus: plan.focus === null ? [] : [plan.focus], query: null };
  }
}

/** The ids to offer, in order, once the search has answered. What is excluded is still better than nothing (C1). */
export function offerOf(evidence: EvidenceRequest, hits: readonly string[]): string[] {
  const first = hits.length === 0 ? 0 : evidence.firstHit % hits.length;
  const found = [...hits.slice(first), ...hits.slice(0, first)];
  const ids = [...new Set([...evidence.focus, ...found, ...evidence.fill])];
  const wanted = ids.filter((id) => !evidence.exclude.includes(id));
  return (wanted.length > 0 ? wanted : ids).slice(0, evidence.limit);
}

/**
 * The passage that a question rests on: the offered one that the model named, else one whose place it
 * quoted, else the first, which is the one it was asked to use.
 */
export function coverageOf(attempt: Attempt | undefined): Passage | null {
  const question = attempt?.question;
  if (attempt === undefined || question === null || question === undefined) return null;
  const quoted = new Set(question.grounding_facts.map((fact) => fact.source_descriptor));
  return (
    attempt.offered.find((passage) => passage.id === question.coverage_target) ??
    attempt.offered.find((passage) => quoted.has(passage.descriptor)) ??
    attempt.offered[0] ??
    null
  );
}
