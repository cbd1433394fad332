import { migrateSeedFile, type SeedMigration } from '../../bootstrap/migrate-seeds.ts';
import { EXIT } from '../exit-codes.ts';
import { print, say } from '../terminal.ts';

interface Flags {
  readonly sourceFile?: string;
  readonly destFile?: string;
  readonly overwrite: boolean;
  readonly dryRun: boolean;
  readonly json?: boolean;
}

export async function seedsMigrate(configPath: string, flags: Flags): Promise<number> {
  const { sourceFile, destFile, overwrite, dryRun, json } = flags;
  const done = await migrateSeedFile({ configPath, sourceFile, destFile, overwrite, dryRun });
  for (const notice of done.notices) say(notice);
  if (json === true) print(JSON.stringify(report(done), null, 2));
  else if (done.state === 'dry_run') print(done.diff);
  say(`[seeds] ${told(done)}`);
  return EXIT.done;
}

/** The names of 0.1.0's result come first. */
const report = (done: SeedMigration): object => ({
  source_file: done.source,
  dest_file: done.destination,
  variants: done.variants,
  topic_count: done.topicCount,
  files_written: done.state === 'written' ? 1 : 0,
  state: done.state,
  diff: done.diff,
});

function told({ state, source, destination, variants, topicCount, replaces }: SeedMigration): string {
  if (state === 'up_to_date') return `${destination} is already up to date: source=${source}`;
  if (state === 'dry_run')
    return `Nothing was written: ${destination} ${replaces ? 'exists, and is replaced only with --overwrite' : 'would be new'}`;
  return `Migration completed: source=${source} dest_file=${destination} variants=${variants.length} topics=${topicCount}`;
}
