import { choice, decimal, flag, integer, section, text, texts } from './fields.ts';

export const DEFAULT_JUDGE_REASONS = [
  'irrelevant',
  'incorrect',
  'hallucinated',
  'weak_grounding',
  'vague',
  'incomplete',
  'unsafe',
  'other',
] as const;

export const coverage = section('How the knowledge is spread over the questions.', {
  doc_coverage_mode: choice(
    ['balanced', 'off'],
    'balanced',
    'Whether documents that were used little come first.',
  ),
  doc_coverage_epsilon: decimal(
    0.15,
    { min: 0, max: 1 },
    'Share of turns that draw from all documents, whatever was used before.',
  ),
  doc_coverage_fraction: decimal(
    0.2,
    { min: 0, max: 1 },
    'Share of the documents (those used least) that a turn draws from; values below 0.05 act as 0.05.',
  ),
  question_dedup_retries: integer(
    3,
    { min: 0 },
    'New tries after a question that was asked before; then the conversation is dropped.',
  ),
});

export const personas = section('Who speaks.', {
  enabled: flag(true, 'Whether user and assistant get a persona.'),
  path: text(
    'personas.yaml',
    'Persona file, relative to the project. The default name need not exist: then the personas that come with dlgforge are used.',
  ),
});

export const prompts = section('What the models are told.', {
  path: text(
    '',
    'Folder of prompts that replace the shipped ones; empty = `prompts` in the project when there is one.',
  ),
});

export const judge = section('Who judges the answers.', {
  enabled: flag(true, 'Whether there is a judge at all.'),
  mode: choice(['online', 'offline'], 'offline', 'Judge during `run`, or later by `dlgforge judge`.'),
  granularity: choice(['turn', 'conversation'], 'turn', 'One verdict per turn, or one per conversation.', {
    per_turn: 'turn',
    turns: 'turn',
    per_conversation: 'conversation',
    conv: 'conversation',
    conversation_level: 'conversation',
  }),
  reasons: texts(DEFAULT_JUDGE_REASONS, 'Reasons that the judge may give.', { commaSeparated: true }),
  batch: section("How `dlgforge judge --batch` uses the provider's batch API.", {
    max_requests: integer(50_000, { min: 1, max: 50_000 }, 'Requests of one batch; more go into several.'),
    max_mb: integer(32, { min: 1, max: 100 }, 'Size of its file, in millions of bytes.'),
    max_rounds: integer(
      5,
      { min: 1, max: 100 },
      'Batches in which a request may stay without an answer before it is recorded as no verdict.',
    ),
    poll_s: decimal(
      60,
      { min: 0.1, max: 3_600 },
      'Longest pause between two questions about a batch, in seconds; the first ones are short.',
    ),
  }),
});
