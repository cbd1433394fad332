/** The front matter of a card in the form of the Hub: configurations with their files and types, languages, size. */
import { stringify } from 'yaml';
import { languageCode } from './language-codes.ts';
import type { Field } from './schema.ts';

/** One format of the export. */
export interface CardConfig {
  readonly name: string;
  /** What `datasets` reads it with. */
  readonly reader: 'json' | 'parquet';
  readonly files: readonly { readonly split: string; readonly path: string }[];
  readonly fields: Readonly<Record<string, Field>>;
}

export interface CardMetadata {
  readonly prettyName: string;
  /** '' when none is given. */
  readonly license: string;
  /** As the rows name them. */
  readonly languages: readonly string[];
  readonly records: number;
  /** The first one is the default. */
  readonly configs: readonly CardConfig[];
  readonly rehearsal: boolean;
}

/**
 * The formats that can be configurations of one dataset: `datasets` reads all of them with what fits the first
 * one's files. The others are loaded by their files.
 */
export const hubConfigs = (configs: readonly CardConfig[]): readonly CardConfig[] =>
  configs.filter(({ reader }) => reader === configs[0]?.reader);

/** `---`, YAML, `---`; the library quotes what needs it. */
export function frontMatter(metadata: CardMetadata): string {
  const { license, prettyName, rehearsal } = metadata;
  const configs = hubConfigs(metadata.configs);
  const languages = languageCodes(metadata.languages);
  return `---\n${stringify(
    {
      pretty_name: prettyName,
      ...licenseOf(license),
      ...(languages.length === 0 ? {} : { language: languages }),
      size_categories: [sizeCategory(metadata.records)],
      task_categories: ['question-answering', 'text-generation'],
      tags: ['synthetic', 'rag', 'multi-turn', 'dlgforge', ...(rehearsal ? ['rehearsal'] : [])],
      configs: configs.map(({ name, files }, index) => ({
        config_name: name,
        ...(configs.length > 1 && index === 0 ? { default: true } : {}),
        data_files: files.map(({ split, path }) => ({ split, path })),
      })),
      dataset_info: configs.map(({ name, fields }) => ({ config_name: name, features: features(fields) })),
    },
    { lineWidth: 0 },
  )}---\n`;
}

/** The Hub's identifiers (its documentation, "Licenses"); any other licence is `other`, by its name. */
const LICENSES: ReadonlySet<string> = new Set(
  (
    'apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 ' +
    'bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc ' +
    'cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 ' +
    'cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 ' +
    'cdla-sharing-1.0 cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 ' +
    'eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc h-research intel-research lppl-1.3c ' +
    'ms-pl apple-ascl apple-amlr mpl-2.0 odc-by odbl openmdw-1.0 openrail++ osl-3.0 postgresql ofl-1.1 ncsa ' +
    'unlicense zlib pddl lgpl-lr deepfloyd-if-license fair-noncommercial-research-license llama2 llama3 llama3.1 ' +
    'llama3.2 llama3.3 llama4 grok2-community gemma unknown other'
  ).split(' '),
);

function licenseOf(license: string): object {
  if (license === '') return {};
  const known = license.toLowerCase();
  return LICENSES.has(known) ? { license: known } : { license: 'other', license_name: license };
}

/** Sorted, each once; what is no known language is left out. */
export const languageCodes = (languages: readonly string[]): readonly string[] =>
  [...new Set(languages.map(languageCode).filter((code) => code !== null))].toSorted();

const SIZES: readonly (readonly [number, string])[] = [
  [1e3, 'n<1K'],
  [1e4, '1K<n<10K'],
  [1e5, '10K<n<100K'],
  [1e6, '100K<n<1M'],
  [1e7, '1M<n<10M'],
  [1e8, '10M<n<100M'],
  [1e9, '100M<n<1B'],
];

export const sizeCategory = (records: number): string =>
  SIZES.find(([below]) => records < below)?.[1] ?? 'n>1B';

/** As `datasets` writes the types of columns; so it need not guess them from the first rows. */
function features(fields: Readonly<Record<string, Field>>): object[] {
  return Object.entries(fields).map(([name, field]) => ({ name, ...featureOf(field) }));
}

const DTYPES = { text: 'string', whole: 'int64', number: 'float64', truth: 'bool' } as const;

function featureOf(field: Field): object {
  if (typeof field === 'string') return { dtype: DTYPES[field] };
  if (field.kind === 'texts') return { sequence: 'string' };
  if (field.kind === 'list') return { list: features(field.item.fields) };
  return { struct: features(field.fields) };
}
