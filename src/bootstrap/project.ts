/** A project: its configuration, its folders and its logs. Every command on a configuration starts here. */
import { type LoadedConfig, loadConfig, type Overrides } from '../config/load.ts';
import { indexDir, knowledgeDir, logsDir, outputDir, stateDir } from '../config/paths.ts';
import type { Config } from '../config/schema.ts';
import { type FileLogger, openFileLogger } from '../kernel/file-logger.ts';
import { type LogLevel, silentLogger } from '../kernel/logger.ts';

export interface ProjectOptions {
  readonly configPath: string;
  readonly overrides?: Overrides;
  readonly logFormat?: 'text' | 'json';
  readonly logLevel?: LogLevel;
  /** Gets every log message for the terminal. */
  readonly console?: (level: LogLevel, message: string) => void;
}

export interface Project {
  readonly config: Config;
  readonly loaded: LoadedConfig;
  readonly root: string;
  readonly folders: {
    readonly knowledge: string;
    readonly output: string;
    readonly index: string;
    readonly state: string;
    readonly logs: string;
  };
  readonly logger: FileLogger;
}

/** @throws DlgforgeError `config` with everything that is off, before anything is made or started. */
export function openProject(options: ProjectOptions): Project {
  const loaded = loadConfig({
    configPath: options.configPath,
    ...(options.overrides === undefined ? {} : { overrides: options.overrides }),
  });
  const { config } = loaded;
  const folders = foldersOf(loaded);
  const logger = openFileLogger({
    folder: folders.logs,
    format: options.logFormat ?? 'text',
    level: options.logLevel ?? 'info',
    bytesMax: config.saving.log_max_mb * 1024 * 1024,
    keep: config.saving.log_files,
    ...(options.console === undefined ? {} : { console: options.console }),
  });
  for (const notice of loaded.notices) logger.log('warn', 'config', notice);
  return { config, loaded, root: loaded.projectRoot, folders, logger };
}

/** A project for commands that only look: nothing is logged, and no folder for logs is made. */
export function projectWithoutLogs(loaded: LoadedConfig): Project {
  const logger: FileLogger = { ...silentLogger, redact: () => undefined, close: () => undefined };
  return { config: loaded.config, loaded, root: loaded.projectRoot, folders: foldersOf(loaded), logger };
}

const foldersOf = ({ config, projectRoot: root }: LoadedConfig): Project['folders'] => ({
  knowledge: knowledgeDir(root),
  output: outputDir(config, root),
  index: indexDir(config, root),
  state: stateDir(root),
  logs: logsDir(root),
});
