// The quick loop: format, lint, types, and the tests in which no server fails. Stops at the first failure.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const runner = fileURLToPath(new URL('./on-bundled-node.mjs', import.meta.url));
const steps = [
  { name: 'format', command: ['biome', 'format', '.'] },
  { name: 'lint', command: ['oxlint', '--type-aware', 'src', 'test', 'bench', 'scripts'] },
  { name: 'types', command: ['tsc', '--noEmit'] },
  {
    name: 'tests',
    command: ['vitest', 'run', '--project', 'unit', '--project', 'contract', '--project', 'simulation'],
    // `npm test` simulates 200 clusters.
    environment: { DLGFORGE_SIM_SEEDS: '25' },
  },
];
const only = process.argv.slice(2);

for (const { name, command, environment = {} } of steps) {
  if (only.length > 0 && !only.includes(name)) continue;
  const startedAt = Date.now();
  const env = { ...environment, ...process.env };
  const result = spawnSync(process.execPath, [runner, ...command], { stdio: 'inherit', env });
  if (result.status !== 0) {
    process.stderr.write(`${name}: failed\n`);
    process.exit(result.status ?? 1);
  }
  process.stderr.write(`${name}: ok (${((Date.now() - startedAt) / 1000).toFixed(1)} s)\n`);
}
