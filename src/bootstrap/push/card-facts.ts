/** What a card says of an export and of how its conversations were made. Nothing of this machine is in it (fault I11). */
import { isAbsolute, posix } from 'node:path';
import { configRows } from '../../config/show.ts';
import { AGENT_ROLES } from '../../config/schema.ts';
import type { JudgePass } from '../../dialogue/judge-pass.ts';
import type { CardFacts, MadeFacts } from '../../export/dataset/card.ts';
import type { DatasetStats } from '../../export/dataset/dataset-stats.ts';
import type { ExportPlan } from '../../export/dataset/export-plan.ts';
import { type ExportFormat, fieldsOf, type WrittenFile } from '../../export/dataset/format-writers.ts';
import { publicModelName } from '../../export/dataset/model-name.ts';
import type { RunFacts } from '../dataset-facts.ts';
import type { Project } from '../project.ts';
import { BUILD } from '../version.ts';

export interface CardSources {
  readonly project: Project;
  readonly plan: ExportPlan;
  readonly written: ReadonlyMap<ExportFormat, readonly WrittenFile[]>;
  /** Null when the store does not know the runs. */
  readonly runs: RunFacts | null;
  readonly stats: DatasetStats | null;
  /** Null when it was not written. */
  readonly statsFile: string | null;
  readonly plots: CardFacts['plots'];
  /** Paths of the run states that were written. */
  readonly states: readonly string[];
}

export function cardFacts({
  project,
  plan,
  written,
  runs,
  stats,
  statsFile,
  plots,
  states,
}: CardSources): CardFacts {
  const { export: settings, hf_push: push, output_columns: columns } = project.config.saving;
  const repoId = push.repo_id.trim();
  const formats = [...written];
  return {
    repoId,
    prettyName: posix.basename(repoId) || 'Synthetic QA Dataset',
    license: push.license.trim(),
    languages: [...plan.languages.keys()],
    records: plan.records,
    rehearsal: plan.rehearsal,
    configs: formats.map(([format, files], index) => ({
      name: index === 0 ? 'default' : format,
      reader: format === 'parquet' ? 'parquet' : 'json',
      files: filesBySplit(files),
      fields: fieldsOf(format, columns, plan.hasJudge),
    })),
    splits: plan.splits,
    contents: [
      ...formats.flatMap(([format, files]) =>
        files.map(({ path, split }) => ({ path, what: `${WHAT[format]}, split \`${split}\`` })),
      ),
      ...(statsFile === null ? [] : [{ path: statsFile, what: 'statistics' }]),
      ...plots.map(({ path, title }) => ({ path, what: `plot: ${title}` })),
      ...(states.length === 0 ? [] : [{ path: 'run_state/', what: 'states of the runs' }]),
    ],
    stats,
    statsFile,
    plots,
    made: madeFacts(project, plan, runs),
    notes: notesOf(plan, settings),
  };
}

const WHAT: Readonly<Record<ExportFormat, string>> = {
  sharegpt: 'conversations with metadata, reasoning and verdicts, JSON lines',
  openai: 'messages with tool calls, and the tools, JSON lines',
  chatml: 'one ChatML text for each conversation, JSON lines',
  parquet: 'conversations with metadata, reasoning and verdicts, Parquet',
  'jsonl.zst': 'conversations with metadata, reasoning and verdicts, compressed JSON lines',
};

/** Shards of a split are one pattern. */
function filesBySplit(files: readonly WrittenFile[]): CardFacts['configs'][number]['files'] {
  return [...Map.groupBy(files, ({ split }) => split)].map(([split, parts]) => ({
    split,
    path: parts.length === 1 ? (parts[0]?.path ?? '') : `data/${split}-*.parquet`,
  }));
}

function madeFacts({ config, loaded }: Project, plan: ExportPlan, facts: RunFacts | null): MadeFacts {
  return {
    backend: config.llm.backend,
    version: BUILD,
    seed: String(config.run.seed),
    models: modelsOf(config, facts),
    judge: plan.hasJudge ? judgeOf(config, facts?.shownPass ?? null) : 'no verdicts in these files',
    runs: facts === null ? null : runsOf(facts),
    settings: configRows(loaded)
      .filter(({ key, origin }) => origin !== 'default' && SHOWN.test(key) && !HIDDEN.test(key))
      .map(({ key, value }) => `${key}: ${JSON.stringify(withoutPaths(value))}`),
  };
}

/** Whose verdicts these are: of a later pass, which need not be what is configured, or else of the runs. */
function judgeOf({ judge }: Project['config'], shown: JudgePass | null): string {
  if (shown !== null) {
    return `by ${shown.granularity}, ${publicModelName(shown.model)}, prompt version ${shown.promptVersion}`;
  }
  return judge.enabled ? `${judge.mode}, by ${judge.granularity}` : 'none configured';
}

/** What was called, by the store; else what is configured. */
function modelsOf(config: Project['config'], facts: RunFacts | null): MadeFacts['models'] {
  const called = facts?.totals ?? [];
  const configured = AGENT_ROLES.map((role) => ({ role, model: config.llm.agents[role].model }));
  const models = (called.length > 0 ? called : configured)
    .filter(({ model }) => model !== '')
    .map(({ role, model }) => ({ role, model: publicModelName(model) }));
  return [...new Map(models.map((entry) => [JSON.stringify(entry), entry])).values()].toSorted((a, b) =>
    a.role < b.role ? -1 : 1,
  );
}

function runsOf({ runs }: RunFacts): NonNullable<MadeFacts['runs']> {
  const dropReasons: Record<string, number> = {};
  let committed = 0;
  for (const { languages } of runs) {
    for (const language of languages) {
      committed += language.committed;
      for (const [reason, count] of Object.entries(language.dropReasons))
        dropReasons[reason] = (dropReasons[reason] ?? 0) + count;
    }
  }
  return { count: runs.length, committed, dropReasons };
}

/** What decides about conversations; places, addresses and keys are nobody's business. */
const SHOWN = /^(?:run|llm|tools|coverage|personas|judge)\./;
const HIDDEN =
  /^run\.(?:distributed|run_id|resume_run_id)|base_url|endpoints|api_key|_key|headers|extra|(?:^|[._])(?:path|dir|file|paths)$|^llm\.(?:vllm|rehearsal)\.|^tools\.web_search\.(?!enabled)/;

function withoutPaths(value: unknown): unknown {
  if (typeof value === 'string')
    return isAbsolute(value) || value.startsWith('~') ? posix.basename(value) : value;
  if (Array.isArray(value)) return value.map(withoutPaths);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, withoutPaths(inner)]));
}

function notesOf(plan: ExportPlan, settings: Project['config']['saving']['export']): string[] {
  const { leftOut } = plan;
  const filtered = leftOut.language + leftOut.turns + leftOut.score + leftOut.unjudged;
  return [
    ...(filtered === 0
      ? []
      : [
          `Filters left out ${filtered} of ${plan.sourceRows} conversations: ${leftOut.language} by language, ${leftOut.turns} by number of turns, ${leftOut.score} below the score of ${settings.min_score ?? 0}, ${leftOut.unjudged} without a score.`,
        ]),
    ...(plan.splits.size > 1 ? [`The splits come from the seed ${settings.seed}, by language.`] : []),
    ...(plan.badLineCount === 0
      ? []
      : [`Lines of the source that could not be read and are not here: ${plan.badLineCount}.`]),
    ...(plan.replacedTexts === 0
      ? []
      : [`Texts in which half a surrogate pair was replaced by U+FFFD: ${plan.replacedTexts}.`]),
  ];
}
