/** How far a pass is, for whoever watches it. */
import type { RunView } from '../../actors/messages.ts';
import type { JudgeUnit } from '../../actors/judging/judge-unit.ts';
import type { StoredVerdict } from '../../ports/verdicts.ts';
import type { Planned, Survey } from './judge-plan.ts';

interface LanguageState {
  readonly target: number;
  finished: number;
  open: number;
  without: number;
  verdicts: number;
}

export class PassProgress {
  readonly #languages: ReadonlyMap<string, LanguageState>;
  /** Verdicts that are still missing, by open conversation. */
  readonly #open = new Map<string, number>();

  constructor({ languages }: Pick<Survey, 'languages'>) {
    this.#languages = new Map(
      languages.map(({ language, target }) => [
        language,
        { target, finished: 0, open: 0, without: 0, verdicts: 0 },
      ]),
    );
  }

  opened({ candidate: { payload }, missing }: Planned): void {
    // A pass in batches comes back to what it opened.
    if (this.#open.has(payload.conversationId)) return;
    this.#open.set(payload.conversationId, missing.length);
    const state = this.#languages.get(payload.language);
    if (state !== undefined) state.open += 1;
  }

  judged({ conversation: { conversationId, language } }: JudgeUnit, { verdict }: StoredVerdict): void {
    const state = this.#languages.get(language);
    if (state === undefined) return;
    if (verdict === null) state.without += 1;
    else state.verdicts += 1;
    const left = (this.#open.get(conversationId) ?? 1) - 1;
    this.#open.set(conversationId, left);
    if (left > 0) return;
    this.#open.delete(conversationId);
    state.open -= 1;
    state.finished += 1;
  }

  /** Conversations of which nothing is missing any more. */
  get finished(): number {
    return [...this.#languages.values()].reduce((sum, state) => sum + state.finished, 0);
  }

  view(): RunView {
    const languages = [...this.#languages.values()].map((state, languageIndex) => ({
      languageIndex,
      target: state.target,
      committed: state.finished,
      dropped: state.without,
      consecutiveDrops: 0,
      frontier: state.finished,
      ended: null,
      open: state.open,
      turns: state.verdicts,
    }));
    return { phase: 'running', epoch: 0, languages, open: this.#open.size, waiting: 0, workers: [] };
  }
}
