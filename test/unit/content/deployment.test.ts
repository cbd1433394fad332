/** The files in cluster/: each read by a real parser, and everything of dlgforge that they name exists. */
import { spawnSync } from 'node:child_process';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { describe, expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { z } from 'zod';
import { addClusterCommands } from '../../../src/cli/cluster-program.ts';
import { ENVIRONMENT_VARIABLES } from '../../../src/config/environment-table.ts';
import { OWN_VARIABLES } from '../../../src/config/own-variables.ts';
import { parseDotenv } from '../../../src/config/dotenv.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const FOLDER = join(ROOT, 'cluster');
const read = (path: string): string => readFileSync(join(FOLDER, path), 'utf8');
const yamlFiles = globSync('**/*.yaml', { cwd: FOLDER }).sort();

/** Every document, with the parser's warnings as errors. */
function documentsOf(path: string): unknown[] {
  return parseAllDocuments(read(path), { strict: true, uniqueKeys: true, merge: true }).map((document) => {
    expect([...document.errors, ...document.warnings], path).toEqual([]);
    return document.toJS() as unknown;
  });
}

const has = (program: string, ...args: string[]): boolean => spawnSync(program, args).status === 0;

describe('what the files name', () => {
  const root = new Command();
  addClusterCommands(root);
  const cluster = root.commands.find((command) => command.name() === 'cluster');
  const flagsOf = (name: string): string[] =>
    cluster?.commands.find((command) => command.name() === name)?.options.map(({ long }) => long ?? '') ?? [];
  const places = [...globSync('**/*', { cwd: FOLDER }), '../docs/cluster.md', '../docs/scaling.md'].filter(
    (path) => /\.(?:ya?ml|md|service|example|conf|mjs)$|Dockerfile$/.test(path),
  );

  test.each(places)('every `dlgforge cluster` command and flag in %s exists', (path) => {
    // Lists of words as YAML and Dockerfiles write them become a command line again.
    const text = read(path)
      .replaceAll(/\n *- /g, ' ')
      .replaceAll(/['"](?:, *['"])?/g, ' ');
    for (const [, name = '', rest = ''] of text.matchAll(
      /\bcluster (start|up|down|status|nodes|drain|stop)\b((?: +(?:--?[a-z][\w-]*|[\w./:=$<>@-]+))*)/g,
    )) {
      const known = flagsOf(name);
      if (name === 'start' || name === 'up' || name === 'down') expect(known.length).toBeGreaterThan(0);
      else if (known.length === 0) continue;
      for (const [flag] of rest.matchAll(/--[a-z][a-z-]*/g))
        expect(known, `${name} in ${path}`).toContain(flag);
    }
  });

  test.each(places)('every variable of dlgforge in %s exists', (path) => {
    const known = [...ENVIRONMENT_VARIABLES, ...OWN_VARIABLES].map(({ name }) => name);
    for (const [name] of read(path).matchAll(/\bDLGFORGE_[A-Z0-9_]+/g)) expect(known, path).toContain(name);
  });

  test.each(yamlFiles)('I8: no secret stands in %s', (path) => {
    for (const [, value = ''] of read(path).matchAll(/^ *[A-Z_]*(?:TOKEN|PASSWORD|API_KEY): *(.*)$/gm))
      expect(value, path).toMatch(/^(?:''.*|\$\{[A-Z_]+:\?[^}]*\}|)$/);
  });
});

describe('compose.yaml', () => {
  const text = z.union([z.string(), z.number()]);
  const service = z.strictObject({
    image: z.string(),
    build: z.strictObject({ context: z.string(), dockerfile: z.string() }).optional(),
    command: z.array(z.string()),
    environment: z.record(z.string(), z.string().nullable()),
    volumes: z.array(z.string()).optional(),
    healthcheck: z.strictObject({
      test: z.tuple([z.literal('CMD')], z.string()),
      interval: z.string(),
      timeout: z.string(),
      retries: z.number().optional(),
      start_period: z.string().optional(),
    }),
    depends_on: z.record(z.string(), z.strictObject({ condition: z.literal('service_healthy') })).optional(),
    init: z.boolean().optional(),
    stop_grace_period: z.string().optional(),
    restart: z.literal('unless-stopped'),
    deploy: z.strictObject({ replicas: z.number() }).optional(),
  });
  const schema = z.strictObject({
    name: text,
    services: z.strictObject({ nats: service, postgres: service, node: service }),
    volumes: z.record(z.string(), z.null()),
  });

  test('has NATS, Postgres and three nodes, each with a health check', () => {
    const [content] = documentsOf('compose.yaml');
    const { services, volumes } = schema.parse(content);
    expect(services.node.deploy?.replicas).toBe(3);
    expect(Object.keys(services.node.depends_on ?? {})).toEqual(['nats', 'postgres']);
    const named = Object.values(services).flatMap((one) => one.volumes ?? []);
    for (const volume of named) {
      const [source = ''] = volume.split(':');
      if (source.startsWith('./')) expect(existsSync(join(FOLDER, source)), source).toBe(true);
      else expect(Object.keys(volumes)).toContain(source);
    }
    expect(
      existsSync(join(FOLDER, services.node.build?.context ?? '', services.node.build?.dockerfile ?? '')),
    ).toBe(true);
    expect(JSON.stringify(services), 'nothing is published').not.toContain('ports');
  });

  test.skipIf(!has('docker', 'compose', 'version'))('is accepted by docker compose', () => {
    const { status, stderr } = spawnSync(
      'docker',
      ['compose', '-f', join(FOLDER, 'compose.yaml'), 'config', '-q'],
      {
        encoding: 'utf8',
        env: { ...process.env, DLGFORGE_NATS_TOKEN: 't1', POSTGRES_PASSWORD: 'p1' },
      },
    );
    expect(status, stderr).toBe(0);
  });
});

describe('Dockerfile', () => {
  test('has known instructions, and copies what is there and not ignored', () => {
    const lines = read('Dockerfile')
      .replaceAll(/\\\n\s*/g, ' ')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'));
    const ignored = read('Dockerfile.dockerignore').split('\n');
    for (const line of lines) {
      const [instruction = '', ...words] = line.split(' ');
      expect([
        'FROM',
        'WORKDIR',
        'COPY',
        'RUN',
        'USER',
        'ENV',
        'VOLUME',
        'HEALTHCHECK',
        'ENTRYPOINT',
        'CMD',
      ]).toContain(instruction);
      if (instruction !== 'COPY') continue;
      for (const source of words.slice(0, -1)) {
        expect(existsSync(join(ROOT, source)), source).toBe(true);
        expect(ignored).toContain(`!${source}`);
      }
    }
    for (const [list] of read('Dockerfile').matchAll(/\[.*\]/g))
      expect(() => JSON.parse(list) as unknown).not.toThrow();
  });
});

describe('kubernetes', () => {
  const labels = z.record(z.string(), z.string());
  const metadata = z.strictObject({ name: z.string(), labels: labels.optional() });
  const probe = z.strictObject({
    exec: z.strictObject({ command: z.array(z.string()) }).optional(),
    httpGet: z.strictObject({ path: z.string(), port: z.string() }).optional(),
    periodSeconds: z.number(),
    timeoutSeconds: z.number().optional(),
    failureThreshold: z.number().optional(),
  });
  const amounts = z.record(z.string(), z.union([z.string(), z.number()]));
  const container = z.strictObject({
    name: z.string(),
    image: z.string(),
    args: z.array(z.string()),
    env: z
      .array(
        z.strictObject({
          name: z.string(),
          value: z.string().optional(),
          valueFrom: z
            .strictObject({ secretKeyRef: z.strictObject({ name: z.literal('dlgforge'), key: z.string() }) })
            .optional(),
        }),
      )
      .optional(),
    envFrom: z
      .array(z.strictObject({ secretRef: z.strictObject({ name: z.literal('dlgforge') }) }))
      .optional(),
    ports: z.array(z.strictObject({ name: z.string(), containerPort: z.number() })).optional(),
    readinessProbe: probe,
    livenessProbe: probe,
    startupProbe: probe.optional(),
    resources: z.strictObject({ requests: amounts, limits: amounts }),
    securityContext: z.strictObject({
      allowPrivilegeEscalation: z.literal(false),
      capabilities: z.strictObject({ drop: z.tuple([z.literal('ALL')]) }),
    }),
    volumeMounts: z.array(z.strictObject({ name: z.string(), mountPath: z.string() })),
  });
  const podSpec = z.strictObject({
    automountServiceAccountToken: z.literal(false),
    securityContext: z.record(z.string(), z.union([z.number(), z.literal(true)])),
    terminationGracePeriodSeconds: z.number(),
    tolerations: z
      .array(
        z.strictObject({ key: z.string(), operator: z.literal('Exists'), effect: z.literal('NoSchedule') }),
      )
      .optional(),
    containers: z.tuple([container]),
    volumes: z
      .array(
        z.strictObject({
          name: z.string(),
          configMap: z.strictObject({ name: z.string() }).optional(),
          emptyDir: z.strictObject({ sizeLimit: z.string() }).optional(),
        }),
      )
      .optional(),
  });
  const claim = z.strictObject({
    metadata,
    spec: z.strictObject({
      accessModes: z.array(z.literal('ReadWriteOnce')),
      resources: z.strictObject({ requests: z.strictObject({ storage: z.string() }) }),
    }),
  });
  const statefulSet = z.strictObject({
    apiVersion: z.literal('apps/v1'),
    kind: z.literal('StatefulSet'),
    metadata,
    spec: z.strictObject({
      serviceName: z.string(),
      replicas: z.number(),
      podManagementPolicy: z.literal('Parallel').optional(),
      selector: z.strictObject({ matchLabels: labels }),
      template: z.strictObject({ metadata: z.strictObject({ labels }), spec: podSpec }),
      volumeClaimTemplates: z.array(claim).optional(),
    }),
  });
  const service = z.strictObject({
    apiVersion: z.literal('v1'),
    kind: z.literal('Service'),
    metadata,
    spec: z.strictObject({
      clusterIP: z.literal('None').optional(),
      selector: labels,
      ports: z
        .array(z.strictObject({ name: z.string(), port: z.number(), targetPort: z.string() }))
        .optional(),
    }),
  });
  const configMap = z.strictObject({
    apiVersion: z.literal('v1'),
    kind: z.literal('ConfigMap'),
    metadata,
    data: z.record(z.string(), z.string()),
  });
  const secret = z.strictObject({
    apiVersion: z.literal('v1'),
    kind: z.literal('Secret'),
    metadata,
    type: z.literal('Opaque'),
    stringData: z.record(z.string(), z.string()),
  });
  const resource = z.discriminatedUnion('kind', [statefulSet, service, configMap, secret]);

  const files = ['nats.yaml', 'postgres.yaml', 'nodes.yaml', 'nodes-gpu.yaml', 'secret.example.yaml'];
  const all = files
    .flatMap((file) => documentsOf(`kubernetes/${file}`))
    .map((content) => resource.parse(content));
  const sets = all.filter((one) => one.kind === 'StatefulSet');
  const names = (kind: string): string[] =>
    all.filter((one) => one.kind === kind).map(({ metadata: { name } }) => name);

  test('there are NATS, Postgres, nodes and GPU nodes', () => {
    expect(sets.map(({ metadata: { name } }) => name)).toEqual([
      'dlgforge-nats',
      'dlgforge-postgres',
      'dlgforge-node',
      'dlgforge-node-gpu',
    ]);
  });

  test.each(sets)('$metadata.name fits together', ({ spec }) => {
    const pod = spec.template;
    const [only] = pod.spec.containers;
    expect(pod.metadata.labels).toEqual(spec.selector.matchLabels);
    expect(names('Service')).toContain(spec.serviceName);
    const volumes = [
      ...(pod.spec.volumes ?? []).map(({ name }) => name),
      ...(spec.volumeClaimTemplates ?? []).map(({ metadata: { name } }) => name),
    ];
    expect(only.volumeMounts.map(({ name }) => name).toSorted()).toEqual(volumes.toSorted());
    for (const { configMap: map } of pod.spec.volumes ?? [])
      if (map !== undefined) expect(names('ConfigMap')).toContain(map.name);
    const ports = (only.ports ?? []).map(({ name }) => name);
    for (const { httpGet } of [only.readinessProbe, only.livenessProbe])
      if (httpGet !== undefined) expect(ports).toContain(httpGet.port);
    const keys = Object.keys(all.find((one) => one.kind === 'Secret')?.stringData ?? {});
    for (const { valueFrom } of only.env ?? [])
      if (valueFrom !== undefined) expect(keys).toContain(valueFrom.secretKeyRef.key);
  });

  test('services select pods that are there, by ports that they have', () => {
    for (const one of all) {
      if (one.kind !== 'Service') continue;
      const pod = sets.find(
        ({ spec }) => JSON.stringify(spec.selector.matchLabels) === JSON.stringify(one.spec.selector),
      );
      const ports = pod?.spec.template.spec.containers[0].ports ?? [];
      for (const { targetPort } of one.spec.ports ?? [])
        expect(ports.map(({ name }) => name)).toContain(targetPort);
      expect(pod, one.metadata.name).toBeDefined();
    }
  });

  test('NATS has the configuration of cluster/nats.conf', () => {
    const map = all.find((one) => one.kind === 'ConfigMap');
    expect(map?.data['nats.conf']).toBe(read('nats.conf'));
  });

  test('the kustomization names files that are there', () => {
    const schema = z.strictObject({
      apiVersion: z.literal('kustomize.config.k8s.io/v1beta1'),
      kind: z.literal('Kustomization'),
      resources: z.array(z.string()),
      images: z.array(z.strictObject({ name: z.string(), newName: z.string(), newTag: z.string() })),
    });
    const { resources } = schema.parse(documentsOf('kubernetes/kustomization.yaml')[0]);
    for (const file of resources) expect(files).toContain(file);
  });

  test.skipIf(!has('kubectl', 'version', '--client'))('kubectl builds the kustomization', () => {
    const { status, stdout, stderr } = spawnSync('kubectl', ['kustomize', join(FOLDER, 'kubernetes')], {
      encoding: 'utf8',
    });
    expect(status, stderr).toBe(0);
    expect(stdout.match(/^kind: /gm)).toHaveLength(7);
  });
});

describe('systemd', () => {
  const units = globSync('systemd/*.service', { cwd: FOLDER }).sort();
  const KNOWN: Readonly<Record<string, readonly string[]>> = {
    Unit: ['Description', 'Wants', 'After'],
    Service: [
      'Type',
      'User',
      'WorkingDirectory',
      'EnvironmentFile',
      'ExecStart',
      'StandardOutput',
      'Restart',
      'RestartSec',
      'TimeoutStopSec',
      'KillMode',
      'NoNewPrivileges',
      'ProtectSystem',
      'PrivateTmp',
    ],
    Install: ['WantedBy'],
  };

  test.each(units)('%s has known keys in known sections', (unit) => {
    let section = '';
    for (const line of read(unit).split('\n')) {
      if (line === '' || line.startsWith('#')) continue;
      const header = /^\[(\w+)\]$/.exec(line)?.[1];
      if (header !== undefined) section = header;
      else expect(KNOWN[section], `${section} in ${unit}`).toContain(/^(\w+)=./.exec(line)?.[1]);
    }
    expect(section).toBe('Install');
  });

  test.skipIf(!has('systemd-analyze', '--version'))('systemd accepts the units', () => {
    const { status, stderr } = spawnSync(
      'systemd-analyze',
      ['verify', ...units.map((unit) => join(FOLDER, unit))],
      {
        encoding: 'utf8',
      },
    );
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  });

  test('the environment file is one, and every value that is secret is empty', () => {
    const variables = new Map(parseDotenv(read('systemd/dlgforge.env.example')));
    expect(variables.get('DLGFORGE_NATS_URL')).toMatch(/^nats:/);
    for (const [name, value] of variables) if (/TOKEN|DSN|KEY/.test(name)) expect(value, name).toBe('');
  });
});

describe('nats.conf', () => {
  const accepts = (token: string) =>
    spawnSync('nats-server', ['-t', '-c', join(FOLDER, 'nats.conf')], {
      encoding: 'utf8',
      env: { ...process.env, DLGFORGE_NATS_TOKEN: token },
    });

  test.skipIf(!has('nats-server', '--version'))(
    'is accepted by nats-server, with a token that begins with a letter',
    () => {
      const { status, stderr } = accepts('t5e1');
      expect(status, stderr).toBe(0);
      expect(accepts('1e5abc').status, 'as its comment warns').not.toBe(0);
    },
  );
});
