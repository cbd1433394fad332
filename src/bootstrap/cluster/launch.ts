/** `dlgforge cluster up` and `down`: all nodes of a file, in parallel, whatever is done already left as it is. */
import { dirname } from 'node:path';
import { readSecret } from '../../config/credentials.ts';
import { nodeEnvironment } from '../../config/dotenv.ts';
import type { Environment } from '../../config/environment.ts';
import { DlgforgeError, isDlgforgeError, messageOf } from '../../kernel/errors.ts';
import type { AddressFile } from './address-file.ts';
import type { LaunchNode, LaunchPlan } from './launch-file.ts';
import { handleLaunch, type LaunchContext, type LaunchReply, type LaunchRequest } from './launch-node.ts';
import { askOverSsh } from './launch-ssh.ts';

export type Outcome = 'started' | 'running' | 'stopped' | 'absent' | 'failed';

export interface LaunchResult {
  readonly name: string;
  /** `local`, or the host. */
  readonly host: string;
  readonly outcome: Outcome;
  /** Its name in the cluster; null when it does not run. */
  readonly node: string | null;
  readonly pid: number | null;
  /** Why it failed, and what it said last. */
  readonly message: string | null;
  readonly log: readonly string[];
}

export interface LaunchOptions extends LaunchContext {
  /** Told as soon as a node is done. */
  readonly onResult: (result: LaunchResult) => void;
  readonly onStatus: (text: string) => void;
  /** How long `down` waits for a node before it kills it. @default 100 000: a node hands its conversations over */
  readonly stopTimeoutMs?: number;
}

/** Connections at the same time. */
const PARALLEL_MAX = 16;
const STOP_TIMEOUT_MS = 100_000;

/** What a node needs besides its own flags in order to join. */
interface Joining {
  readonly flags: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/**
 * Starts what does not run. Without its head nothing else is started; a node that fails leaves the others
 * running, and the same command tries it again.
 * @throws DlgforgeError `config` before anything is started, when a variable that a node is to be given is not set.
 */
export async function clusterUp(plan: LaunchPlan, options: LaunchOptions): Promise<LaunchResult[]> {
  const given = givenTo(plan, options.environment);
  checkVariables(plan, given);
  const head = await startHead(plan, given, options);
  if (head?.result.outcome === 'failed') return [head.result];
  const joining = head === null ? joinGiven(plan, given) : head.joining;
  if (plan.nodes.length > 0) options.onStatus(`starting ${plan.nodes.length} nodes`);
  const others = await inParallel(plan.nodes, (node) =>
    ask(node, requestFor('start', node, plan, joining, given), options),
  );
  return [...(head === null ? [] : [head.result]), ...others.map(({ result }) => result)];
}

/** Stops what runs, the head last. Hosts that cannot be reached are among the results. */
export async function clusterDown(plan: LaunchPlan, options: LaunchOptions): Promise<LaunchResult[]> {
  const timeoutMs = options.stopTimeoutMs ?? STOP_TIMEOUT_MS;
  const stop = (node: LaunchNode) =>
    ask(node, requestFor('stop', node, plan, NOTHING, {}, timeoutMs), options);
  const results = await inParallel(plan.nodes, stop);
  if (plan.head !== null) results.push(await stop(plan.head));
  return results.map(({ result }) => result);
}

/** What variables are taken from: the environment, and the `.env` beside the file. */
export const givenTo = ({ file }: Pick<LaunchPlan, 'file'>, environment: Environment): Environment =>
  nodeEnvironment(environment, dirname(file));

async function startHead(
  plan: LaunchPlan,
  given: Environment,
  options: LaunchOptions,
): Promise<{ readonly result: LaunchResult; readonly joining: Joining } | null> {
  if (plan.head === null) return null;
  options.onStatus(`starting the head on ${hostOf(plan.head)}`);
  const own = { flags: ['--head'], env: variablesOf(SERVER_VARIABLES, given) };
  const { result, address } = await ask(plan.head, requestFor('start', plan.head, plan, own, given), options);
  return { result, joining: address === null ? NOTHING : joinAddress(address) };
}

const SERVER_VARIABLES = ['DLGFORGE_NATS_URL', 'DLGFORGE_NATS_TOKEN', 'DLGFORGE_POSTGRES_DSN'] as const;
const NOTHING: Joining = { flags: [], env: {} };

/** A cluster that runs already: the URL is in the file, the secrets are in the environment. */
function joinGiven({ address }: LaunchPlan, environment: Environment): Joining {
  const { DLGFORGE_NATS_URL: _, ...secrets } = variablesOf(SERVER_VARIABLES, environment);
  return { flags: ['--address', address ?? 'auto'], env: secrets };
}

function joinAddress({ natsUrl, token, postgres }: AddressFile): Joining {
  // A user and a password in the URL are secrets as well: then the whole URL goes by the environment (I8).
  const isSecret = natsUrl.includes('@');
  return {
    flags: isSecret ? [] : ['--address', natsUrl],
    env: {
      ...(isSecret ? { DLGFORGE_NATS_URL: natsUrl } : {}),
      ...(token === null ? {} : { DLGFORGE_NATS_TOKEN: token }),
      ...(postgres.type === 'dsn' ? { DLGFORGE_POSTGRES_DSN: postgres.dsn } : {}),
    },
  };
}

function requestFor(
  action: LaunchRequest['action'],
  node: LaunchNode,
  plan: LaunchPlan,
  joining: Joining,
  environment: Environment,
  timeoutMs = plan.startTimeoutMs,
): LaunchRequest {
  return {
    action,
    name: node.name,
    namespace: plan.namespace,
    folder: node.folder,
    stateDir: node.stateDir,
    isHead: node === plan.head,
    flags: [...joining.flags, ...node.flags],
    env: { ...variablesOf(node.env, environment), ...joining.env },
    timeoutMs,
  };
}

async function ask(
  node: LaunchNode,
  request: LaunchRequest,
  options: LaunchOptions,
): Promise<{ readonly result: LaunchResult; readonly address: AddressFile | null }> {
  const reply = await replyOf(node, request, options);
  const arrived = reply.type === 'started' || reply.type === 'running';
  const result: LaunchResult = {
    name: node.name,
    host: hostOf(node),
    outcome: reply.type,
    node: arrived ? reply.node : null,
    pid: arrived ? reply.pid : null,
    message: reply.type === 'failed' ? reply.message : null,
    log: reply.type === 'failed' ? reply.log : [],
  };
  options.onResult(result);
  return { result, address: arrived ? reply.address : null };
}

async function replyOf(
  { machine }: LaunchNode,
  request: LaunchRequest,
  options: LaunchOptions,
): Promise<LaunchReply> {
  if (machine.type === 'local') return await handleLaunch(request, options);
  try {
    return await askOverSsh(machine, request, options.environment);
  } catch (error) {
    const log = isDlgforgeError(error) ? error.details['log'] : [];
    return { type: 'failed', message: messageOf(error), log: Array.isArray(log) ? log.map(String) : [] };
  }
}

function checkVariables({ file, head, nodes }: LaunchPlan, environment: Environment): void {
  const missing = [...(head === null ? [] : [head]), ...nodes].flatMap((node) =>
    node.env
      .filter((name) => readSecret(environment, name) === null)
      .map((name) => `${name} (for ${node.name})`),
  );
  if (missing.length === 0) return;
  throw new DlgforgeError(
    'config',
    `${file} passes variables on that are not set here: ${missing.join(', ')}. Set them, or take them out of \`env\`: a node also reads the \`.env\` of its own folder.`,
  );
}

/** Those that are set. */
const variablesOf = (names: readonly string[], environment: Environment): Record<string, string> =>
  Object.fromEntries(
    names.flatMap((name) => {
      const value = readSecret(environment, name)?.reveal();
      return value === undefined ? [] : [[name, value] as const];
    }),
  );

const hostOf = ({ machine }: LaunchNode): string => (machine.type === 'local' ? 'local' : machine.host);

async function inParallel<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  const waiting = [...items.entries()];
  const lanes = Array.from({ length: Math.min(PARALLEL_MAX, items.length) }, async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      results[next[0]] = await work(next[1]);
    }
  });
  await Promise.all(lanes);
  return results;
}
