import { expect, test } from 'vitest';
import { endpointSpecs } from '../../../src/llm/endpoint-specs.ts';
import { endpointAt, roleSettings } from './fixtures.ts';

const role = roleSettings({ model: 'openai/m1' });
const roles = { user: role, assistant: role, judge: role };
const identities = (...urls: readonly string[]): readonly unknown[] =>
  endpointSpecs(
    urls.map((url, index) => endpointAt(url, { name: `e${index}`, provider: 'openai' })),
    roles,
  ).map(({ identity }) => identity);

test('I7 one server and model has one identity, however its address is written, without credentials (I8)', () => {
  expect(identities('http://me:secret@GPU-1:80/v1?key=hidden')).toEqual(['http://gpu-1/v1 m1']);
  expect(identities('http://gpu-1/v1')).toEqual(['http://gpu-1/v1 m1']);
});

test('an endpoint of its own model, and one server under two keys, are others', () => {
  const own = endpointAt('http://gpu-1/v1', { model: 'm2' });
  expect(endpointSpecs([own], roles)[0]?.identity).toBe('http://gpu-1/v1 m2');
  expect(identities('http://gpu-1/v1', 'http://gpu-1/v1')).toEqual([
    'http://gpu-1/v1 m1',
    'http://gpu-1/v1 m1 (2)',
  ]);
});
