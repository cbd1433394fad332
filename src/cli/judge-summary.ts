/** The summary of a judge's pass, for people. */
import type { PassReport } from '../bootstrap/judge/judge.ts';
import { count, duration } from './format.ts';
import { callLines, endpointLines, judgeLines, placeFrom, section } from './summary.ts';

export function renderJudgeSummary(report: PassReport, workingDir: string): string {
  const place = placeFrom(workingDir);
  const { granularity, model, promptVersion } = report.pass;
  return [
    '',
    `Judging by ${granularity} (${model}, prompt ${promptVersion}): ${STATUS[report.status]} in ${duration(report.wallMs)}`,
    ...countLines(report).map((line) => `  ${line}`),
    ...section('Model calls', callLines(report)),
    ...section('Verdicts', judgeLines(report)),
    ...section('Endpoints', endpointLines(report)),
    ...section('Files', [`dataset  ${place(report.outputDir)}`, `logs     ${place(report.logsDir)}`]),
    ...section('Next', nextLines(report)),
    '',
  ].join('\n');
}

const STATUS: Readonly<Record<PassReport['status'], string>> = {
  completed: 'completed',
  interrupted: 'interrupted',
  failed: 'stopped before its end',
};

function countLines({ conversations, asked, given, left, skipped, judge, batches }: PassReport): string[] {
  return [
    `${count(conversations)} conversations; ${count(asked)} turns or conversations judged now, ${count(given)} with a verdict`,
    ...(judge.without === 0
      ? []
      : [
          `${count(judge.without)} without a verdict: they are in no average, and the same command asks again`,
        ]),
    ...(batches === null ? [] : batchLines(batches)),
    ...(left === 0 ? [] : [`${count(left)} conversations left to judge`]),
    ...(skipped === 0 ? [] : [`${count(skipped)} files skipped: they cannot be read (logs/judge.log)`]),
  ];
}

function batchLines({ created, requests, ignored, open }: NonNullable<PassReport['batches']>): string[] {
  return [
    `batches created: ${count(created)}, with ${count(requests)} requests`,
    ...(ignored === 0 ? [] : [`${count(ignored)} results ignored: they are about no open request`]),
    ...(open === 0
      ? []
      : [`batches that go on at the provider: ${count(open)}; the same command fetches their answers`]),
  ];
}

/** The same command: with other options it would be another pass, and paid for as such. */
function nextLines({ status, trouble }: PassReport): string[] {
  const again =
    'Every verdict that was given is kept. Run the same command again, with its options, to go on.';
  if (status === 'failed') return [trouble ?? '', again];
  return status === 'interrupted' ? [again] : [];
}
