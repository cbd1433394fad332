/** From the configuration and the assets to what the dialogue rules need. */
import { judgesOnline, samplesPerLanguage } from '../config/roles.ts';
import type { Config } from '../config/schema.ts';
import type { InputsBase } from '../dialogue/conversation-record.ts';
import type { DealGroup } from '../dialogue/deal.ts';
import type { DocumentEntry } from '../dialogue/passage.ts';
import { personaText } from '../dialogue/personas.ts';
import type { LanguageSources } from '../dialogue/planner.ts';
import { legacyQuestionHash } from '../dialogue/question-key.ts';
import type { SeedTopic } from '../dialogue/seed-topics.ts';
import { type DialogueSettings, languageTags } from '../dialogue/settings.ts';
import type { DatasetMemory } from '../ports/store.ts';
import type { DialogueAssets } from './assets.ts';

export function dialogueSettings(
  config: Config,
  assets: Pick<DialogueAssets, 'personas'>,
  run: { readonly id: string; readonly ordinal: number; readonly memory: DatasetMemory },
): DialogueSettings {
  const { turns, data, seed, target_languages: languages } = config.run;
  const { coverage, judge, tools } = config;
  return {
    runId: run.id,
    ordinal: run.ordinal,
    seed,
    languages: languageTags(languages),
    turns: { min: turns.min, max: turns.max, distribution: turns.distribution, mean: turns.mean },
    question: data.seeding.question,
    seedProbability: data.seeding.topics.probability,
    coverage: {
      mode: coverage.doc_coverage_mode,
      epsilon: coverage.doc_coverage_epsilon,
      fraction: coverage.doc_coverage_fraction,
      dedupRetries: coverage.question_dedup_retries,
    },
    recentQuestions: run.memory.recentQuestions,
    userPersonas: (assets.personas?.user ?? []).map((persona) => ({
      id: persona.id,
      text: personaText(persona),
    })),
    assistantPersonas: (assets.personas?.assistant ?? []).map((persona) => ({
      id: persona.id,
      text: personaText(persona),
    })),
    judge: judgesOnline(config) ? { granularity: judge.granularity, reasons: judge.reasons } : null,
    topK: tools.retrieval.top_k,
    webSearch: tools.web_search.enabled,
    maxAttempts: config.llm.max_attempts,
  };
}

/** What is dealt out in each language, with its uses so far; lines of 0.1.0 name no language and count for all. */
export function languageSources(
  config: Config,
  documents: readonly DocumentEntry[],
  seeds: readonly (readonly SeedTopic[])[],
  memory: DatasetMemory,
): LanguageSources[] {
  const seedUses = new Map(memory.seedUses.map((use) => [use.seedQuestionHash, use.uses]));
  return config.run.target_languages.map((language, languageIndex) => ({
    documents: documentGroups(documents, memory, language),
    seeds: (seeds[languageIndex] ?? []).map((topic) => ({
      id: topic.topic,
      items: topic.questions.map((question) => ({
        id: question,
        uses: seedUses.get(legacyQuestionHash(question)) ?? 0,
      })),
    })),
  }));
}

function documentGroups(
  documents: readonly DocumentEntry[],
  memory: DatasetMemory,
  language: string,
): DealGroup[] {
  const byPassage = new Map<string, number>();
  const byForeignPassage = new Map<string, number>();
  const known = new Set(documents.flatMap((document) => document.passageIds));
  for (const use of memory.passageUses) {
    if (use.language !== null && use.language !== language) continue;
    const [counts, key] = known.has(use.passageId)
      ? [byPassage, use.passageId]
      : [byForeignPassage, use.source];
    counts.set(key, (counts.get(key) ?? 0) + use.uses);
  }
  // Uses of passages that no longer exist (0.1.0's chunks, a changed file) count for their document, one
  // each for its passages in reading order, so that what was used much does not come first again.
  return documents.map((document) => {
    const foreign = byForeignPassage.get(document.source) ?? 0;
    const count = document.passageIds.length;
    return {
      id: document.source,
      items: document.passageIds.map((id, position) => ({
        id,
        uses: (byPassage.get(id) ?? 0) + Math.floor(foreign / count) + (position < foreign % count ? 1 : 0),
      })),
    };
  });
}

/** The common part of every record's `inputs` (docs/outputs.md). */
export function inputsBase(config: Config): InputsBase {
  const { turns, data } = config.run;
  const { topics, question } = data.seeding;
  return {
    question,
    target_languages: config.run.target_languages,
    question_seed: question,
    total_samples: samplesPerLanguage(config),
    min_turns: turns.min,
    max_turns: turns.max,
    turn_count_distribution: turns.distribution,
    turn_count_mean: turns.mean ?? 0,
    seed_topics_path: topics.path,
    seed_topics_variant: topics.variant,
    seed_topics_probability: topics.probability,
    seed_topics_enabled: topics.enabled,
    retrieval_default_k: config.tools.retrieval.top_k,
    judge_enabled: judgesOnline(config),
    judge_granularity: config.judge.granularity,
    judge_reasons: config.judge.reasons,
  };
}
