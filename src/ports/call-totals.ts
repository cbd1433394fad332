/** Sums over the journalled model answers of a run, or of a judge's pass. */
export interface CallTotals {
  readonly role: string;
  readonly endpoint: string;
  readonly model: string;
  readonly calls: number;
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly completionTokens: number;
  readonly latencyMs: number;
  readonly rehearsal: boolean;
}
