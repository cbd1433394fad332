/**
 * Asks another machine to start or stop a node, by the `ssh` program of this one: keys, aliases, jump hosts
 * and known hosts are what they are for the person who calls it. The request goes through ssh's input.
 */
import { spawn } from 'node:child_process';
import type { Environment } from '../../config/environment.ts';
import { DlgforgeError, messageOf } from '../../kernel/errors.ts';
import type { SshMachine } from './launch-file.ts';
import { launchReply, type LaunchReply, type LaunchRequest } from './launch-node.ts';

/** Begins the line of the reply: a login may print lines of its own. */
export const REPLY_MARK = 'dlgforge-reply ';

const CONNECT_TIMEOUT_S = 10;
const OUTPUT_MAX = 1024 * 1024;
const LOG_LINES = 20;
/** What ssh itself ends with when it does not reach the host; and a shell that does not know the command. */
const SSH_FAILED = 255;
const NOT_FOUND = 127;

/**
 * @throws DlgforgeError `transport` when the host cannot be reached, or has no dlgforge that answers.
 */
export async function askOverSsh(
  machine: SshMachine,
  request: LaunchRequest,
  environment: Environment,
): Promise<LaunchReply> {
  const { code, stdout, stderr, timedOut } = await runSsh(machine, request, environment);
  const reply = replyIn(stdout);
  if (reply !== null) return reply;
  const log = lastLines(`${stdout}\n${stderr}`);
  throw new DlgforgeError('transport', failureText(machine, code, timedOut), { details: { log } });
}

function failureText({ host, program }: SshMachine, code: number | null, timedOut: boolean): string {
  if (timedOut) return `${host} does not answer in time.`;
  if (code === SSH_FAILED) {
    return `${host} cannot be reached. Try \`ssh -o BatchMode=yes ${host} true\`: it must work without a question.`;
  }
  if (code === NOT_FOUND) {
    return `${host} does not know the command \`${program}\`. Install dlgforge there, or say with \`program\` how it is called.`;
  }
  return `${host} gave no answer that can be read (ended with ${code}). Both sides need the same version of dlgforge.`;
}

interface SshEnd {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly timedOut: boolean;
}

function runSsh(machine: SshMachine, request: LaunchRequest, environment: Environment): Promise<SshEnd> {
  const { promise, resolve, reject } = Promise.withResolvers<SshEnd>();
  const child = spawn('ssh', sshArguments(machine), { env: environment, stdio: 'pipe' });
  let stdout = '';
  let stderr = '';
  let timedOut = false;
  child.stdout.on('data', (chunk: Buffer) => (stdout = `${stdout}${chunk.toString()}`.slice(-OUTPUT_MAX)));
  child.stderr.on('data', (chunk: Buffer) => (stderr = `${stderr}${chunk.toString()}`.slice(-OUTPUT_MAX)));
  // The machine has its own limit for the node; this one is for a connection that hangs.
  const timer = setTimeout(
    () => {
      timedOut = true;
      child.kill('SIGKILL');
    },
    request.timeoutMs * 2 + CONNECT_TIMEOUT_S * 1_000,
  );
  child.once('error', (cause) => {
    clearTimeout(timer);
    reject(
      new DlgforgeError(
        'transport',
        `The program ssh cannot be started: ${messageOf(cause)}. Install an ssh client.`,
        { cause },
      ),
    );
  });
  child.once('close', (code) => {
    clearTimeout(timer);
    resolve({ code, stdout, stderr, timedOut });
  });
  // It may end before it has read: then its exit code says why.
  child.stdin.on('error', () => undefined);
  child.stdin.end(`${JSON.stringify(request)}\n`);
  return promise;
}

function sshArguments({ host, user, port, key, program }: SshMachine): string[] {
  return [
    '-T',
    '-oBatchMode=yes',
    `-oConnectTimeout=${CONNECT_TIMEOUT_S}`,
    '-oServerAliveInterval=5',
    '-oServerAliveCountMax=3',
    ...(port === null ? [] : ['-p', String(port)]),
    ...(user === null ? [] : ['-l', user]),
    ...(key === null ? [] : ['-i', key, '-oIdentitiesOnly=yes']),
    '--',
    host,
    `${program} cluster host`,
  ];
}

function replyIn(stdout: string): LaunchReply | null {
  const line = stdout.split('\n').findLast((text) => text.startsWith(REPLY_MARK));
  if (line === undefined) return null;
  try {
    return launchReply.parse(JSON.parse(line.slice(REPLY_MARK.length)));
  } catch {
    // Cut off, or of another version: reported as an answer that cannot be read.
    return null;
  }
}

const lastLines = (text: string): string[] =>
  text
    .split('\n')
    .filter((line) => line.trim() !== '' && !line.startsWith(REPLY_MARK))
    .slice(-LOG_LINES);
