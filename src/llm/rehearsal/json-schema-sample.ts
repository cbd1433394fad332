import { asRecord, type Json } from './chat-request.ts';
import type { Draws } from './draws.ts';
import { clipWords } from './passage-text.ts';

const DEPTH_MAX = 24;
const ITEMS_MAX = 64;

const FORMATS: Readonly<Record<string, string>> = {
  date: '2025-01-01',
  'date-time': '2025-01-01T00:00:00Z',
  time: '00:00:00Z',
  email: 'someone@example.com',
  uri: 'https://example.com/',
  url: 'https://example.com/',
  uuid: '00000000-0000-4000-8000-000000000000',
  hostname: 'example.com',
  ipv4: '192.0.2.1',
};

/**
 * Makes a value that satisfies a JSON Schema of the kind that structured output uses: types, enums,
 * constants, references, unions, bounds of numbers, texts and arrays, required and optional
 * properties. Texts come from `source`. `pattern` is not understood.
 */
export class JsonSchemaSample {
  readonly #root: Json;
  readonly #draws: Draws;
  readonly #source: string;
  #count = 0;

  constructor(schema: Json, draws: Draws, source: string) {
    this.#root = schema;
    this.#draws = draws;
    this.#source = source.trim() === '' ? 'rehearsal' : source.trim();
  }

  /** An object, also when the schema asks for something else at its root: tool arguments must be one. */
  make(): Json {
    return asRecord(this.#value(this.#root, 0)) ?? {};
  }

  #value(schema: Json, depth: number): unknown {
    const resolved = this.#resolve(schema, depth);
    if ('const' in resolved) return resolved.const;
    if (Array.isArray(resolved.enum)) return this.#draws.pick('enum', resolved.enum, null, this.#next());
    const union = resolved.anyOf ?? resolved.oneOf;
    if (Array.isArray(union)) return this.#value(this.#branch(union, depth), depth + 1);
    switch (typeOf(resolved, depth)) {
      case 'object':
        return this.#object(resolved, depth);
      case 'array':
        return this.#array(resolved, depth);
      case 'integer':
        return this.#number(resolved, 1);
      case 'number':
        return this.#number(resolved, 0);
      case 'boolean':
        return this.#draws.unit('boolean', this.#next()) < 0.5;
      case 'null':
        return null;
      default:
        return this.#text(resolved);
    }
  }

  #next(): number {
    this.#count += 1;
    return this.#count;
  }

  /** Follows `$ref` and merges `allOf`. */
  #resolve(schema: Json, depth: number): Json {
    let current = schema;
    for (let hops = 0; typeof current.$ref === 'string' && hops < DEPTH_MAX; hops += 1) {
      const { $ref, ...rest } = current;
      current = { ...this.#at($ref), ...rest };
    }
    if (!Array.isArray(current.allOf) || depth > DEPTH_MAX) return current;
    const { allOf, ...own } = current;
    const parts = (allOf as unknown[]).map((part) => this.#resolve(asRecord(part) ?? {}, depth + 1));
    return [own, ...parts].reduce(mergedSchemas, {});
  }

  #at(reference: string): Json {
    const steps = reference
      .replace(/^#\/?/u, '')
      .split('/')
      .filter((step) => step !== '');
    const target = steps.reduce<unknown>(
      (node, step) => asRecord(node)?.[step.replaceAll('~1', '/').replaceAll('~0', '~')],
      this.#root,
    );
    return asRecord(target) ?? {};
  }

  /** The first branch that is not null; deep inside a recursive schema, null if that is allowed. */
  #branch(union: readonly unknown[], depth: number): Json {
    const branches = union.map((branch) => asRecord(branch) ?? {});
    const isNull = (branch: Json): boolean => branch.type === 'null' || branch.const === null;
    const wanted = depth > 6 ? branches.find(isNull) : undefined;
    return wanted ?? branches.find((branch) => !isNull(branch)) ?? branches[0] ?? {};
  }

  #object(schema: Json, depth: number): Json {
    const properties = asRecord(schema.properties) ?? {};
    const required = new Set(Array.isArray(schema.required) ? schema.required : Object.keys(properties));
    const result: Record<string, unknown> = {};
    if (depth > DEPTH_MAX) return result;
    for (const [name, property] of Object.entries(properties)) {
      if (required.has(name) || depth < 3) result[name] = this.#value(asRecord(property) ?? {}, depth + 1);
    }
    return result;
  }

  #array(schema: Json, depth: number): unknown[] {
    const prefix = Array.isArray(schema.prefixItems) ? (schema.prefixItems as unknown[]) : [];
    const least = countOf(schema.minItems, 0);
    const most = countOf(schema.maxItems, ITEMS_MAX);
    const wanted = depth > 6 ? least : Math.max(least, Math.min(most, Math.max(prefix.length, 1)));
    return Array.from({ length: Math.min(wanted, ITEMS_MAX) }, (_unused, index) =>
      this.#value(asRecord(prefix[index] ?? schema.items) ?? {}, depth + 1),
    );
  }

  #number(schema: Json, integerStep: 0 | 1): number {
    const step = typeof schema.multipleOf === 'number' ? schema.multipleOf : integerStep;
    const gap = step === 0 ? 0.001 : step;
    const low = bound(schema.minimum, schema.exclusiveMinimum, gap);
    const high = bound(schema.maximum, schema.exclusiveMaximum, -gap);
    const from = low ?? (high === null ? 0 : high - 10);
    const to = high ?? from + 10;
    const value = from + this.#draws.unit('number', this.#next()) * (to - from);
    if (step === 0)
      return Math.round(value * 1000) / 1000 < from ? from : Math.min(to, Math.round(value * 1000) / 1000);
    const first = Math.ceil(from / step);
    return Math.max(first, Math.min(Math.floor(to / step), Math.round(value / step))) * step;
  }

  #text(schema: Json): string {
    const format = typeof schema.format === 'string' ? FORMATS[schema.format] : undefined;
    if (format !== undefined) return format;
    const least = countOf(schema.minLength, 0);
    const most = countOf(schema.maxLength, Number.POSITIVE_INFINITY);
    let text = clipWords(this.#source, 40);
    while (text.length < Math.min(least, 100_000)) text = `${text} ${this.#source}`;
    return text.slice(0, most);
  }
}

function typeOf(schema: Json, depth: number): string {
  const { type } = schema;
  if (typeof type === 'string') return type;
  if (Array.isArray(type)) {
    const names = type.filter((name): name is string => typeof name === 'string');
    return (depth > 6 && names.includes('null') ? 'null' : names.find((name) => name !== 'null')) ?? 'null';
  }
  if (schema.properties !== undefined) return 'object';
  return schema.items === undefined && schema.prefixItems === undefined ? 'string' : 'array';
}

function mergedSchemas(a: Json, b: Json): Json {
  const required = [a.required, b.required].flatMap((names) =>
    Array.isArray(names) ? (names as unknown[]) : [],
  );
  const properties = { ...asRecord(a.properties), ...asRecord(b.properties) };
  return {
    ...a,
    ...b,
    ...(required.length > 0 ? { required } : {}),
    ...(Object.keys(properties).length > 0 ? { properties } : {}),
  };
}

const countOf = (value: unknown, otherwise: number): number =>
  typeof value === 'number' ? value : otherwise;

function bound(inclusive: unknown, exclusive: unknown, gap: number): number | null {
  if (typeof inclusive === 'number') return inclusive;
  return typeof exclusive === 'number' ? exclusive + gap : null;
}
