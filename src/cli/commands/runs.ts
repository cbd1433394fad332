import { type RunDetails, type RunSummary } from '../../bootstrap/runs.ts';
import { listRunsOf, showRunOf } from '../../bootstrap/cluster/runs-store.ts';
import { processEnvironment } from '../../config/environment.ts';
import { callLine, modelLines } from '../call-lines.ts';
import { EXIT } from '../exit-codes.ts';
import { count, table } from '../format.ts';
import { print } from '../terminal.ts';
import type { StoreFlags } from '../../bootstrap/cluster/runs-store.ts';

interface Flags extends StoreFlags {
  readonly json?: boolean;
}

export async function runsList(flags: Flags): Promise<number> {
  const runs = await listRunsOf(flags, processEnvironment());
  if (flags.json === true) print(JSON.stringify(runs, null, 2));
  else if (runs.length === 0) print(`No runs yet. Start one: npx dlgforge run ${configOf(flags)}`);
  else print(runs.flatMap(listed).join('\n'));
  return EXIT.done;
}

export async function runsShow(id: string, flags: Flags): Promise<number> {
  const run = await showRunOf(flags, processEnvironment(), id);
  print(flags.json === true ? JSON.stringify(run, null, 2) : shown(run, configOf(flags)).join('\n'));
  return EXIT.done;
}

const configOf = ({ config }: Flags): string => config ?? 'config.yaml';

function listed(run: RunSummary): string[] {
  return [
    `${run.id}  ${run.status}  created ${minute(run.createdAt)}, updated ${minute(run.updatedAt)}`,
    `    ${languagesText(run)}; ${numbersText(run)}`,
    `    dataset ${run.datasetId}${run.rehearsal ? ', rehearsal' : ''}`,
    ...(run.error === null ? [] : [`    ${oneLine(run.error)}`]),
  ];
}

const languagesText = ({ languages }: RunSummary): string =>
  languages
    .map(({ language, committed, target }) => `${language} ${count(committed)}/${count(target)}`)
    .join(', ');

const numbersText = ({ turns, calls, promptTokens, completionTokens }: RunSummary): string =>
  `${count(turns)} turns, ${count(calls)} calls, ${count(promptTokens + completionTokens)} tokens`;

/** In the time zone of whoever looks. */
function minute(iso: string): string {
  const at = new Date(iso);
  const two = (value: number): string => String(value).padStart(2, '0');
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${two(at.getHours())}:${two(at.getMinutes())}`;
}

const ERROR_SHOWN = 200;

function oneLine(text: string): string {
  const line = text.replaceAll(/\s+/g, ' ').trim();
  return line.length <= ERROR_SHOWN ? line : `${line.slice(0, ERROR_SHOWN - 1)}…`;
}

function shown(run: RunDetails, config: string): string[] {
  const indented = (lines: readonly string[]): string[] => lines.map((line) => `  ${line}`);
  const section = (title: string, lines: readonly string[]): string[] =>
    lines.length === 0 ? [] : [title, ...indented(lines)];
  return [
    `Run ${run.id}: ${run.status}${run.rehearsal ? ' (rehearsal)' : ''}`,
    ...indented([
      `created ${minute(run.createdAt)}, updated ${minute(run.updatedAt)}`,
      `run ${run.ordinal + 1} of the dataset ${run.datasetId}`,
      ...(run.error === null ? [] : run.error.split('\n')),
    ]),
    ...section(
      'Conversations',
      table(
        ['language', 'conversations', 'wanted', 'turns', 'dropped'],
        run.languages.map((row) => [row.language, row.committed, row.target, row.turns, row.dropped]),
      ),
    ),
    ...section('Drops', dropLines(run)),
    ...section('Model calls', [callLine(run), ...modelLines(run.models)]),
    ...section('Settings that decide about its rows', settingLines(run)),
    ...section('Files', filesOf(run)),
    ...section('Now', [nowLine(run, config)]),
  ];
}

const filesOf = ({ outputDir, runState, logsDir, store }: RunDetails): string[] => [
  ...[outputDir, runState].filter((path) => path !== null),
  ...(logsDir === null ? [] : [`${logsDir} (logs)`]),
  store,
];

const dropLines = ({ languages }: RunDetails): string[] =>
  languages.flatMap(({ language, dropReasons }) =>
    Object.entries(dropReasons).map(([reason, number]) => `${language}: ${count(number)} × ${reason}`),
  );

function settingLines({ settings }: RunDetails): string[] {
  const width = Math.max(0, ...Object.keys(settings).map((name) => name.length));
  return Object.entries(settings).map(([name, value]) => `${name.padEnd(width)}  ${shortened(value)}`);
}

/** Texts that are only compared are known by their hash. */
const shortened = (value: string): string => value.replace(/^"([0-9a-f]{8})[0-9a-f]{56}"$/, 'version $1');

/** The host of holders that are nodes of a cluster. */
const CLUSTER = 'cluster';

function nowLine(run: RunDetails, config: string): string {
  const { holder } = run;
  if (run.status === 'paused') return `paused; go on with: npx dlgforge runs resume ${run.id}`;
  if (run.status === 'running' && holder?.host === CLUSTER)
    return `led by the node ${holder.processKey} of a cluster; follow it: npx dlgforge attach ${run.id}`;
  if (run.status === 'running' && holder !== null) {
    return `driven by the process ${holder.pid} on ${holder.host} (\`${holder.command}\`)`;
  }
  const again = `npx dlgforge run ${config} --resume ${run.id}`;
  return run.status === 'completed'
    ? `done; with more run.total_samples it goes on: ${again}`
    : `go on with: ${again}`;
}
