import type { JudgePass } from '../dialogue/judge-pass.ts';
import type { DatasetId } from '../kernel/ids.ts';
import type { Store } from '../ports/store.ts';
import type { StoredVerdict } from '../ports/verdicts.ts';

/** The verdicts that the files of a dataset show. */
export interface ShownVerdicts {
  readonly pass: JudgePass;
  /** Files that were made under another one may show other verdicts. */
  readonly revision: number;
  of(conversationId: string): Promise<readonly StoredVerdict[]>;
}

export type VerdictSource = Pick<Store, 'verdicts'>;

/** Null while no pass was published: then rows show what the run itself judged. */
export async function shownVerdicts(
  { verdicts }: VerdictSource,
  datasetId: DatasetId,
): Promise<ShownVerdicts | null> {
  const shown = await verdicts.shown(datasetId);
  if (shown === null) return null;
  const { pass, revision } = shown;
  return { pass, revision, of: (id) => verdicts.of(datasetId, pass.id, [id]) };
}
