/**
 * How a server program is started: as which user, under which lock. Postgres refuses to run as root, so
 * root starts it inside a user namespace where the same user has an ordinary number (the files stay
 * root's, nothing is chowned), or as another user where namespaces are forbidden.
 */
import { type SpawnOptions, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { DlgforgeError, unreachable } from '../../kernel/errors.ts';

export type Way =
  | { readonly type: 'direct' }
  | { readonly type: 'namespace'; readonly innerUid: number }
  | { readonly type: 'as_user'; readonly uid: number; readonly gid: number };

const DIRECT: Way = { type: 'direct' };
const NOBODY: Way = { type: 'as_user', uid: 65534, gid: 65534 };

/** Nothing of ours is in a server's environment: no key, no proxy, no locale (I8). */
const SERVER_ENV: Readonly<Record<string, string>> = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin',
  LC_ALL: 'C',
  TZ: 'UTC',
};

export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** Ways to make a database in a folder of `owner`, best first. */
export function waysToMake(owner: Owner): readonly Way[] {
  // initdb looks its user up; a user without a name (as containers have) borrows the number of one.
  const named = namedUids();
  if (myUid() !== 0) return hasName() ? [DIRECT, namespaceWay(named)] : [namespaceWay(named), DIRECT];
  const asOwner: Way = { type: 'as_user', uid: owner.uid, gid: owner.gid };
  return named.includes(owner.uid) && owner.uid !== 0
    ? [asOwner, namespaceWay(named), NOBODY]
    : [namespaceWay(named), NOBODY];
}

/** Ways to run a server on files of `owner`, best first. */
export function waysToServe(owner: Owner): readonly Way[] {
  const namespace = namespaceWay(namedUids());
  if (myUid() !== 0) return [DIRECT, namespace];
  return owner.uid === 0 ? [namespace, NOBODY] : [{ type: 'as_user', uid: owner.uid, gid: owner.gid }];
}

/** The first way in which the server program runs and reaches `folder`. @throws DlgforgeError `store`. */
export function firstWorkingWay(ways: readonly Way[], postgres: string, folder: string): Way {
  const failures: string[] = [];
  for (const way of ways) {
    const failure = whyNot(way, postgres, folder);
    if (failure === null) return way;
    failures.push(`${nameOf(way)}: ${failure}`);
  }
  const as = myUid() === 0 ? 'Postgres refuses to run as root. ' : '';
  throw new DlgforgeError(
    'store',
    `The embedded database cannot run here. ${as}Run dlgforge as an ordinary user, or set store.postgres.dsn ` +
      'to a Postgres server of your own.',
    { details: { folder, tried: failures } },
  );
}

/** Runs to the end and gives what it printed. */
export async function runProgram(
  way: Way,
  program: string,
  args: readonly string[],
): Promise<{ readonly code: number | null; readonly output: string }> {
  const { file, argv, user } = commandOf(way, program, args);
  const child = spawn(file, argv, { ...user, env: SERVER_ENV, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  const keep = (chunk: Buffer): void => {
    output = (output + chunk.toString()).slice(-16_384);
  };
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, output };
}

export interface StartedServer {
  /** Null while it runs. */
  end(): ServerEnd | null;
}

export interface ServerEnd {
  /** Null when a signal ended it. */
  readonly code: number | null;
  readonly reason: string;
}

/** Exit code of a start that found the folder's lock taken. */
export const LOCK_TAKEN = 75;

/**
 * Starts a server that outlives this process and whatever kills it: a session of its own, no pipe to us.
 * It holds a lock on `lockFile` for as long as any of its processes lives, which servers in other
 * containers see too; postmaster.pid alone does not reach over process namespaces.
 */
export function startServer(
  way: Way,
  program: string,
  args: readonly string[],
  lockFile: string,
  logFd: number,
): StartedServer {
  const locked = lockPrefix(lockFile);
  const { file, argv, user } = commandOf(way, locked[0] ?? program, [
    ...locked.slice(1),
    ...(locked.length > 0 ? [program] : []),
    ...args,
  ]);
  const child = spawn(file, argv, {
    ...user,
    env: SERVER_ENV,
    cwd: '/',
    detached: true,
    stdio: ['ignore', logFd, logFd],
  });
  let end: ServerEnd | null = null;
  child.once('exit', (code, signal) => {
    end = { code, reason: signal ?? `exit code ${code}` };
  });
  child.once('error', (error) => {
    end = { code: null, reason: error.message };
  });
  child.unref();
  return { end: () => end };
}

function lockPrefix(lockFile: string): readonly string[] {
  // A shared lock as a probe: BusyBox has a flock without --no-fork, some systems have none.
  const probe = spawnSync('flock', ['--no-fork', '--shared', '/dev/null', 'true'], { env: SERVER_ENV });
  if (probe.status !== 0) return [];
  return ['flock', '--no-fork', '--nonblock', '--conflict-exit-code', String(LOCK_TAKEN), lockFile];
}

function whyNot(way: Way, postgres: string, folder: string): string | null {
  const script = 'cd "$0" && exec "$1" --version';
  const { file, argv, user } = commandOf(way, '/bin/sh', ['-c', script, folder, postgres]);
  const result = spawnSync(file, argv, { ...user, env: SERVER_ENV, encoding: 'utf8', timeout: 10_000 });
  if (result.status === 0) return null;
  return result.error?.message ?? result.stderr.trim();
}

function commandOf(
  way: Way,
  program: string,
  args: readonly string[],
): { readonly file: string; readonly argv: readonly string[]; readonly user: SpawnOptions } {
  switch (way.type) {
    case 'direct':
      return { file: program, argv: args, user: {} };
    case 'as_user':
      return { file: program, argv: args, user: { uid: way.uid, gid: way.gid } };
    case 'namespace': {
      const inner = [`--map-user=${way.innerUid}`, `--map-group=${way.innerUid}`];
      return { file: 'unshare', argv: ['--user', ...inner, '--', program, ...args], user: {} };
    }
    default:
      return unreachable(way);
  }
}

function nameOf(way: Way): string {
  if (way.type === 'as_user') return `as user ${way.uid}`;
  return way.type === 'direct' ? 'directly' : 'in a user namespace';
}

function hasName(): boolean {
  try {
    return userInfo().username !== '';
  } catch {
    // How Node reports a number that has no entry.
    return false;
  }
}

/** Maps this user to an ordinary number that has a name. */
function namespaceWay(named: readonly number[]): Way {
  const ordinary = named.filter((uid) => uid > 0);
  return { type: 'namespace', innerUid: ordinary.includes(65534) ? 65534 : (ordinary[0] ?? 65534) };
}

function namedUids(): readonly number[] {
  return readPasswd()
    .split('\n')
    .map((line) => Number(line.split(':')[2] ?? Number.NaN))
    .filter((uid) => Number.isInteger(uid));
}

const myUid = (): number => process.getuid?.() ?? 0;

function readPasswd(): string {
  try {
    return readFileSync('/etc/passwd', 'utf8');
  } catch {
    // No such file, no names: the number of nobody is as good as any.
    return '';
  }
}
