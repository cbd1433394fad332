/**
 * The logger that every part is given. Categories decide the file: `run.log` has everything, and
 * `retrieval`, `tools`, `llm` and `judge` have a file each (docs/outputs.md).
 */
export type LogCategory =
  | 'run'
  | 'retrieval'
  | 'tools'
  | 'llm'
  | 'judge'
  | 'store'
  | 'actors'
  | 'export'
  | 'cluster'
  | 'config';
export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

/** `message` starts with its tag, for example `[judge-online] turn=1 …`; `fields` only appear in JSON. */
export interface Logger {
  log(
    level: LogLevel,
    category: LogCategory,
    message: string,
    fields?: Readonly<Record<string, unknown>>,
  ): void;
}

export const silentLogger: Logger = { log: () => undefined };
