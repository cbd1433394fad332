/** The summary of a run, for people and for programs. */
import { existsSync } from 'node:fs';
import { relative } from 'node:path';
import type { RunReport } from '../bootstrap/run-report.ts';
import { unreachable } from '../kernel/errors.ts';
import { callLine, modelLines } from './call-lines.ts';
import { count, decimal, duration, percent, table } from './format.ts';

export function renderSummary(report: RunReport, configPath: string, workingDir: string): string {
  const place = placeFrom(workingDir);
  return [
    '',
    `Run ${report.runId}: ${STATUS[report.status]} in ${duration(report.wallMs)}`,
    ...table(
      ['language', 'conversations', 'wanted', 'turns', 'dropped'],
      report.languages.map((row) => [row.language, row.committed, row.target, row.turns, row.dropped]),
    ).map(indented),
    ...section('Drops', dropLines(report)),
    ...section('Model calls', callLines(report)),
    ...section('Judge', judgeLines(report)),
    ...section('Endpoints', endpointLines(report)),
    ...section('Files', [`dataset  ${place(report.outputDir)}`, `logs     ${place(report.logsDir)}`]),
    ...section('Formats', formatLines(report, configPath, place)),
    ...section('Publishing', publishingLines(report)),
    ...section('Next', nextLines(report, configPath)),
    '',
  ].join('\n');
}

const STATUS: Readonly<Record<RunReport['status'], string>> = {
  completed: 'completed',
  interrupted: 'interrupted',
  cancelled: 'cancelled',
  failed: 'stopped before its end',
};

const indented = (line: string): string => `  ${line}`;

export const placeFrom =
  (workingDir: string) =>
  (path: string): string => {
    const shown = relative(workingDir, path);
    return shown === '' || shown.startsWith('..') ? path : shown;
  };

export function section(title: string, lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : [title, ...lines.map(indented)];
}

function dropLines({ languages }: RunReport): string[] {
  return languages.flatMap(({ language, dropReasons }) =>
    Object.entries(dropReasons).map(([reason, number]) => `${language}: ${count(number)} × ${reason}`),
  );
}

type CalledReport = Pick<
  RunReport,
  'calls' | 'promptTokens' | 'cachedTokens' | 'completionTokens' | 'models' | 'retries'
>;

export const endpointLines = ({ endpoints }: Pick<RunReport, 'endpoints'>): string[] =>
  endpoints.map(
    (endpoint) =>
      `${endpoint.endpoint}: ${percent(endpoint.saturation)} saturated (on average ${decimal(endpoint.averageInFlight)} of ${endpoint.maxInFlight} requests in flight)`,
  );

export function callLines(report: CalledReport): string[] {
  const retries = Object.entries(report.retries).filter(([, number]) => number > 0);
  const total = retries.reduce((sum, [, number]) => sum + number, 0);
  const causes = retries.map(([cause, number]) => `${cause} ${count(number)}`).join(', ');
  return [
    callLine(report),
    `${count(total)} retries${causes === '' ? '' : ` (${causes})`}`,
    ...modelLines(report.models),
  ];
}

export function judgeLines({ judge }: Pick<RunReport, 'judge'>): string[] {
  if (judge === null || judge.verdicts + judge.without === 0) return [];
  const highest = Math.max(1, ...judge.distribution);
  const bars = judge.distribution.flatMap((number, score) =>
    number === 0
      ? []
      : [
          `${String(score).padStart(2)}  ${'█'.repeat(Math.max(1, Math.round((number / highest) * 30)))} ${count(number)}`,
        ],
  );
  const mean =
    judge.mean === null
      ? 'no verdicts'
      : `mean ${decimal(judge.mean, 2)} over ${count(judge.verdicts)} verdicts`;
  return [judge.without === 0 ? mean : `${mean}; ${count(judge.without)} without a verdict`, ...bars];
}

function formatLines({ exports }: RunReport, configPath: string, place: (path: string) => string): string[] {
  if (exports === null) return [];
  const formats = exports.formats.join(', ');
  if (exports.type === 'written') return [`${formats} in ${place(exports.folder)}`];
  return [
    `FAILED: ${exports.message}`,
    'The run itself is complete. Write them without another run:',
    `npx dlgforge export ${configPath} --format ${exports.formats.join(',')}`,
  ];
}

function publishingLines({ publication }: RunReport): string[] {
  if (publication === null) return [];
  switch (publication.type) {
    case 'published':
      return [
        `${publication.repoId}: ${publication.url}${publication.commit === null ? ' (the Hub held the same already)' : ''}`,
      ];
    case 'skipped':
      return [`skipped: ${publication.reason}`];
    case 'failed':
      return [
        `FAILED: ${publication.message}`,
        'The run itself is complete. Publish it without another run:',
        publication.command,
      ];
    default:
      return unreachable(publication);
  }
}

/** A project may have a configuration for that already, as the quick start does. */
function realModelLines(configPath: string): string[] {
  const beside = configPath.replace(/\.ya?ml$/, '.openai$&');
  if (beside !== configPath && existsSync(beside)) return [`OPENAI_API_KEY=… npx dlgforge run ${beside}`];
  return [
    `set llm.backend: openai in ${configPath} and a new run.run_id, if it names one; then`,
    `OPENAI_API_KEY=… npx dlgforge run ${configPath}`,
  ];
}

function nextLines(report: RunReport, configPath: string): string[] {
  const again = `npx dlgforge run ${configPath} --resume ${report.runId}`;
  if (report.status === 'failed')
    return [report.trouble?.message ?? '', `Nothing that was paid for is lost. Go on with: ${again}`];
  if (report.status === 'interrupted' || report.status === 'cancelled')
    return [`Nothing that was paid for is lost. Go on with: ${again}`];
  if (!report.rehearsal) return [`npx dlgforge runs show ${report.runId} --config ${configPath}`];
  return [
    'These conversations come from the built-in rehearsal and not from a model. On a real model:',
    ...realModelLines(configPath),
  ];
}
