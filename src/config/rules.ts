import { resolve } from 'node:path';
import { maskedText } from './masking.ts';
import { exportDir, outputDir } from './paths.ts';
import type { Findings } from './problem.ts';
import type { Config, EndpointConfig } from './schema.ts';
import { AGENT_ROLES } from './schema/llm.ts';
import type { Origin } from './source.ts';

type OriginOf = (key: string) => Origin | null;

interface Rule {
  /** The keys that it compares; the first is named in the report. Skipped when one of them is off already. */
  readonly keys: readonly string[];
  /** What is wrong, or null. */
  readonly check: (
    config: Config,
    projectRoot: string,
  ) => { readonly message: string; readonly hint?: string; readonly value?: string } | null;
}

const COLUMNS = 'saving.output_columns';
const REHEARSAL = 'llm.rehearsal';

const turnRange: Rule = {
  keys: ['run.turns.min', 'run.turns.max'],
  check: ({ run: { turns } }) =>
    turns.min <= turns.max
      ? null
      : {
          message: `Invalid turn range: run.turns.min (${turns.min}) must be <= run.turns.max (${turns.max}).`,
          hint: 'Give both ends of the range (MIN_TURNS and MAX_TURNS in the environment).',
        },
};

const chunkOverlap: Rule = {
  keys: ['tools.retrieval.chunking.chunk_overlap', 'tools.retrieval.chunking.chunk_size'],
  check: ({
    tools: {
      retrieval: { chunking },
    },
  }) =>
    chunking.chunk_overlap < chunking.chunk_size
      ? null
      : {
          message:
            '`tools.retrieval.chunking.chunk_overlap` must be >= 0 and < `tools.retrieval.chunking.chunk_size`.',
          value: `overlap ${chunking.chunk_overlap}, size ${chunking.chunk_size}`,
        },
};

const distinctColumns: Rule = {
  keys: [COLUMNS],
  check: ({ saving: { output_columns: columns } }) => {
    const names = Object.values(columns);
    const twice = names.find((name, index) => names.indexOf(name) !== index);
    if (twice === undefined) return null;
    const keys = Object.entries(columns).filter(([, name]) => name === twice);
    return {
      message: `${keys.map(([key]) => `\`${COLUMNS}.${key}\``).join(' and ')} have the same name "${twice}": one would overwrite the other.`,
      hint: 'Give every column a name of its own.',
    };
  },
};

const endpointNames = (key: string, listOf: (config: Config) => readonly EndpointConfig[] | null): Rule => ({
  keys: [key],
  check: (config) => {
    const names = (listOf(config) ?? []).map(({ name }) => name).filter((name) => name !== '');
    const twice = names.find((name, index) => names.indexOf(name) !== index);
    return twice === undefined
      ? null
      : {
          message: `\`${key}\` has two endpoints with the name "${twice}".`,
          hint: 'Names tell endpoints apart: change one.',
        };
  },
});

const poolSize: Rule = {
  keys: ['store.postgres.min_pool_size', 'store.postgres.max_pool_size'],
  check: ({ store: { postgres } }) =>
    postgres.min_pool_size <= postgres.max_pool_size
      ? null
      : {
          message: `\`store.postgres.min_pool_size\` (${postgres.min_pool_size}) must be <= \`store.postgres.max_pool_size\` (${postgres.max_pool_size}).`,
        },
};

const ports: Rule = {
  keys: ['llm.vllm.port_start', 'llm.vllm.replicas'],
  check: ({ llm: { vllm } }) =>
    vllm.port_start + vllm.replicas - 1 <= 65_535
      ? null
      : {
          message: `\`llm.vllm.port_start\` (${vllm.port_start}) leaves no port for all ${vllm.replicas} replicas.`,
          hint: 'Ports end at 65535.',
        },
};

const rates = (names: readonly (keyof Config['llm']['rehearsal'])[]): Rule => ({
  keys: names.map((name) => `${REHEARSAL}.${name}`),
  check: ({ llm: { rehearsal } }) => {
    const sum = names.reduce((total, name) => total + Number(rehearsal[name]), 0);
    const listed = names.map((name) => `\`${name}\``).join(', ');
    return sum <= 1 + 1e-9
      ? null
      : {
          message: `The rates ${listed} of \`${REHEARSAL}\` exclude each other and may sum to 1 at most.`,
          value: String(sum),
        };
  },
});

/** The export folder is made anew at every export, so it must not hold anything else. */
const exportFolder: Rule = {
  keys: ['saving.hf_push.export_dir', 'saving.output_dir'],
  check: (config, root) => {
    const [target, output] = [resolve(exportDir(config, root)), resolve(outputDir(config, root))];
    const above = [output, resolve(root)].some(
      (folder) => folder === target || folder.startsWith(target === '/' ? target : `${target}/`),
    );
    return above
      ? {
          message:
            '`saving.hf_push.export_dir` must be a folder of its own, not the output folder or the project, nor one around them.',
          value: config.saving.hf_push.export_dir,
          hint: 'For example `hf_export`, which is made inside the output folder.',
        }
      : null;
  },
};

const EXPORT = 'saving.export';

const splitSizes: Rule = {
  keys: [`${EXPORT}.splits.validation`, `${EXPORT}.splits.test`],
  check: ({ saving }) => {
    const { validation, test } = saving.export.splits;
    return validation + test < 1
      ? null
      : {
          message: `\`${EXPORT}.splits\` leaves nothing for \`train\`: \`validation\` and \`test\` must sum to less than 1.`,
          value: String(validation + test),
        };
  },
};

const exportedTurns: Rule = {
  keys: [`${EXPORT}.min_turns`, `${EXPORT}.max_turns`],
  check: ({ saving }) => {
    const { min_turns: min, max_turns: max } = saving.export;
    return min === null || max === null || min <= max
      ? null
      : {
          message: `\`${EXPORT}.min_turns\` (${min}) must be <= \`${EXPORT}.max_turns\` (${max}): no conversation would be exported.`,
        };
  },
};

const PRICE_NAMES: readonly string[] = ['input', 'cached', 'output'];

const prices: Rule = {
  keys: [`${EXPORT}.prices`],
  check: ({ saving }) => {
    const wrong = Object.entries(saving.export.prices).find(([, price]) => !isPrice(price));
    return wrong === undefined
      ? null
      : {
          message: `\`${EXPORT}.prices\` of ${wrong[0]} must give \`input\` and \`output\`, and may give \`cached\`: numbers >= 0, per million tokens.`,
          value: JSON.stringify(wrong[1]),
          hint: 'For example `{input: 2.5, cached: 1.25, output: 10}`.',
        };
  },
};

function isPrice(price: unknown): boolean {
  if (typeof price !== 'object' || price === null || !('input' in price) || !('output' in price))
    return false;
  return Object.entries(price).every(
    ([name, value]) => PRICE_NAMES.includes(name) && typeof value === 'number' && value >= 0,
  );
}

const ADDRESS = 'run.distributed.address';

/** Only when it is used: the environment's RAY_ADDRESS may be meant for Ray. */
const clusterAddress: Rule = {
  keys: [ADDRESS],
  check: ({ run: { distributed } }) => {
    const address = distributed.address.trim();
    const isKnown = address === 'auto' || address.split(',').every((url) => isNatsUrl(url.trim()));
    if (!distributed.enabled || isKnown) return null;
    const isRay = /^ray:|:6379$|:10001$/.test(address);
    return {
      message: isRay
        ? `\`${ADDRESS}\` is the address of a Ray cluster, and dlgforge does not run on Ray any more: its nodes talk over NATS.`
        : `\`${ADDRESS}\` must be \`auto\`, or start with nats:// or tls://.`,
      value: maskedText(address),
      hint: 'Start a cluster with `dlgforge cluster start --head` and use the address that it prints, or `auto` on the same machine (RAY_ADDRESS in the environment sets this key too).',
    };
  },
};

const isNatsUrl = (url: string): boolean =>
  URL.canParse(url) && /^(?:nats|tls):$/.test(new URL(url).protocol) && new URL(url).hostname !== '';

const TLS = 'run.distributed.tls';

const clientCertificate: Rule = {
  keys: [`${TLS}.cert_file`, `${TLS}.key_file`],
  check: ({ run: { distributed } }) =>
    !distributed.enabled || (distributed.tls.cert_file === '') === (distributed.tls.key_file === '')
      ? null
      : {
          message: `\`${TLS}.cert_file\` and \`${TLS}.key_file\` belong together: one of them is missing.`,
          hint: 'Give both, or neither (DLGFORGE_NATS_CERT and DLGFORGE_NATS_KEY in the environment).',
        },
};

const RULES: readonly Rule[] = [
  clusterAddress,
  clientCertificate,
  turnRange,
  chunkOverlap,
  distinctColumns,
  endpointNames('llm.routing.endpoints', ({ llm }) => llm.routing.endpoints),
  ...AGENT_ROLES.map((role) =>
    endpointNames(`llm.agents.${role}.routing.endpoints`, ({ llm }) => llm.agents[role].routing.endpoints),
  ),
  poolSize,
  ports,
  rates(['rate_limit_rate', 'server_error_rate', 'reset_rate', 'stall_rate']),
  rates([
    'truncated_rate',
    'malformed_rate',
    'wrong_type_rate',
    'empty_rate',
    'prose_rate',
    'duplicate_rate',
  ]),
  exportFolder,
  splitSizes,
  exportedTurns,
  prices,
];

/** What values must be to each other. */
export function checkRules(
  config: Config,
  projectRoot: string,
  originOf: OriginOf,
  findings: Findings,
): void {
  for (const { keys, check } of RULES) {
    if (keys.some((key) => findings.concerns(key))) continue;
    const failure = check(config, projectRoot);
    if (failure === null) continue;
    const given = keys.find((key) => originOf(key) !== null) ?? keys[0] ?? '';
    findings.problem(originOf(given), failure.message, {
      keyPath: given,
      hint: failure.hint ?? null,
      value: failure.value ?? null,
    });
  }
}
