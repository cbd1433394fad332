// The tests of the cluster need the program nats-server. Installs it where that needs no question (Debian, as
// root), and says what to type elsewhere; either way the rest goes on, and a test that misses it says so too.
import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';

const FOLDERS = ['/usr/sbin', '/usr/local/sbin', '/usr/local/bin', '/opt/homebrew/bin'];
const POLICY = '/usr/sbin/policy-rc.d';
const PAGE = 'https://github.com/nats-io/nats-server/releases';

const canRun = (file) => {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
};

const isInstalled = () =>
  canRun(process.env.DLGFORGE_NATS_SERVER ?? '') ||
  [...(process.env.PATH ?? '').split(delimiter), ...FOLDERS].some((folder) =>
    canRun(join(folder, 'nats-server')),
  );

/** Debian starts the services that it installs, unless a policy forbids it; the tests start their own. */
const withoutServices = (act) => {
  const isOurs = !existsSync(POLICY);
  if (isOurs) writeFileSync(POLICY, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  try {
    return act();
  } finally {
    if (isOurs) rmSync(POLICY);
  }
};

const aptGet = (...args) => {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  return spawnSync('apt-get', args, { env, stdio: ['ignore', 2, 2] }).status === 0;
};

const installLine = (hasApt, isRoot) => {
  if (process.platform === 'darwin') return 'brew install nats-server';
  const sudo = isRoot ? '' : 'sudo ';
  return hasApt
    ? `${sudo}apt-get update && ${sudo}apt-get install -y nats-server`
    : `get it from ${PAGE} and put it on the PATH`;
};

export function ensureNatsServer() {
  if (isInstalled()) return;
  const hasApt = canRun('/usr/bin/apt-get');
  const isRoot = process.getuid?.() === 0;
  if (hasApt && isRoot) {
    process.stderr.write('Installing nats-server, which the tests of the cluster need …\n');
    const done = withoutServices(() => aptGet('update') && aptGet('install', '-y', 'nats-server'));
    if (done) return;
  }
  process.stderr.write(
    `nats-server is missing, which the tests of the cluster need: ${installLine(hasApt, isRoot)}\n`,
  );
}
