import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { Draws } from '../../../../src/llm/rehearsal/draws.ts';
import { JsonSchemaSample } from '../../../../src/llm/rehearsal/json-schema-sample.ts';

/** Schemas as people write them in zod; the JSON Schema made from each must be satisfied, by zod's word. */
const leaf: fc.Arbitrary<z.ZodType> = fc.oneof(
  fc.constant(z.string()),
  fc.tuple(fc.nat(20), fc.nat(50)).map(([least, more]) =>
    z
      .string()
      .min(least)
      .max(least + more),
  ),
  fc.tuple(fc.integer({ min: -50, max: 50 }), fc.nat(30)).map(([low, span]) =>
    z
      .int()
      .min(low)
      .max(low + span),
  ),
  fc.tuple(fc.integer({ min: -5, max: 5 }), fc.integer({ min: 1, max: 9 })).map(([low, span]) =>
    z
      .number()
      .gt(low)
      .lt(low + span),
  ),
  fc.constant(z.boolean()),
  fc.constant(z.null()),
  fc.constant(z.iso.datetime()),
  fc.constant(z.email()),
  fc.constant(z.enum(['clarify', 'compare'])),
  fc.constant(z.literal(7)),
);

const schema: fc.Arbitrary<z.ZodType> = fc.letrec<{ any: z.ZodType }>((tie) => ({
  any: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    leaf,
    tie('any').map((inner) => z.nullable(inner)),
    fc.tuple(tie('any'), fc.nat(3), fc.nat(3)).map(([item, least, more]) =>
      z
        .array(item)
        .min(least)
        .max(least + more),
    ),
    fc.tuple(tie('any'), tie('any')).map(([a, b]) => z.union([a, b])),
    fc.tuple(tie('any'), tie('any')).map(([a, b]) => z.tuple([a, b])),
    fc.tuple(tie('any'), tie('any')).map(([a, b]) => z.strictObject({ a, b: z.optional(b) })),
  ),
})).any;

describe('a value for a JSON Schema', () => {
  it('satisfies it', () => {
    fc.assert(
      fc.property(schema, fc.integer(), fc.string(), (value, seed, source) => {
        const whole = z.strictObject({ value });
        const sample = new JsonSchemaSample(z.toJSONSchema(whole), new Draws(seed), source).make();
        expect(whole.safeParse(sample).error).toBeUndefined();
      }),
      { numRuns: 300 },
    );
  });

  it('follows references, also of a schema that contains itself', () => {
    const sample = new JsonSchemaSample(
      {
        $ref: '#/$defs/node',
        $defs: {
          node: {
            type: 'object',
            properties: {
              name: { type: 'string' },
              next: { anyOf: [{ $ref: '#/$defs/node' }, { type: 'null' }] },
              children: { type: 'array', items: { $ref: '#/$defs/node' } },
            },
            required: ['name', 'next', 'children'],
          },
        },
      },
      new Draws(1),
      'Bees fly.',
    ).make();
    expect(sample).toMatchObject({ name: 'Bees fly.', children: expect.any(Array) });
    expect(JSON.stringify(sample)).toContain('null');
  });
});
