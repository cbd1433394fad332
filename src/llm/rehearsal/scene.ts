import type { ChatRequest } from './chat-request.ts';
import type { Draws } from './draws.ts';
import type { PassageTexts } from './passage-text.ts';

/** What a role says before any fault: an object to be written as JSON, a text, or tool calls. */
export type Answer =
  | { readonly type: 'object'; readonly value: Readonly<Record<string, unknown>> }
  | { readonly type: 'text'; readonly text: string }
  | { readonly type: 'tools'; readonly calls: readonly PlannedCall[] };

export interface PlannedCall {
  readonly name: string;
  readonly arguments: Readonly<Record<string, unknown>>;
}

export interface Scene {
  readonly request: ChatRequest;
  readonly draws: Draws;
  readonly texts: PassageTexts;
  /** True when the question is to come from the shared pool. */
  readonly duplicate: boolean;
  readonly secondRoundRate: number;
  readonly parallelCallsRate: number;
}
