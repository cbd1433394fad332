/**
 * What makes verdicts comparable: a *pass* is all verdicts of one granularity, judge model and version of the
 * judge's prompt. Files show the verdicts of one pass and never mix two.
 */
import { canonicalJson, sha256 } from '../kernel/hash.ts';
import { outputOf, type Prompts } from './prompts.ts';
import type { TaskKey } from './prompt-assets.ts';

export type Granularity = 'turn' | 'conversation';

export interface JudgePass {
  /** A digest of the other fields. */
  readonly id: string;
  readonly granularity: Granularity;
  /** As the configuration names it. */
  readonly model: string;
  /** A digest of everything that decides a request besides the conversation. */
  readonly promptVersion: string;
  readonly reasons: readonly string[];
}

const TASKS: Readonly<Record<Granularity, TaskKey>> = {
  turn: 'qa_judge_task',
  conversation: 'qa_conversation_judge_task',
};

export function judgePassOf(prompts: Prompts, granularity: Granularity, model: string): JudgePass {
  const reasons = prompts.run.judgeReasons;
  const promptVersion = versionOf(prompts, TASKS[granularity]);
  return {
    id: sha256(canonicalJson([granularity, model, promptVersion])).slice(0, 32),
    granularity,
    model,
    promptVersion,
    reasons,
  };
}

/** Constants of the run count where a template shows them: other settings change no request. */
function versionOf(prompts: Prompts, task: TaskKey): string {
  const { conversation, turn } = prompts.assets.tasks[task];
  const shown = Object.entries(prompts.constants[task]).filter(([name]) =>
    new RegExp(`\\{\\{\\s*${name}\\s*\\}\\}`).test(`${conversation}\n${turn}`),
  );
  return sha256(
    canonicalJson({
      system: prompts.system[task],
      conversation,
      turn,
      constants: Object.fromEntries(shown),
      output: outputOf(task, prompts.run).spec,
    }),
  ).slice(0, 16);
}
