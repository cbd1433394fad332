/** What the dialogue rules are given, with the shipped prompts and a small knowledge base; no I/O but reading those. */
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import type { DialogueContext } from '../../src/dialogue/conversation.ts';
import type { InputsBase } from '../../src/dialogue/conversation-record.ts';
import { createPlanner, type LanguageSources } from '../../src/dialogue/planner.ts';
import type { Passage } from '../../src/dialogue/passage.ts';
import { parsePromptAssets } from '../../src/dialogue/prompt-assets.ts';
import { preparePrompts } from '../../src/dialogue/prompts.ts';
import { type DialogueSettings, languageTags } from '../../src/dialogue/settings.ts';
import { memoryRetriever, seaPassages } from './memory-retriever.ts';

const asset = (name: string) => {
  const file = new URL(`../../prompts/${name}`, import.meta.url);
  return { file: name, value: parse(readFileSync(file, 'utf8')) as unknown };
};

export const INPUTS: InputsBase = {
  question: '',
  target_languages: ['english', 'french'],
  question_seed: '',
  total_samples: 1,
  min_turns: 2,
  max_turns: 3,
  turn_count_distribution: 'poisson',
  turn_count_mean: 0,
  seed_topics_path: '',
  seed_topics_variant: '',
  seed_topics_probability: 0,
  seed_topics_enabled: false,
  retrieval_default_k: 4,
  judge_enabled: true,
  judge_granularity: 'turn',
  judge_reasons: ['vague', 'other'],
};

export interface DialogueOptions {
  readonly languages?: readonly string[];
  readonly settings?: Partial<DialogueSettings>;
  readonly passages?: readonly Passage[];
  /** @default no seeds, every passage unused */
  readonly sources?: readonly LanguageSources[];
}

const PROMPT_ASSETS = parsePromptAssets({ agents: [asset('agents.yaml')], tasks: [asset('tasks.yaml')] });

export function dialogueOf(options: DialogueOptions): DialogueContext {
  const { documents } = memoryRetriever(options.passages ?? seaPassages()).info;
  const settings: DialogueSettings = {
    runId: 'R',
    ordinal: 0,
    seed: 7,
    languages: languageTags(options.languages ?? ['english', 'french']),
    turns: { min: 2, max: 4, distribution: 'poisson', mean: null },
    question: '',
    seedProbability: 0,
    coverage: { mode: 'balanced', epsilon: 0.15, fraction: 0.2, dedupRetries: 3 },
    recentQuestions: [],
    userPersonas: [{ id: 'u1', text: 'A sailor' }],
    assistantPersonas: [{ id: 'a1', text: 'A pilot' }],
    judge: { granularity: 'turn', reasons: INPUTS.judge_reasons },
    topK: 4,
    webSearch: false,
    maxAttempts: 3,
    ...options.settings,
  };
  const groups = documents.map((document) => ({
    id: document.source,
    items: document.passageIds.map((id) => ({ id, uses: 0 })),
  }));
  return {
    settings,
    planner: createPlanner(
      settings,
      options.sources ?? settings.languages.map(() => ({ seeds: [], documents: groups })),
    ),
    prompts: preparePrompts(PROMPT_ASSETS, {
      judgeReasons: INPUTS.judge_reasons,
      topK: settings.topK,
      question: settings.question,
    }),
  };
}
