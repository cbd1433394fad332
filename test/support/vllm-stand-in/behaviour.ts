/**
 * What a stand-in is told to do, by the environment:
 *
 *   STAND_IN_BEHAVIOUR   JSON: one behaviour; or a list, one per start, of which the last one repeats; or
 *                        `{"ports": {"18000": <either>, "*": <either>}}`; `{"gpus": {"0,1": <either>}}` alike
 *   STAND_IN_FOLDER      where it keeps its number of starts, and writes `starts.jsonl`, a line per start; a
 *                        `behaviour.json` there counts instead of STAND_IN_BEHAVIOUR
 */
import { appendFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';

const status = z.int().min(0).max(255);
const milliseconds = z.number().min(0).max(3_600_000);
const count = z.int().min(1);

const behaviourSchema = z.strictObject({
  /** Ends before it has done anything, with this status. */
  refuse_status: status.optional(),
  /** How long a start takes, over all lines that it says. */
  start_ms: milliseconds.default(0),
  /** Ends in the middle of its start, with this status. */
  loading_status: status.optional(),
  /** It dies so long after it has started, or with its n-th request. */
  die_after_ms: milliseconds.optional(),
  die_after_requests: count.optional(),
  die_status: status.default(1),
  /** Instead of `die_status`. */
  die_signal: z.enum(['SIGKILL', 'SIGSEGV', 'SIGTERM']).optional(),
  /** Its engine hangs from then on: requests wait, `/health` stays 200. */
  hang_after_ms: milliseconds.optional(),
  hang_after_requests: count.optional(),
  /** `none`: 404; `still`: when the engine hangs they stay as when it was idle, as those of vLLM, which its outputs fill. */
  metrics: z.enum(['told', 'none', 'still']).default('told'),
  /** Serves this model instead of the one that it was asked for. */
  other_model: z.string().min(1).optional(),
  /** Lines that it prints at its start. */
  lines: z.int().min(0).max(1_000_000).default(0),
  /** `/health` is 503 for ever. */
  unhealthy: z.boolean().default(false),
  ignore_sigterm: z.boolean().default(false),
  /** How long the API server takes to see that its engine has gone, as vLLM; null never sees it. */
  engine_watch_ms: milliseconds.nullable().default(5_000),
  /** Null leaves the engine without the title that vLLM gives it. */
  engine_title: z.string().nullable().default('VLLM::EngineCore'),
  /** It leaves the session of its API server, as daemons do. */
  engine_leaves_session: z.boolean().default(false),
  /** argparse refuses what it does not know; true lets everything pass. */
  allow_unknown_args: z.boolean().default(false),
  /** Knobs of the rehearsal backend (src/llm/rehearsal/options.ts). */
  rehearsal: z.record(z.string(), z.unknown()).default({}),
});
const perStart = z.union([behaviourSchema, z.array(behaviourSchema).min(1)]);
const selection = z.union([
  z.strictObject({ ports: z.record(z.string(), perStart) }),
  z.strictObject({ gpus: z.record(z.string(), perStart) }),
  perStart,
]);

export type Behaviour = z.output<typeof behaviourSchema>;
/** What a test writes. */
export type BehaviourInput = z.input<typeof selection>;

export interface StandInStart {
  readonly port: number;
  readonly gpus: string;
  readonly pid: number;
  readonly args: readonly string[];
}

/** Also notes this start. */
export function takeBehaviour(environment: NodeJS.ProcessEnv, start: StandInStart): Behaviour {
  const folder = environment['STAND_IN_FOLDER'];
  const file = folder === undefined ? '' : join(folder, 'behaviour.json');
  const text = existsSync(file) ? readFileSync(file, 'utf8') : (environment['STAND_IN_BEHAVIOUR'] ?? '{}');
  const chosen = select(selection.parse(JSON.parse(text)), start);
  const earlier = folder === undefined ? 0 : noteStart(folder, start, keyOf(JSON.parse(text), start));
  if (!Array.isArray(chosen)) return chosen;
  return chosen[Math.min(earlier, chosen.length - 1)] ?? behaviourSchema.parse({});
}

function select(told: z.output<typeof selection>, start: StandInStart): z.output<typeof perStart> {
  if ('ports' in told) return told.ports[String(start.port)] ?? told.ports['*'] ?? behaviourSchema.parse({});
  if ('gpus' in told) return told.gpus[start.gpus] ?? told.gpus['*'] ?? behaviourSchema.parse({});
  return told;
}

const keyOf = (told: object, { port, gpus }: StandInStart): string =>
  'gpus' in told ? `gpus ${gpus}` : `port ${port}`;

/** How often the same one (by its port, or its GPUs) was started before. */
function noteStart(folder: string, start: StandInStart, key: string): number {
  mkdirSync(folder, { recursive: true });
  const file = join(folder, 'starts.jsonl');
  const before = existsSync(file) ? readFileSync(file, 'utf8').split('\n').filter(Boolean) : [];
  appendFileSync(file, `${JSON.stringify({ key, ...start, at_ms: Date.now() })}\n`);
  return before.filter((line) => (JSON.parse(line) as { key: string }).key === key).length;
}
