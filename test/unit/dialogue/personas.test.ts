import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { parsePersonas, personaText } from '../../../src/dialogue/personas.ts';
import { isDlgforgeError, messageOf } from '../../../src/kernel/errors.ts';

const persona = (id: string) => ({ id, name: 'N', traits: ['a', 'b'], style: 'S' });
const file = (user: unknown, assistant: unknown = [persona('x')]) => ({
  file: 'my-personas.yaml',
  value: { version: 1, personas: { user, assistant } },
});
const errorOf = (value: Parameters<typeof parsePersonas>[0]): string => {
  try {
    parsePersonas(value);
  } catch (error) {
    expect(isDlgforgeError(error, 'config')).toBe(true);
    return messageOf(error);
  }
  return 'accepted';
};

describe('the shipped personas', () => {
  const shipped = parsePersonas({
    file: 'prompts/personas.yaml',
    value: parse(readFileSync('prompts/personas.yaml', 'utf8')),
  });

  test('G9: there are at least thirty of each, all different', () => {
    for (const pool of [shipped.user, shipped.assistant]) {
      expect(pool.length).toBeGreaterThanOrEqual(30);
      expect(new Set(pool.map(personaText)).size).toBe(pool.length);
      for (const { name, traits, style } of pool) {
        expect(name).not.toBe('');
        expect(style).not.toBe('');
        expect(traits.length).toBeGreaterThanOrEqual(2);
      }
    }
  });

  test('the ids that old records name are still there', () => {
    expect(shipped.user.map(({ id }) => id)).toContain('curious_professional');
    expect(shipped.assistant.map(({ id }) => id)).toContain('helpful_tutor');
  });
});

describe('prompt text', () => {
  test('name, traits and style', () => expect(personaText(persona('x'))).toBe('N | a, b | S'));
  test('empty parts are skipped', () => {
    expect(personaText({ id: 'x', name: 'N', traits: [' '], style: '' })).toBe('N');
    expect(parsePersonas(file([{ id: 'only' }])).user.map(personaText)).toEqual(['']);
  });
});

describe('G18: wrong shapes are errors that name the entry', () => {
  test.each([
    [file(['just a name']), 'personas.user[0]'],
    [file([persona('a'), { ...persona('b'), traits: ['fine', 7] }]), 'personas.user[1].traits[1]'],
    [file([{ ...persona('a'), traits: 'one, two' }]), 'personas.user[0].traits'],
    [file([{ ...persona('a'), style: false }]), 'personas.user[0].style'],
    [file([{ name: 'no id' }]), 'personas.user[0].id'],
    [file([{ ...persona('a'), trait: ['typo'] }]), 'personas.user[0]'],
    [file([persona('a')], { a: 1 }), 'personas.assistant'],
    [file([]), 'personas.user'],
    [file([persona('a'), persona('a')]), 'personas.user[1].id'],
    [{ file: 'my-personas.yaml', value: { version: 1 } }, 'personas'],
    [{ file: 'my-personas.yaml', value: ['a'] }, 'my-personas.yaml'],
    [{ file: 'my-personas.yaml', value: null }, 'my-personas.yaml'],
  ])('%j', (value, named) => {
    const message = errorOf(value);
    expect(message).toContain('my-personas.yaml');
    expect(message).toContain(named);
  });
});
