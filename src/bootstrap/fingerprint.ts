/**
 * The settings that decide which rows a run accepts. A resumed run must have the same ones, or the
 * dataset would no longer be a function of one configuration (I5).
 */
import { judgesOnline, modelOf, rolesFor } from '../config/roles.ts';
import type { Config } from '../config/schema.ts';
import { canonicalJson } from '../kernel/hash.ts';
import type { DialogueAssets } from './assets.ts';

export type Fingerprint = Readonly<Record<string, string>>;

export function fingerprintOf(
  config: Config,
  assets: DialogueAssets,
  knowledgeFingerprint: string,
): Fingerprint {
  const { run, coverage, tools, judge, llm } = config;
  const settings: Record<string, unknown> = {
    'run.seed': run.seed,
    'run.target_languages': run.target_languages,
    'run.turns': {
      min: run.turns.min,
      max: run.turns.max,
      distribution: run.turns.distribution,
      mean: run.turns.mean,
    },
    'run.data.seeding.question': run.data.seeding.question,
    'run.data.seeding.topics.probability': run.data.seeding.topics.probability,
    'run.data.seeding.topics (the questions)': assets.seedsHash,
    'personas (the texts)': assets.personasHash,
    'prompts (the texts)': assets.promptsHash,
    'knowledge and index': knowledgeFingerprint,
    coverage,
    'tools.retrieval.top_k': tools.retrieval.top_k,
    'tools.retrieval.reranker': tools.retrieval.reranker.enabled ? tools.retrieval.reranker.model : 'off',
    'tools.web_search.enabled': tools.web_search.enabled,
    judge: judgesOnline(config) ? { granularity: judge.granularity, reasons: judge.reasons } : 'off',
    'llm.max_attempts': llm.max_attempts,
  };
  for (const role of rolesFor(config, 'run')) {
    const { provider, temperature, max_tokens, top_p, extra } = llm.agents[role];
    settings[`llm.agents.${role}`] = {
      provider,
      model: modelOf(config, role),
      temperature,
      max_tokens,
      top_p,
      extra,
    };
  }
  if (llm.backend === 'rehearsal') settings['llm.rehearsal.seed'] = llm.rehearsal.seed;
  return Object.fromEntries(Object.entries(settings).map(([name, value]) => [name, canonicalJson(value)]));
}

/** The names of the settings that differ, with both values. */
export function differences(stored: Fingerprint, given: Fingerprint): string[] {
  return [...new Set([...Object.keys(stored), ...Object.keys(given)])]
    .filter((name) => stored[name] !== given[name])
    .map((name) => `${name}: the run has ${shown(stored[name])}, the configuration ${shown(given[name])}`);
}

function shown(value: string | undefined): string {
  if (value === undefined) return 'nothing';
  return /^"[0-9a-f]{64}"$/.test(value) ? `version ${value.slice(1, 9)}` : value;
}
