/**
 * Stands in for `dlgforge cluster start` where the launcher is tested: takes its arguments, goes into the
 * background, and says in its state folder that it runs. What it was given is in `given.json` beside that.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { clusterHome, thisHead, writeAddress } from '../../src/bootstrap/cluster/address-file.ts';
import { removeNodeFile, writeNodeFile } from '../../src/bootstrap/cluster/node-file.ts';

const args = process.argv.slice(2);
const valueOf = (flag: string): string => args[args.indexOf(flag) + 1] ?? '';
const stateDir = valueOf('--state-dir');
const namespace = valueOf('--namespace');
const node = valueOf('--name');

if (process.env['STAND_IN_FAILS']?.split(',').includes(node.replace(/-[0-9a-f]{4}$/, '')) === true) {
  mkdirSync(join(stateDir, 'logs'), { recursive: true });
  writeFileSync(join(stateDir, 'logs', 'node.log'), 'a line of the log\n');
  process.stderr.write(`cannot join with ${process.env['DLGFORGE_NATS_TOKEN'] ?? 'no token'}\n`);
  process.exit(1);
}
if (args.includes('--stay')) await stay();
else await inBackground();

async function stay(): Promise<void> {
  const given = { args, cwd: process.cwd(), env: process.env };
  mkdirSync(stateDir, { recursive: true });
  writeFileSync(join(stateDir, 'given.json'), JSON.stringify(given));
  if (args.includes('--head')) {
    await writeAddress(clusterHome(process.env), {
      namespace,
      natsUrl: 'nats://127.0.0.1:4222',
      token: 'stand-in-token',
      postgres: { type: 'dsn', dsn: 'postgres://node:stand-in-password@127.0.0.1/db' },
      natsServerId: null,
      ...thisHead(),
      headNode: node,
      startedAt: new Date().toISOString(),
    });
  }
  await writeNodeFile(stateDir, { node, namespace, address: 'nats://127.0.0.1:4222' });
  process.once('SIGTERM', () => {
    void removeNodeFile(stateDir, process.pid).then(() => process.exit(0));
  });
  setInterval(() => undefined, 1_000);
  process.send?.('ready');
}

async function inBackground(): Promise<void> {
  const script = process.argv[1] ?? '';
  const child = spawn(process.execPath, [script, ...args, '--stay'], {
    detached: true,
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  });
  await new Promise((resolve) => child.once('message', resolve));
  child.disconnect();
  child.unref();
}
