/**
 * A small network of namespaces on this machine: one bridge, whose addresses the servers of a test listen on, and
 * one namespace for each node, which can be cut off from any of these addresses. Needs root and the programs `ip`
 * and `iptables`.
 *
 * Owns: the bridge, the namespaces and their rules. All of them carry the number of this process in their names,
 * and are gone after `remove`; what a killed test left is removed by the next.
 */
import { execFile, execFileSync } from 'node:child_process';
import { promisify } from 'node:util';
import { isPidAlive } from '../../src/store/process-identity.ts';

export interface NetworkLab {
  /** Addresses of this machine on the bridge, one for each server. */
  readonly servers: readonly string[];
  /** A program and its arguments, to run inside of a node's namespace. */
  inside(node: string, command: readonly string[]): readonly [program: string, ...args: string[]];
  /** Nothing goes between the node and this server any more; connections hang, as on a broken line. */
  cut(node: string, server: string, way?: 'both' | 'towards' | 'back'): Promise<void>;
  /** The node's link is down: it reaches nobody. */
  unplug(node: string): Promise<void>;
  /** Everything goes through again. */
  heal(node: string): Promise<void>;
  remove(): Promise<void>;
}

const run = promisify(execFile);
const PREFIX = 'dlgt';

/** Why there can be no such network here, in words; null when there can. */
export function whyNoNetwork(): string | null {
  if (process.platform !== 'linux') return 'network namespaces are a thing of Linux';
  if (process.getuid?.() !== 0) return 'network namespaces need root';
  for (const program of ['ip', 'iptables']) {
    try {
      execFileSync(program, ['-V'], { stdio: 'ignore' });
    } catch {
      return `the program ${program} is not installed (apt-get install -y iproute2 iptables)`;
    }
  }
  const probe = `${PREFIX}p${process.pid}`;
  try {
    execFileSync('ip', ['netns', 'add', probe], { stdio: 'pipe' });
    execFileSync('ip', ['netns', 'exec', probe, 'iptables', '-L', '-n'], { stdio: 'pipe' });
    return null;
  } catch (error) {
    return `network namespaces are not permitted here: ${error instanceof Error ? error.message.trim() : ''}`;
  } finally {
    execFileSync('sh', ['-c', `ip netns del ${probe} 2>/dev/null || true`]);
  }
}

/** @param nodes short names: they become names of links, which have 15 characters at most */
export async function startNetworkLab(nodes: readonly string[], servers: number): Promise<NetworkLab> {
  await removeLeftOvers();
  const bridge = `${PREFIX}${process.pid}`;
  // A network that no other test process has: its number decides.
  const net = `10.${200 + (process.pid % 50)}.${(process.pid >> 6) % 250}`;
  const namespaceOf = (node: string): string => `${PREFIX}${process.pid}${node}`;
  const linkOf = (node: string): string => `dl${process.pid}${node}`;
  const addresses = Array.from({ length: servers }, (_, index) => `${net}.${index + 1}`);
  const remove = (): Promise<void> => removeAll(`${PREFIX}${process.pid}`);
  try {
    await ip('link', 'add', bridge, 'type', 'bridge');
    for (const address of addresses) await ip('addr', 'add', `${address}/24`, 'dev', bridge);
    await ip('link', 'set', bridge, 'up');
    for (const [index, node] of nodes.entries()) {
      const namespace = namespaceOf(node);
      await ip('netns', 'add', namespace);
      await ip('link', 'add', linkOf(node), 'type', 'veth', 'peer', 'name', 'eth0', 'netns', namespace);
      await ip('link', 'set', linkOf(node), 'master', bridge);
      await ip('link', 'set', linkOf(node), 'up');
      await ip('-n', namespace, 'link', 'set', 'lo', 'up');
      await ip('-n', namespace, 'addr', 'add', `${net}.${index + 101}/24`, 'dev', 'eth0');
      await ip('-n', namespace, 'link', 'set', 'eth0', 'up');
    }
  } catch (error) {
    await remove();
    throw error;
  }
  const filter = (node: string, ...args: string[]): Promise<unknown> =>
    run('ip', ['netns', 'exec', namespaceOf(node), 'iptables', ...args]);
  return {
    servers: addresses,
    inside: (node, command) => ['ip', 'netns', 'exec', namespaceOf(node), ...command],
    async cut(node, server, way = 'both') {
      if (way !== 'back') await filter(node, '-A', 'OUTPUT', '-d', server, '-j', 'DROP');
      if (way !== 'towards') await filter(node, '-A', 'INPUT', '-s', server, '-j', 'DROP');
    },
    unplug: (node) => ip('link', 'set', linkOf(node), 'down'),
    async heal(node) {
      await filter(node, '-F');
      await ip('link', 'set', linkOf(node), 'up');
    },
    remove,
  };
}

async function ip(...args: string[]): Promise<void> {
  await run('ip', args);
}

/** What was named by a process that is no more. */
async function removeLeftOvers(): Promise<void> {
  const pids = new Set((await namesOf(PREFIX)).map((name) => /^dlgtp?(\d+)/.exec(name)?.[1] ?? ''));
  for (const pid of pids) if (pid !== '' && !isPidAlive(Number(pid))) await removeAll(`${PREFIX}${pid}`);
}

/** Namespaces first: their links end with them. */
async function removeAll(prefix: string): Promise<void> {
  for (const name of await namesOf(prefix)) {
    if (name === prefix) continue;
    await ip('netns', 'del', name).catch(unlessGone);
  }
  await ip('link', 'del', prefix).catch(unlessGone);
}

async function namesOf(prefix: string): Promise<string[]> {
  const { stdout: namespaces } = await run('ip', ['netns', 'list']);
  const { stdout: links } = await run('ip', ['-brief', 'link', 'show', 'type', 'bridge']);
  return `${namespaces}\n${links}`
    .split('\n')
    .map((line) => line.split(' ')[0] ?? '')
    .filter((name) => name.startsWith(prefix));
}

function unlessGone(error: unknown): void {
  const text = error instanceof Error ? error.message : '';
  if (!/No such file|Cannot find device/.test(text)) throw error;
}
