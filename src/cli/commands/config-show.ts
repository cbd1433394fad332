import { loadConfig } from '../../config/load.ts';
import { configRows, renderConfig, renderConfigJson } from '../../config/show.ts';
import { EXIT } from '../exit-codes.ts';
import { overridesOf } from '../overrides.ts';
import { print, say } from '../terminal.ts';

interface Flags {
  readonly origin: boolean;
  readonly set: readonly string[];
  readonly json?: boolean;
}

export async function configShow(configPath: string, flags: Flags): Promise<number> {
  const loaded = loadConfig({ configPath, overrides: overridesOf({ set: flags.set }) });
  for (const notice of loaded.notices) say(notice);
  const rows = configRows(loaded);
  print(flags.json === true ? renderConfigJson(rows, flags.origin) : renderConfig(rows, flags.origin));
  return EXIT.done;
}
