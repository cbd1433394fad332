// The tests of the cluster need the program nats-server, and iptables to cut nodes off from each other. Installs
// what is missing where that needs no question (Debian, as root), and says what to type elsewhere; either way the
// rest goes on, and a test that misses one says so too.
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

const isOnPath = (program) =>
  [...(process.env.PATH ?? '').split(delimiter), ...FOLDERS].some((folder) => canRun(join(folder, program)));

const isRoot = process.getuid?.() === 0;

/** Network namespaces are a thing of Linux, and of root. */
const missing = () => [
  ...(canRun(process.env.DLGFORGE_NATS_SERVER ?? '') || isOnPath('nats-server') ? [] : ['nats-server']),
  ...(process.platform !== 'linux' || !isRoot
    ? []
    : [...(isOnPath('iptables') ? [] : ['iptables']), ...(isOnPath('ip') ? [] : ['iproute2'])]),
];

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

const installLine = (programs, hasApt) => {
  if (process.platform === 'darwin') return `brew install ${programs}`;
  const sudo = isRoot ? '' : 'sudo ';
  return hasApt
    ? `${sudo}apt-get update && ${sudo}apt-get install -y ${programs}`
    : `install ${programs} and put it on the PATH; nats-server is at ${PAGE}`;
};

export function ensureTestPrograms() {
  const programs = missing();
  if (programs.length === 0) return;
  const named = programs.join(' ');
  const hasApt = canRun('/usr/bin/apt-get');
  if (hasApt && isRoot) {
    process.stderr.write(`Installing ${named} for the tests of the cluster …\n`);
    const done = withoutServices(() => aptGet('update') && aptGet('install', '-y', ...programs));
    if (done) return;
  }
  process.stderr.write(`The tests of the cluster need what is missing here: ${installLine(named, hasApt)}\n`);
}
