import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { findGpus, type FoundGpus } from '../../../../src/bootstrap/cluster/gpus.ts';

/** What is found where nvidia-smi is this shell script. */
function found(...script: readonly string[]): Promise<FoundGpus> {
  const bin = mkdtempSync(join(tmpdir(), 'dlgforge-gpus-'));
  onTestFinished(() => rmSync(bin, { recursive: true }));
  if (script.length > 0)
    writeFileSync(join(bin, 'nvidia-smi'), ['#!/bin/sh', ...script, ''].join('\n'), { mode: 0o755 });
  return findGpus({ PATH: bin });
}

test('GPUs are what nvidia-smi lists, with their memory where it knows it', async () => {
  expect(await found('echo "0, NVIDIA L4, 22000, 23034"', 'echo "1, NVIDIA GB10, [N/A], [N/A]"')).toEqual({
    gpus: [
      { index: 0, freeMb: 22_000, totalMb: 23_034 },
      { index: 1, freeMb: null, totalMb: null },
    ],
    trouble: null,
  });
});

test('a machine without nvidia-smi has none; one whose nvidia-smi fails says why', async () => {
  expect(await found()).toEqual({ gpus: [], trouble: null });
  const mismatch = 'Failed to initialize NVML: Driver/library version mismatch';
  expect(await found(`echo "${mismatch}"`, 'echo "NVML library version: 550"', 'exit 18')).toEqual({
    gpus: [],
    trouble: `nvidia-smi failed: ${mismatch}`,
  });
  const { trouble } = await found('exit 9');
  expect(trouble).toMatch(/^nvidia-smi failed: Command failed/);
});
