/** `cluster.yaml`: which nodes a cluster has and where, as `dlgforge cluster up` and `down` read it. */
import { readFileSync } from 'node:fs';
import { dirname, join, posix, resolve } from 'node:path';
import { z } from 'zod';
import { fromWorkingDir } from '../../config/paths.ts';
import { Findings, problemsError } from '../../config/problem.ts';
import { plainValue, shownValue, type MapNode, type SourceNode } from '../../config/source.ts';
import { isVariableName, VARIABLE_NAME_RULE } from '../../config/variable-name.ts';
import { parseYaml } from '../../config/yaml-file.ts';
import { DlgforgeError, messageOf } from '../../kernel/errors.ts';
import { namespaceText } from './address-file.ts';
import { isLoopbackHost } from './ports.ts';

/** A machine that is logged in to. */
export interface SshMachine {
  readonly type: 'ssh';
  readonly host: string;
  readonly user: string | null;
  readonly port: number | null;
  /** File of the private key; null: what ssh uses by itself. */
  readonly key: string | null;
  /** The words that call dlgforge there. */
  readonly program: string;
}

export type Machine = { readonly type: 'local' } | SshMachine;

export interface LaunchNode {
  readonly name: string;
  readonly machine: Machine;
  /** Its working folder, with its `.env`; on another machine relative to the home folder there. */
  readonly folder: string;
  /** Where the node says that it runs. */
  readonly stateDir: string;
  /** Flags of `cluster start`, those of joining apart. */
  readonly flags: readonly string[];
  /** Names of the variables that it is given from here. */
  readonly env: readonly string[];
}

export interface LaunchPlan {
  readonly file: string;
  readonly namespace: string;
  /** The node that is started first and brings the servers; null when `address` names a cluster that runs already. */
  readonly head: LaunchNode | null;
  readonly address: string | null;
  readonly nodes: readonly LaunchNode[];
  readonly startTimeoutMs: number;
}

/** Names that need no quotes in a shell, and are no option. */
const plainWord = (what: string) =>
  z.string().regex(/^[A-Za-z0-9_][A-Za-z0-9_.:@%-]*$/, `must be ${what}, of letters, digits and . _ : % -`);
const port = z.int('must be a port, 1 to 65535').min(1, 'must be a port').max(65_535, 'must be a port');
const count = z.int('must be a whole number').min(0, 'must be 0 or more').max(4_096, 'must be 4096 at most');
const nodeName = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9-]{0,39}$/, 'must be 1 to 40 letters, digits or dashes');
const labelValue = z.union([z.string(), z.number(), z.boolean()]).transform(String);
const natsUrls = z
  .string()
  .regex(/^[^@\s]+$/, 'must be a NATS URL without a user or a token: those belong into DLGFORGE_NATS_TOKEN');

const onMachine = {
  host: plainWord('`local`, a host name or an alias of ~/.ssh/config').default('local'),
  user: plainWord('a user name').optional(),
  port: port.optional(),
  key: z.string().min(1).optional(),
  folder: z.string().min(1).optional(),
  program: z
    .string()
    .regex(
      /^[A-Za-z0-9_.~/][A-Za-z0-9_.~/ @:=-]*$/,
      'must be plain words, such as `node ~/dlgforge/bin/dlgforge.js`',
    )
    .default('dlgforge'),
  workers: count.optional(),
  gpus: count.optional(),
  labels: z.record(z.string().regex(/^[A-Za-z0-9_.-]+$/, 'is no label'), labelValue).default({}),
  env: z.array(z.string().refine(isVariableName, VARIABLE_NAME_RULE)).max(100).default([]),
  metrics_port: port.optional(),
};

const headSchema = z.strictObject({
  name: nodeName.default('head'),
  ...onMachine,
  listen: plainWord('an address of the head’s machine').default('127.0.0.1'),
  nats: natsUrls.optional(),
  nats_port: port.optional(),
});
const nodeSchema = z.strictObject({ name: nodeName, ...onMachine });
const fileSchema = z.strictObject({
  namespace: namespaceText.default('dlgforge'),
  head: headSchema.optional(),
  address: natsUrls.optional(),
  nodes: z.array(nodeSchema).max(1_000).default([]),
  // Longer than `cluster start` itself waits, which then stops what it started.
  start_timeout_s: z.number().positive().max(3_600).default(130),
});

type FileContent = z.infer<typeof fileSchema>;
type NodeContent = z.infer<typeof nodeSchema>;

/** What the environment gives the cluster, where the file does not. */
export interface Given {
  readonly nats: boolean;
  readonly postgres: boolean;
}

/** @throws DlgforgeError `config` with everything that is off, each with its line. */
export function readLaunchFile(path: string, given: Given): LaunchPlan {
  const file = resolve(path);
  const findings = new Findings();
  const root = parseYaml(textOf(file), file, findings);
  const parsed = fileSchema.safeParse(plainValue(root));
  if (parsed.success) checkTogether(parsed.data, given, root, findings);
  else if (findings.problems.length === 0) reportIssues(parsed.error.issues, root, findings);
  if (findings.problems.length > 0) throw problemsError('config', findings.problems);
  return planOf(fileSchema.parse(plainValue(root)), file);
}

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw new DlgforgeError(
      'config',
      `Cannot read ${file}: ${messageOf(cause)}. Give the path of a cluster.yaml; cluster/cluster.yaml is one to begin with.`,
      { cause },
    );
  }
}

function reportIssues(issues: readonly z.core.$ZodIssue[], root: MapNode, findings: Findings): void {
  for (const issue of issues) {
    const keyPath = pathText(issue.path);
    if (issue.code === 'unrecognized_keys') {
      for (const key of issue.keys) {
        const at = nodeFor(root, [...issue.path, key]);
        findings.problem(at.origin, `Unknown key \`${pathText([...issue.path, key])}\`.`, {
          hint: `Known here: ${knownKeys(issue.path).join(', ')}.`,
        });
      }
      continue;
    }
    const at = nodeFor(root, issue.path);
    const isMissing = at.type === 'map' && nodeAtPath(root, issue.path) === null;
    const what = isMissing ? 'is missing' : ruleOf(issue);
    findings.problem(at.origin, `\`${keyPath}\` ${what}.`, {
      keyPath,
      // Where a name belongs there may be a key (I8).
      ...(isMissing || issue.path.includes('env') ? {} : { value: shownValue(at) }),
    });
  }
}

function ruleOf(issue: z.core.$ZodIssue): string {
  if (issue.code === 'invalid_type') return `must be ${TYPE_NAMES[issue.expected] ?? issue.expected}`;
  return issue.message.startsWith('must') || issue.message.startsWith('is ')
    ? issue.message
    : `is off: ${issue.message.charAt(0).toLowerCase()}${issue.message.slice(1)}`;
}

const TYPE_NAMES: Readonly<Record<string, string>> = {
  string: 'text (quote it if it looks like a number)',
  array: 'a list',
  object: 'a section of keys',
  record: 'a section of keys',
  number: 'a number',
  int: 'a whole number',
};

function knownKeys(path: readonly PropertyKey[]): string[] {
  if (path[0] === 'head') return Object.keys(headSchema.shape);
  return Object.keys(path[0] === 'nodes' ? nodeSchema.shape : fileSchema.shape);
}

/** Names twice, and heads that their nodes could not reach. */
function checkTogether(content: FileContent, given: Given, root: MapNode, findings: Findings): void {
  const { head, address, nodes } = content;
  if ((head === undefined) === (address === undefined)) {
    const at = head === undefined ? root : nodeFor(root, ['address']);
    findings.problem(at.origin, 'Exactly one of `head` and `address` has to be there.', {
      hint: '`head` starts a cluster; `address` (a NATS URL) adds nodes to one that runs.',
    });
  }
  const seen = new Set(head === undefined ? [] : [head.name]);
  for (const [index, { name }] of nodes.entries()) {
    if (seen.has(name))
      findings.problem(
        nodeFor(root, ['nodes', index, 'name']).origin,
        `Two nodes have the name \`${name}\`.`,
      );
    seen.add(name);
  }
  const brings = { nats: given.nats || head?.nats !== undefined, postgres: given.postgres };
  const away = nodes.find(({ host }) => head !== undefined && host !== head.host);
  if (head === undefined || away === undefined || !isLoopbackHost(head.listen)) return;
  if (brings.nats && brings.postgres) return;
  findings.problem(
    nodeFor(root, ['head', 'listen']).origin,
    `The node \`${away.name}\` is on another machine than the head, whose servers listen on ${head.listen} only.`,
    {
      keyPath: 'head.listen',
      hint: 'Set head.listen to an address of the head’s machine that the others reach; token and password are made for it.',
    },
  );
}

function planOf(content: FileContent, file: string): LaunchPlan {
  const base = dirname(file);
  const { namespace, head, address, nodes } = content;
  return {
    file,
    namespace,
    address: address ?? null,
    head:
      head === undefined
        ? null
        : {
            ...nodeOf(head, namespace, base),
            flags: [
              ...flagsOf(head),
              '--host',
              head.listen,
              ...(head.nats === undefined ? [] : ['--nats', head.nats]),
              ...(head.nats_port === undefined ? [] : ['--port', String(head.nats_port)]),
            ],
          },
    nodes: nodes.map((node) => nodeOf(node, namespace, base)),
    startTimeoutMs: content.start_timeout_s * 1_000,
  };
}

function nodeOf(node: NodeContent, namespace: string, base: string): LaunchNode {
  const state = ['.dlgforge', 'nodes', `${namespace}-${node.name}`];
  const isLocal = node.host === 'local';
  const folder = isLocal ? fromWorkingDir(node.folder ?? '.', base) : (node.folder ?? '~');
  return {
    name: node.name,
    machine: isLocal
      ? { type: 'local' }
      : {
          type: 'ssh',
          host: node.host,
          user: node.user ?? null,
          port: node.port ?? null,
          key: node.key === undefined ? null : fromWorkingDir(node.key, base),
          program: node.program,
        },
    folder,
    stateDir: isLocal ? join(folder, ...state) : posix.join(folder, ...state),
    flags: flagsOf(node),
    env: node.env,
  };
}

const flagsOf = ({
  workers,
  gpus,
  labels,
  metrics_port: metricsPort,
}: Omit<NodeContent, 'name'>): string[] => [
  ...(workers === undefined ? [] : ['--workers', String(workers)]),
  ...(gpus === undefined ? [] : ['--gpus', String(gpus)]),
  ...Object.entries(labels).flatMap(([key, value]) => ['--labels', `${key}=${value}`]),
  ...(metricsPort === undefined ? [] : ['--metrics-port', String(metricsPort)]),
];

const pathText = (path: readonly PropertyKey[]): string =>
  path
    .map((part, index) =>
      typeof part === 'number' ? `[${part}]` : `${index === 0 ? '' : '.'}${String(part)}`,
    )
    .join('');

/** The node at a path, or the nearest around it. */
function nodeFor(root: MapNode, path: readonly PropertyKey[]): SourceNode {
  for (let length = path.length; length > 0; length -= 1) {
    const node = nodeAtPath(root, path.slice(0, length));
    if (node !== null) return node;
  }
  return root;
}

function nodeAtPath(root: MapNode, path: readonly PropertyKey[]): SourceNode | null {
  let node: SourceNode | undefined = root;
  for (const part of path) {
    if (node?.type === 'map') node = node.entries.get(String(part));
    else if (node?.type === 'list') node = node.items[Number(part)];
    else return null;
  }
  return node ?? null;
}
