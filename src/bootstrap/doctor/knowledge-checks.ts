/** The documents, and how they will be searched. */
import { chooseEmbedder, embeddingChoice } from '../../retrieval/embedders/choose.ts';
import { findModel, findTransformers, INSTALL_LINE } from '../../retrieval/local-model.ts';
import { surveyKnowledge } from '../../retrieval/survey.ts';
import { embeddingSettings, rerankerSettings } from '../knowledge.ts';
import type { Project } from '../project.ts';
import { type Check, guarded, ok, problem, warning } from './check.ts';

/** Enough to find what is off; a run reads the rest. */
const FILES_MAX = 2_000;
const EMBEDDER_TIMEOUT_MS = 15_000;

export function knowledgeChecks(project: Project): Promise<readonly Check[]> {
  return guarded('knowledge', async () => {
    const { chunk_size: size, chunk_overlap: overlap } = project.config.tools.retrieval.chunking;
    const chunking = { size, overlap: Math.min(overlap, size - 1) };
    const survey = await surveyKnowledge(project.folders.knowledge, chunking, FILES_MAX);
    const skipped = survey.skipped.map(({ source, reason }) =>
      warning('knowledge', `${source} is skipped: ${reason}`),
    );
    if (survey.documents === 0) {
      const hint = 'Add at least one .txt, .md or .pdf file with text in it.';
      return [
        problem('knowledge', `No readable text found in ${project.folders.knowledge}.`, hint),
        ...skipped,
      ];
    }
    const rest = survey.notRead === 0 ? '' : `; ${survey.notRead} more were not looked at`;
    const text = `${survey.documents} readable ${survey.documents === 1 ? 'document' : 'documents'}, ${survey.passages} passages${rest}`;
    return [ok('knowledge', text), ...skipped];
  });
}

export async function retrievalChecks(project: Project): Promise<readonly Check[]> {
  const checks = await Promise.all([
    guarded('retrieval', () => embeddingChecks(project)),
    guarded('reranker', async () => rerankerChecks(project)),
  ]);
  return checks.flat();
}

async function embeddingChecks(project: Project): Promise<Check[]> {
  const settings = embeddingSettings(project);
  const { use, why } = embeddingChoice(settings);
  if (use === 'none') return [ok('retrieval', `full-text search: ${why}`)];
  if (use === 'endpoint') {
    const signal = AbortSignal.timeout(EMBEDDER_TIMEOUT_MS);
    const embedder = await chooseEmbedder(settings, project.logger, signal);
    const dimension = embedder?.identity.dimension ?? 0;
    await embedder?.close();
    return [
      ok('retrieval', `hybrid search with ${settings.model} at ${settings.baseUrl}, ${dimension} dimensions`),
    ];
  }
  return localModelChecks('retrieval', `hybrid search with ${settings.model}, on this machine`, settings);
}

function rerankerChecks(project: Project): Check[] {
  const { enabled, model, baseUrl, backend, projectDir } = rerankerSettings(project);
  if (!enabled || model === '') return [];
  if (baseUrl !== '') return [ok('reranker', `${model} at ${baseUrl}`)];
  // An endpoint without an address has been reported with the configuration.
  if (backend === 'endpoint') return [];
  return localModelChecks('reranker', `${model}, on this machine`, { model, projectDir });
}

function localModelChecks(
  name: string,
  text: string,
  { model, projectDir }: { readonly model: string; readonly projectDir: string },
): Check[] {
  if (findTransformers(projectDir) === null) {
    const missing = `${model} is a local model, which needs an optional package.`;
    return [problem(name, missing, `Install it with: ${INSTALL_LINE}`)];
  }
  if (findModel(model, projectDir) !== null) return [ok(name, text)];
  return [
    warning(
      name,
      `${text}; it is not on disk yet`,
      'The first run fetches it from its hub, where that can be reached.',
    ),
  ];
}
