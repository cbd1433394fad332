/** What became of paid answers, as the journal tells it: used, kept late, unusable, or refused by the fence. */
import type { Usage } from '../../dialogue/chat.ts';
import type { Metrics } from '../../kernel/metrics.ts';

export interface AnswerCount {
  /** These events are durable. */
  kept(events: readonly unknown[]): void;
  /** These will never be: another process has taken over, and asks again or has asked already. */
  fenced(events: readonly unknown[]): void;
}

type Waste = 'late' | 'unusable' | 'fenced';

/** The fields that are looked at; events of other actors have none of them. */
interface MaybeAnswer {
  readonly type?: string;
  readonly answer?: { readonly usage?: Usage };
}

export function countAnswers(metrics: Metrics): AnswerCount {
  const late = metrics.counter('dlgforge_answers_kept_late_total');
  const reused = metrics.counter('dlgforge_answers_reused_total');
  const waste = (cause: Waste, event: MaybeAnswer | undefined): void => {
    const usage = event?.answer?.usage;
    if (usage === undefined) return;
    metrics.counter('dlgforge_tokens_wasted_total', { kind: 'prompt', cause }).add(usage.promptTokens);
    metrics.counter('dlgforge_tokens_wasted_total', { kind: 'cached', cause }).add(usage.cachedTokens);
    metrics
      .counter('dlgforge_tokens_wasted_total', { kind: 'completion', cause })
      .add(usage.completionTokens);
  };
  return {
    kept(events) {
      let answered: MaybeAnswer | undefined;
      for (const event of events as readonly MaybeAnswer[]) {
        if (event.type === 'ModelAnswered') answered = event;
        // Its answer travels in the same append.
        else if (event.type === 'OutputRejected') waste('unusable', answered);
        else if (event.type === 'AnswerReused') reused.add();
        else if (event.type === 'LateAnswerKept') {
          late.add();
          waste('late', event);
        }
      }
    },
    fenced(events) {
      for (const event of events as readonly MaybeAnswer[]) waste('fenced', event);
    },
  };
}
