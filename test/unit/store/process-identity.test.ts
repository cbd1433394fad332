import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, it } from 'vitest';
import { isProcessAlive, processIdentity } from '../../../src/store/open-store.ts';

it('knows itself, and tells people what runs', () => {
  const me = processIdentity('dlgforge run config.yaml');
  expect(me).toMatchObject({ pid: process.pid, command: 'dlgforge run config.yaml' });
  expect(isProcessAlive(me)).toBe(true);
  expect(processIdentity('again').processKey).toBe(me.processKey);
});

it.runIf(process.platform === 'linux')('is not misled by a number that another process has now', () => {
  const me = processIdentity('x');
  const [boot] = me.processKey.split(':');
  expect(isProcessAlive({ ...me, processKey: `${boot}:1` })).toBe(false);
  expect(isProcessAlive({ ...me, processKey: 'another boot:1' })).toBe(false);
});

it('sees that a process has ended', async () => {
  const child = spawn(process.execPath, ['-e', '']);
  await once(child, 'exit');
  expect(isProcessAlive({ ...processIdentity('x'), pid: child.pid ?? 0 })).toBe(false);
});
