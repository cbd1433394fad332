/**
 * Simulates clusters, a seed each, until one breaks a promise:
 * `npm run simulate -- --seeds 10000`, from `--from`; `--seed N --trace` shows all of one.
 */
import { parseArgs } from 'node:util';
import { simulate, type Verdict } from '../test/support/cluster-world/simulate.ts';

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1000' },
    from: { type: 'string', default: '1' },
    seed: { type: 'string' },
    trace: { type: 'boolean', default: false },
    'keep-going': { type: 'boolean', default: false },
  },
});

const first = Number(values.seed ?? values.from);
const count = values.seed === undefined ? Number(values.seeds) : 1;
if (!Number.isSafeInteger(first) || !Number.isSafeInteger(count)) {
  process.stderr.write('--seed, --seeds and --from are whole numbers\n');
  process.exit(2);
}

const total = { calls: 0, faults: 0, simulatedMs: 0, again: 0, recoveryMaxMs: 0 };
let failed = 0;
for (let seed = first; seed < first + count; seed += 1) {
  const verdict = await simulate({ seed, keepTrace: values.trace });
  total.calls += verdict.counts.calls;
  total.again += verdict.counts.paidAgainByReplaced;
  total.recoveryMaxMs = Math.max(total.recoveryMaxMs, verdict.recoveryMs);
  total.simulatedMs += verdict.simulatedMs;
  for (const times of verdict.faults.values()) total.faults += times;
  if (values.trace) process.stdout.write(`${verdict.trace.join('\n')}\n`);
  if (verdict.broken.length > 0) {
    failed += 1;
    tell(verdict);
    if (!values['keep-going']) break;
  } else if (seed % 100 === 0 || count === 1)
    process.stdout.write(`seed ${seed} holds (${verdict.digest})\n`);
}
const minutes = Math.round(total.simulatedMs / 60_000);
process.stdout.write(
  `${failed} broken; ${minutes} simulated minutes, ${total.faults} faults, ${total.calls} calls, ${total.again} of them paid again by a process that had been replaced; at most ${Math.round(total.recoveryMaxMs / 1_000)} s to the end when all was well\n`,
);
process.exitCode = failed > 0 ? 1 : 0;

function tell({ seed, broken }: Verdict): void {
  process.stdout.write(`seed ${seed} breaks:\n  ${broken.slice(0, 5).join('\n  ')}\n`);
  process.stdout.write(`  replay: npm run simulate -- --seed ${seed} --trace\n`);
}
