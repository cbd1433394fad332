/**
 * Whether a turn costs the same however long the run is: CPU per turn, bytes written per turn and memory,
 * for a short and a long run of short conversations.
 *
 *   npm run bench -- growth [short] [long]        (1,000 and 20,000 conversations)
 *
 * The last quarter of the long run is measured by itself too: growth would show there first.
 */
import { readFileSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { benchProject } from './support/bench-project.ts';
import { startRehearsalProcess } from './support/rehearsal-process.ts';

const SHORT = Number(process.argv[2] ?? 1_000);
const LONG = Number(process.argv[3] ?? 20_000);
const OPEN = 64;
const SAMPLE_MS = 500;

interface Sample {
  readonly turns: number;
  readonly cpuMs: number;
  readonly rssMb: number;
}

interface Measured {
  readonly conversations: number;
  readonly turns: number;
  readonly cpuMsPerTurn: number;
  readonly lastQuarterCpuMsPerTurn: number;
  readonly bytesPerTurn: number;
  readonly rssMedianMb: number;
  readonly rssPeakMb: number;
}

const cpuMs = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

function folderBytes(folder: string): number {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((total, entry) => total + statSync(join(entry.parentPath, entry.name)).size, 0);
}

/** What this process asked the kernel to write, files and sockets alike. */
const bytesWritten = (): number =>
  Number(/wchar: (\d+)/.exec(readFileSync('/proc/self/io', 'utf8'))?.[1] ?? 0);

async function measure(url: string, conversations: number): Promise<Measured> {
  const project = await benchProject(url, {
    run: {
      run_id: 'bench',
      total_samples: conversations,
      batch_size: OPEN,
      turns: { mode: 'exact', exact: 1 },
    },
    judge: { enabled: false },
    llm: { max_in_flight: OPEN },
  });
  const samples: Sample[] = [];
  let written = 0;
  let timer: NodeJS.Timeout | undefined;
  const report = await project.run((start) => {
    written = bytesWritten();
    timer = setInterval(() => {
      void start.view().then(
        (view) =>
          samples.push({
            turns: view.languages.reduce((total, language) => total + language.turns, 0),
            cpuMs: cpuMs(),
            rssMb: process.memoryUsage.rss() / 1e6,
          }),
        () => undefined,
      );
    }, SAMPLE_MS);
    samples.push({ turns: 0, cpuMs: cpuMs(), rssMb: process.memoryUsage.rss() / 1e6 });
  });
  clearInterval(timer);
  samples.push({ turns: report.turns, cpuMs: cpuMs(), rssMb: process.memoryUsage.rss() / 1e6 });
  const bytes = bytesWritten() - written;
  const disk = folderBytes(join(project.folder, 'outputs'));
  process.stdout.write(
    `  ${report.conversations} conversations in ${(report.wallMs / 1000).toFixed(0)} s, outputs ${(disk / 1e6).toFixed(0)} MB\n`,
  );
  await project.remove();
  const [first, last] = [samples[0] as Sample, samples.at(-1) as Sample];
  const threeQuarters = samples.find((sample) => sample.turns >= report.turns * 0.75) ?? first;
  const quarters = [0.25, 0.5, 0.75, 1].map(
    (share) => samples.find((sample) => sample.turns >= report.turns * share)?.rssMb ?? 0,
  );
  process.stdout.write(`  RSS after each quarter: ${quarters.map((mb) => mb.toFixed(0)).join(', ')} MB\n`);
  const rss = samples.map((sample) => sample.rssMb).sort((a, b) => a - b);
  return {
    conversations,
    turns: report.turns,
    cpuMsPerTurn: (last.cpuMs - first.cpuMs) / report.turns,
    lastQuarterCpuMsPerTurn:
      (last.cpuMs - threeQuarters.cpuMs) / Math.max(1, report.turns - threeQuarters.turns),
    bytesPerTurn: bytes / report.turns,
    rssMedianMb: rss[Math.floor(rss.length / 2)] ?? 0,
    rssPeakMb: rss.at(-1) ?? 0,
  };
}

const rehearsal = await startRehearsalProcess({
  seed: 1,
  latency: { distribution: 'fixed', mean_ms: 0 },
  second_round_rate: 0,
  parallel_calls_rate: 0,
});
await measure(rehearsal.url, 200);
const rows = [await measure(rehearsal.url, SHORT), await measure(rehearsal.url, LONG)];
await rehearsal.close();
for (const row of rows) {
  process.stdout.write(
    `${row.conversations} conversations: ${row.cpuMsPerTurn.toFixed(2)} ms CPU per turn (last quarter ${row.lastQuarterCpuMsPerTurn.toFixed(2)}), ${(row.bytesPerTurn / 1000).toFixed(1)} kB written per turn, RSS median ${row.rssMedianMb.toFixed(0)} MB, peak ${row.rssPeakMb.toFixed(0)} MB\n`,
  );
}
const [short, long] = rows;
if (short !== undefined && long !== undefined) {
  process.stdout.write(
    `growth: CPU per turn × ${(long.cpuMsPerTurn / short.cpuMsPerTurn).toFixed(2)}, bytes per turn × ${(long.bytesPerTurn / short.bytesPerTurn).toFixed(2)}, RSS × ${(long.rssMedianMb / short.rssMedianMb).toFixed(2)} (goal ≤ 1.1)\n`,
  );
}
