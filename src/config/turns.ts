import type { Layer } from './layer.ts';
import type { Findings } from './problem.ts';
import { originText } from './source.ts';

const MODE = 'run.turns.mode';
const EXACT = 'run.turns.exact';
const MIN = 'run.turns.min';
const MAX = 'run.turns.max';

/**
 * Whoever gives a number of turns also says the mode, unless the mode is given in the same place:
 * `N_TURNS` means exact, `MIN_TURNS` and `MAX_TURNS` mean range, and N_TURNS counts before them.
 */
export function implyTurnMode(layer: Layer): void {
  if (layer.get(MODE) !== undefined) return;
  const exact = layer.get(EXACT);
  const range = layer.get(MIN) ?? layer.get(MAX);
  if (exact !== undefined) layer.set(MODE, 'exact', exact.origin);
  else if (range !== undefined) layer.set(MODE, 'range', range.origin);
}

/** In a file a range stays a range, as in 0.1.0, where an `exact` beside it says nothing. */
export function implyTurnModeOfFile(layer: Layer, findings: Findings): void {
  if (layer.get(MODE) !== undefined || layer.get(EXACT) === undefined) return;
  if (layer.get(MIN) !== undefined || layer.get(MAX) !== undefined) return;
  implyTurnMode(layer);
  findings.notice(
    layer.get(EXACT)?.origin ?? null,
    `\`${EXACT}\` is given without \`${MODE}\`: mode \`exact\` is used.`,
  );
}

/** Makes the four keys agree: in mode exact all three numbers are the exact one, in mode range exact is null. */
export function settleTurns(merged: Layer, findings: Findings): void {
  const exact = merged.get(EXACT);
  const mode = merged.get(MODE);
  if (mode?.value !== 'exact') {
    const besideMode = exact !== undefined && exact.origin.type === (mode?.origin.type ?? 'file');
    if (besideMode) findings.notice(exact.origin, `\`${EXACT}\` has no effect: \`${MODE}\` is \`range\`.`);
    merged.assignments.delete(EXACT);
    return;
  }
  if (exact === undefined) {
    if (findings.concerns(EXACT)) return;
    findings.problem(mode.origin, `\`${EXACT}\` must be given when \`${MODE}\` is \`exact\`.`, {
      keyPath: EXACT,
    });
    return;
  }
  for (const key of [MIN, MAX]) {
    const given = merged.get(key);
    if (given !== undefined && given.origin.type !== 'file' && given.value !== exact.value) {
      findings.notice(
        null,
        `${originText(given.origin)} has no effect on \`${key}\`: ${originText(exact.origin)} asks for exactly ${String(exact.value)} turns.`,
      );
    }
    merged.set(key, exact.value, exact.origin);
  }
}
