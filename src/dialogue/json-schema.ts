/**
 * The subset of JSON Schema that every provider's strict mode accepts: closed objects whose keys are
 * all required, no ranges or patterns. What it cannot say, the zod schemas check.
 */
export type JsonSchema = Readonly<Record<string, unknown>>;

export const text = (description: string): JsonSchema => ({ type: 'string', description });
export const number = (description: string): JsonSchema => ({ type: 'number', description });
export const boolean = (description: string): JsonSchema => ({ type: 'boolean', description });
export const enumeration = (values: readonly string[]): JsonSchema => ({ type: 'string', enum: [...values] });
export const list = (items: JsonSchema): JsonSchema => ({ type: 'array', items });
export const object = (properties: Readonly<Record<string, JsonSchema>>): JsonSchema => ({
  type: 'object',
  properties,
  required: Object.keys(properties),
  additionalProperties: false,
});
