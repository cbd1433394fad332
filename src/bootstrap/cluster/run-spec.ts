/**
 * What any node needs to lead a run or to work on it, as one stored value. Holds no secret (I8), and nothing
 * that the run's record has already (its plan, its ordinal, its dataset).
 */
import { z } from 'zod';
import type { Credentials } from '../../config/credentials.ts';
import type { LoadedConfig } from '../../config/load.ts';
import { maskedCommand } from '../../config/masking.ts';
import { storedConfig, storedConfigSchema } from '../../config/stored-config.ts';
import { AGENT_KEYS, TASK_KEYS } from '../../dialogue/prompt-assets.ts';
import { DlgforgeError, invariant } from '../../kernel/errors.ts';
import type { RunId } from '../../kernel/ids.ts';
import type { IndexInfo } from '../../ports/retriever.ts';
import type { DialogueAssets } from '../assets.ts';
import { BUILD } from '../version.ts';

/** Raised when a node that reads the older form would do something else than meant. */
export const RUN_SPEC_VERSION = 1;

const text = z.string();
const persona = z.object({ id: text, name: text, traits: z.array(text), style: text });

const assetsSchema = z.object({
  prompts: z.object({
    agents: z.record(z.enum(AGENT_KEYS), z.object({ role: text, goal: text, backstory: text })),
    tasks: z.record(
      z.enum(TASK_KEYS),
      z.object({ agent: z.enum(AGENT_KEYS), system: text, conversation: text, turn: text }),
    ),
  }),
  personas: z.object({ user: z.array(persona), assistant: z.array(persona) }).nullable(),
  /** By language index. */
  seeds: z.array(z.array(z.object({ topic: text, questions: z.array(text) }))),
});

/** Where a node finds the index. */
const placeSchema = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('blob'),
    /** Its name in the blob store. */
    name: text,
    /** The folder that it was published from: a node that sees the same index there fetches nothing. */
    folder: text,
  }),
  /** A folder or an address of an object store that every node sees; opened in place. */
  z.object({ type: z.literal('place'), uri: text }),
]);

const knowledgeSchema = z.object({
  fingerprint: text.regex(/^[0-9a-f]{64}$/),
  passageCount: z.int(),
  mode: z.enum(['full_text', 'hybrid']),
  embedder: z.object({ model: text, dimension: z.number(), version: text }).nullable(),
  documents: z.array(z.object({ source: text, passageIds: z.array(text) })),
  place: placeSchema,
});

const specSchema = z.object({
  version: z.literal(RUN_SPEC_VERSION),
  /** The build that wrote it. */
  build: text,
  /** The submitting command line. */
  command: text,
  /** Events of the run up to this one are of earlier submissions: an end among them is over. */
  submittedAfter: z.int().min(0),
  config: storedConfigSchema,
  assets: assetsSchema,
  knowledge: knowledgeSchema,
});

export type RunSpec = z.infer<typeof specSchema>;
export type IndexPlace = z.infer<typeof placeSchema>;

export interface SpecParts {
  readonly loaded: Pick<LoadedConfig, 'config' | 'environment'>;
  readonly keyVariables: Credentials['variables'];
  readonly assets: Pick<DialogueAssets, 'prompts' | 'personas' | 'seeds'>;
  readonly knowledge: IndexInfo;
  readonly place: IndexPlace;
  readonly command: string;
  /** The newest event of the run when it is submitted; 0 for a new one. */
  readonly submittedAfter: number;
  /** Every secret that this process knows (`secretsOf`): none of them may be in the spec. */
  readonly secrets: readonly string[];
}

/** @throws DlgforgeError `config` when a secret of this process stands where it would be stored. */
export function specOf(parts: SpecParts): RunSpec {
  const { prompts, personas, seeds } = parts.assets;
  const { fingerprint, passageCount, mode, embedder, documents } = parts.knowledge;
  const spec = {
    version: RUN_SPEC_VERSION,
    build: BUILD,
    command: maskedCommand(parts.command),
    submittedAfter: parts.submittedAfter,
    config: storedConfig(parts.loaded, parts.keyVariables),
    assets: { prompts, personas, seeds },
    knowledge: { fingerprint, passageCount, mode, embedder, documents, place: parts.place },
  };
  for (const [part, value] of Object.entries(spec)) refuseSecrets(part, value, parts.secrets);
  const result = specSchema.safeParse(JSON.parse(JSON.stringify(spec)));
  invariant(result.success, `a spec can be read back: ${result.error?.message ?? ''}`);
  return result.data;
}

/** Shorter ones stand in ordinary text by chance. */
const SECRET_LENGTH_MIN = 12;
/** An address may be stored; what is secret in it is masked. */
const isKey = (secret: string): boolean => secret.length >= SECRET_LENGTH_MIN && !secret.includes('://');

function refuseSecrets(part: string, value: unknown, secrets: readonly string[]): void {
  const stored = JSON.stringify(value);
  const keys = secrets.filter(isKey).map((secret) => JSON.stringify(secret).slice(1, -1));
  if (!keys.some((key) => stored.includes(key))) return;
  throw new DlgforgeError(
    'config',
    `A key of this process stands in the ${part} of the run, where other nodes and the database would see it. Take it out of ${PLACES[part] ?? 'the configuration file'}, and leave it to the environment.`,
  );
}

const PLACES: Readonly<Record<string, string>> = {
  assets: 'the prompts, personas and seed topics',
  knowledge: 'the names of the documents and of the index folder',
  command: 'the command line',
};

/** @throws DlgforgeError `refused` for a form that this build does not know, `resume` for a run without a spec. */
export function readSpec(id: RunId, stored: unknown): RunSpec {
  if (stored === null || stored === undefined) {
    throw new DlgforgeError(
      'resume',
      `The run ${id} was not started on a cluster, so other nodes cannot take part in it. Continue it with \`dlgforge run\` where its configuration is.`,
    );
  }
  const { version, build } = headSchema.parse(stored);
  if (version === null || version > RUN_SPEC_VERSION) {
    throw new DlgforgeError(
      'refused',
      `The run ${id} is written in form ${version ?? 'unknown'}, by dlgforge ${build}; dlgforge ${BUILD} on this node reads up to form ${RUN_SPEC_VERSION}. Use the same version of dlgforge on every node.`,
    );
  }
  const result = specSchema.safeParse(stored);
  if (result.success) return result.data;
  throw new DlgforgeError(
    'resume',
    `The stored parts of the run ${id}, written by dlgforge ${build}, cannot be read: ${z.prettifyError(result.error)}. Start it again where its configuration is.`,
  );
}

const headSchema = z
  .object({ version: z.int().nullable().catch(null), build: text.catch('of an unknown version') })
  .catch({ version: null, build: 'of an unknown version' });
